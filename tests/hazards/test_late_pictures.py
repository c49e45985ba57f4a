"""Sound first, pictures that were announced later, and what is encoded of them (row 6)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests import bending, media
from tests.bending import VIDEO_PID
from tests.hazards.seen import assert_completed, look, sound_packets
from tests.hazards.streams import SMALL
from tests.hazards.test_live import window
from tests.hazards.unreliable import Live, serving
from tests.local_pool import Result, record
from tests.media import FPS
from tests.media_fixtures import Clips, copy_clip
from tests.outputs.own_profiles import with_profiles
from tests.outputs.test_recordings import segment_starts

LONG = replace(SMALL, seconds=8)
PER_SEGMENT = 2 * FPS
RENDITIONS = {"own-times": ["own-times"], "ladder": ["source", "half", "third"]}

pytestmark = pytest.mark.usefixtures("small_chunks")


def without_pictures(clips: Clips, folder: Path, numbers: Sequence[int]) -> Path:
    playlist = copy_clip(clips(LONG), folder)
    for number in numbers:
        path = bending.paths(playlist)[number]
        path.write_bytes(bending.without_pids(path.read_bytes(), VIDEO_PID))
    return playlist


def assert_late(result: Result, profile: str, playlist: Path) -> None:
    """Every picture behind the second segment in every rendition, and all sound of the source."""
    assert_completed(result)
    assert [r.name for r in result.recording.renditions] == RENDITIONS[profile]
    begins_s = []
    for rendition in result.recording.renditions:
        path = result.folder / rendition.file_path.lstrip("/")
        seen = look(path)
        assert seen.numbers == list(range(2 * PER_SEGMENT, LONG.seconds * FPS))
        assert media.decode_complaints(path) == ""
        begins_s.append(segment_starts(result.beside / f"{rendition.name}.m3u8")[0])
    # All at once, and as far behind the first sound as in the source.
    assert begins_s == pytest.approx([begins_s[0]] * len(begins_s), abs=0.001)
    assert look(result.mp4).times_s[0] == pytest.approx(4.0, abs=0.08)
    assert sound_packets(result.mp4) == sound_packets(
        media.remux_with_ffmpeg(playlist, result.folder / "reference.mp4")
    )


@pytest.mark.parametrize("profile", RENDITIONS)
async def test_pictures_that_come_later(profile: str, clips: Clips, tmp_path: Path) -> None:
    playlist = without_pictures(clips, tmp_path / "in", (0, 1))
    out = tmp_path / "out"
    result = await record(playlist, out, profile=profile, settings=with_profiles(out))
    assert_late(result, profile, playlist)


@pytest.mark.parametrize("profile", RENDITIONS)
async def test_pictures_that_come_later_live(profile: str, clips: Clips, tmp_path: Path) -> None:
    """Their size is waited for."""
    playlist = without_pictures(clips, tmp_path / "in", (0, 1))
    out = tmp_path / "out"
    settings = with_profiles(
        out, monitor_interval=timedelta(milliseconds=400), stall_timeout=timedelta(seconds=10)
    )
    states = [window(0, 1), *[window(0, 2)] * 5, window(0, 3), window(0, 4, ended=True)]
    with serving(Live(playlist.parent, states, {})) as server:
        result = await record(server.source(), out, follow=True, profile=profile, settings=settings)
    assert_late(result, profile, playlist)


@pytest.mark.parametrize("profile", RENDITIONS)
async def test_pictures_that_never_come(profile: str, clips: Clips, tmp_path: Path) -> None:
    """It is sound alone, and kept."""
    playlist = without_pictures(clips, tmp_path / "in", range(4))
    out = tmp_path / "out"
    result = await record(playlist, out, profile=profile, settings=with_profiles(out))
    assert_completed(result)
    assert len(result.recording.renditions) == 1
    assert len(look(result.mp4).ticks_s) == LONG.seconds
