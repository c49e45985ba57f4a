"""Live playlists that jump, slide, freeze, vanish and sign their addresses (rows 3, 4, 13, 14)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.hazards.seen import assert_recorded, look
from tests.hazards.streams import SMALL
from tests.hazards.unreliable import Live, serving
from tests.local_pool import Result, quick_settings, record
from tests.media import FPS
from tests.media_fixtures import Clips, copy_clip

LONG = replace(SMALL, seconds=16, segment_s=2.0)
PER_SEGMENT = 2 * FPS
FRAMES = LONG.seconds * FPS
SETTINGS = quick_settings(
    monitor_interval=timedelta(milliseconds=20), stall_timeout=timedelta(seconds=1.5)
)

pytestmark = pytest.mark.usefixtures("small_chunks")


def window(first: int, count: int, *, sequence: int | None = None, ended: bool = False) -> str:
    """Segments ``first`` on of the clip, numbered from ``sequence`` on if not as they are."""
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", f"#EXT-X-MEDIA-SEQUENCE:{sequence or first}"]
    if sequence == 0:
        lines[-1] = "#EXT-X-MEDIA-SEQUENCE:0"
    for number in range(first, first + count):
        lines += ["#EXTINF:2.0,", f"seg_{number:05d}.ts"]
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else []), ""])


async def follow(folder: Path, states: Sequence[str], out: Path, **acts: Sequence[str]) -> Result:
    with serving(Live(folder, states, acts)) as server:
        return await record(server.source(), out, follow=True, settings=SETTINGS)


def clip(clips: Clips, folder: Path) -> Path:
    return copy_clip(clips(LONG), folder).parent


async def test_a_window_that_moves(clips: Clips, tmp_path: Path) -> None:
    states = [window(0, 3), window(1, 3), window(2, 4), window(4, 4), window(5, 3, ended=True)]
    result = await follow(clip(clips, tmp_path / "in"), states, tmp_path / "out")
    assert_recorded(result, range(FRAMES))


@pytest.mark.parametrize("suffix", [".ts", ".ts;t={}"])
async def test_a_window_that_moves_without_a_number(
    suffix: str, clips: Clips, tmp_path: Path
) -> None:
    """EXT-X-MEDIA-SEQUENCE stays 0: each segment is taken once."""
    at = [(0, 3), (1, 3), (1, 3), (2, 4), (4, 4)]
    states = [window(first, count, sequence=0) for first, count in at]
    states.append(window(5, 3, sequence=0, ended=True))
    signed = [state.replace(".ts", suffix.format(n)) for n, state in enumerate(states)]
    folder = clip(clips, tmp_path / "in")
    for number, _ in enumerate(signed):
        for path in list(folder.glob("*.ts")):
            if suffix != ".ts":
                (folder / f"{path.name};t={number}").symlink_to(path)
    result = await follow(folder, signed, tmp_path / "out")
    assert_recorded(result, range(FRAMES))


async def test_a_cache_that_is_far_behind(clips: Clips, tmp_path: Path) -> None:
    """Its dates tell that it is no encoder that has started anew."""

    def dated(first: int, count: int, *, ended: bool = False) -> str:
        clock = f"#EXT-X-PROGRAM-DATE-TIME:2026-03-01T10:00:{2 * first:02d}.000Z\n#EXTINF"
        return window(first, count, ended=ended).replace("#EXTINF", clock, 1)

    states = [dated(0, 7), dated(0, 2), dated(0, 2), dated(4, 4), dated(4, 4, ended=True)]
    result = await follow(clip(clips, tmp_path / "in"), states, tmp_path / "out")
    assert_recorded(result, range(FRAMES))


async def test_an_encoder_that_starts_anew(clips: Clips, tmp_path: Path) -> None:
    """Its numbers go back far and its clock begins anew: one recording, nothing twice."""
    folder = clip(clips, tmp_path / "in")
    other = copy_clip(clips(replace(LONG, first_frame=1000, seconds=4)), tmp_path / "other").parent
    for number in (0, 1):
        (other / f"seg_{number:05d}.ts").rename(folder / f"seg_{8 + number:05d}.ts")
    states = [window(5, 3, sequence=105), window(8, 1, sequence=0), window(8, 2, sequence=0)]
    states.append(window(8, 2, sequence=0, ended=True))
    result = await follow(folder, states, tmp_path / "out")
    assert result.recording.status == "completed"
    numbers = look(result.mp4).numbers
    assert numbers == [*range(5 * PER_SEGMENT, FRAMES), *range(1000, 1000 + 2 * PER_SEGMENT)]


async def test_a_cache_that_is_behind(clips: Clips, tmp_path: Path) -> None:
    """It is waited for: no gap, nothing twice."""
    states = [window(0, 6), window(0, 6), window(0, 4), window(0, 3), window(2, 6, ended=True)]
    result = await follow(clip(clips, tmp_path / "in"), states, tmp_path / "out")
    assert_recorded(result, range(FRAMES))


async def test_a_window_that_slid_past_us(clips: Clips, tmp_path: Path) -> None:
    states = [window(0, 2), window(0, 2), window(5, 2), window(6, 2, ended=True)]
    result = await follow(clip(clips, tmp_path / "in"), states, tmp_path / "out")
    kept = [*range(2 * PER_SEGMENT), *range(5 * PER_SEGMENT, FRAMES)]
    assert_recorded(result, kept, gaps=[(4.0, 6.0)], lost=[2, 3, 4])
    assert "left the live window" in result.recording.gaps[0].reason


async def test_an_end_tag_that_comes_alone(clips: Clips, tmp_path: Path) -> None:
    states = [window(0, 8), window(0, 8), window(0, 8), window(0, 8, ended=True)]
    result = await follow(clip(clips, tmp_path / "in"), states, tmp_path / "out")
    assert_recorded(result, range(FRAMES))


@pytest.mark.parametrize("last", [window(0, 8), ""], ids=["freezes", "is gone"])
async def test_a_playlist_that_never_ends(last: str, clips: Clips, tmp_path: Path) -> None:
    states = [window(0, 3), window(0, 8), last]
    result = await follow(clip(clips, tmp_path / "in"), states, tmp_path / "out")
    assert_recorded(result, range(FRAMES))
    assert result.recording.end_reason == ("stall" if last else "gone")


async def test_a_playlist_that_is_away_for_a_moment(clips: Clips, tmp_path: Path) -> None:
    states = [window(0, 3), window(0, 4), "", "", window(2, 6), window(4, 4, ended=True)]
    result = await follow(clip(clips, tmp_path / "in"), states, tmp_path / "out")
    assert_recorded(result, range(FRAMES))


async def test_addresses_that_are_signed_anew(clips: Clips, tmp_path: Path) -> None:
    """With each reload they are others: each segment is taken once."""

    def signed(state: str, token: int) -> str:
        return state.replace(".ts", f".ts?token={token}")

    states = [window(0, 3), window(0, 5), window(2, 6), window(4, 4), window(4, 4, ended=True)]
    tokens = [signed(state, number) for number, state in enumerate(states)]
    result = await follow(clip(clips, tmp_path / "in"), tokens, tmp_path / "out")
    assert_recorded(result, range(FRAMES))
