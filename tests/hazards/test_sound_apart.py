"""Sound and pictures that begin, end or pause apart from each other (row 6)."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests import bending, media
from tests.bending import AUDIO_PID, CLOCK_HZ, FIRST_S, VIDEO_PID
from tests.hazards.seen import Seen, assert_completed, assert_recorded, look, sound_packets
from tests.hazards.streams import SMALL, encode, with_late_sound
from tests.local_pool import Result, record
from tests.media import FPS
from tests.media_fixtures import Clips, copy_clip

FRAMES = SMALL.seconds * FPS
LONG = replace(SMALL, seconds=8)

pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.mark.parametrize(
    ("suffix", "late_s"),
    # FFmpeg's fMP4 loses track of sound that begins behind the first segment.
    [("ts", 2.5), ("ts", 0.5), ("ts", -0.5), ("ts", -2.5), ("m4s", 0.5), ("m4s", -0.5)],
)
async def test_sound_that_begins_late_or_early(late_s: float, suffix: str, tmp_path: Path) -> None:
    playlist = with_late_sound(
        tmp_path / "in", encode(tmp_path / "whole.mkv", output=()), late_s, suffix
    )
    result = await record(playlist, tmp_path / "out")
    seen = whole(result, playlist)
    assert seen.numbers == list(range(FRAMES))
    for second, tick in enumerate(seen.ticks_s):
        assert tick == pytest.approx(seen.times_s[0] + late_s + second, abs=0.005)
    starts = {track["kind"]: track["starts_at_s"] for track in result.report["tracks"]}
    assert starts["audio"] - starts["video"] == pytest.approx(late_s, abs=0.025)


@pytest.mark.parametrize("cut", [25, 75])
async def test_sound_before_the_first_keyframe(cut: int, clips: Clips, tmp_path: Path) -> None:
    """Joined in the middle of a broadcast: sound is there, pictures begin 1-3 s later."""
    playlist = copy_clip(clips(replace(LONG, gop_s=1.0)), tmp_path / "in")
    for path in bending.paths(playlist):
        path.write_bytes(bending.without_pictures_before(path.read_bytes(), stamp(cut)))
    result = await record(playlist, tmp_path / "out")
    seen = whole(result, playlist)
    assert seen.numbers == list(range(cut, LONG.seconds * FPS))
    assert len(seen.ticks_s) == LONG.seconds
    for number in range(cut, LONG.seconds * FPS, FPS):
        assert seen.ticks_s[number // FPS] == pytest.approx(seen.at(number), abs=0.005)


@pytest.mark.parametrize("pid", [VIDEO_PID, AUDIO_PID], ids=["pictures", "sound"])
@pytest.mark.parametrize("missing", [(0,), (2,), (3,), (1, 2)], ids=str)
async def test_one_of_both_is_away_for_whole_segments(
    pid: int, missing: tuple[int, ...], clips: Clips, tmp_path: Path
) -> None:
    """A microphone that is unplugged, a camera that is: the other goes on, nothing is invented."""
    playlist = copy_clip(clips(LONG), tmp_path / "in")
    for number in missing:
        path = bending.paths(playlist)[number]
        path.write_bytes(bending.without_pids(path.read_bytes(), pid))
    result = await record(playlist, tmp_path / "out")
    seen = whole(result, playlist)
    away = [n for n in range(LONG.seconds * FPS) if n // (2 * FPS) in missing]
    kept = [n for n in range(LONG.seconds * FPS) if n not in away]
    seconds = {n // FPS for n in away}
    if pid == VIDEO_PID:
        assert seen.numbers == kept
        assert len(seen.ticks_s) == LONG.seconds
        heard = {n: seen.ticks_s[n // FPS] for n in kept if n % FPS == 0}
    else:
        assert seen.numbers == list(range(LONG.seconds * FPS))
        heard_seconds = [s for s in range(LONG.seconds) if s not in seconds]
        assert len(seen.ticks_s) == len(heard_seconds)
        heard = dict(zip((s * FPS for s in heard_seconds), seen.ticks_s, strict=True))
    for number, tick in heard.items():
        assert tick == pytest.approx(seen.at(number), abs=0.005)
    assert seen.length_s == pytest.approx(LONG.seconds, abs=0.06)


async def test_sound_that_goes_on_behind_the_last_picture(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(LONG), tmp_path / "in")
    last = bending.paths(playlist)[-1]
    last.write_bytes(bending.without_pids(last.read_bytes(), VIDEO_PID))
    seen = whole(await record(playlist, tmp_path / "out"), playlist)
    assert seen.numbers == list(range(6 * FPS))
    assert len(seen.ticks_s) == LONG.seconds
    assert seen.length_s == pytest.approx(LONG.seconds, abs=0.06)


@pytest.mark.parametrize("apart_s", [-0.7, 0.7])
async def test_sound_written_long_before_or_after_its_pictures(
    apart_s: float, clips: Clips, tmp_path: Path
) -> None:
    """Badly interleaved: times agree, but bytes come up to a segment apart."""
    playlist = copy_clip(clips(LONG), tmp_path / "in")
    for path in bending.paths(playlist):
        data = path.read_bytes()
        sound = bending.without_pids(data, VIDEO_PID)
        pictures = bending.without_pids(data, AUDIO_PID)
        path.write_bytes(sound + pictures if apart_s < 0 else pictures + sound)
    assert_recorded(await record(playlist, tmp_path / "out"), range(LONG.seconds * FPS))


def stamp(number: int) -> int:
    """The PTS of a picture in a clip that FFmpeg made."""
    return round((FIRST_S + 2 / FPS + number / FPS) * CLOCK_HZ)


def whole(result: Result, playlist: Path) -> Seen:
    """Without a gap, without a complaint, and all sound of the source."""
    assert_completed(result)
    assert media.decode_complaints(result.mp4) == ""
    assert sound_packets(result.mp4) == sound_packets(
        media.remux_with_ffmpeg(playlist, result.folder / "reference.mp4")
    )
    return look(result.mp4)
