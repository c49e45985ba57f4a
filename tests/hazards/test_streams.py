"""What lies beside pictures and sound in a stream, or is missing from it (row 20)."""

from dataclasses import replace
from pathlib import Path

import av
import pytest

from tests import bending, media
from tests.bending import AUDIO_PID, VIDEO_PID
from tests.hazards.seen import assert_completed, assert_recorded, look, ticks
from tests.hazards.streams import AAC, SMALL, X264, encode, encode_hls, listing, segmented
from tests.local_pool import Result, record
from tests.media import FPS
from tests.media_fixtures import Clips, copy_clip

FORM = replace(SMALL, seconds=6)
FRAMES = FORM.seconds * FPS

pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.mark.parametrize("suffix", ["ts", "m4s"])
async def test_pictures_only(suffix: str, tmp_path: Path) -> None:
    playlist = encode_hls(tmp_path / "in", FORM, suffix=suffix, audio=())
    seen = assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES), has_sound=False)
    assert seen.length_s == pytest.approx(FORM.seconds, abs=0.01)


@pytest.mark.parametrize("suffix", ["ts", "m4s"])
async def test_sound_only(suffix: str, tmp_path: Path) -> None:
    playlist = encode_hls(tmp_path / "in", FORM, suffix=suffix, video=())
    result = await record(playlist, tmp_path / "out")
    assert_completed(result)
    heard = ticks(result.mp4)
    assert [at - heard[0] for at in heard] == pytest.approx(range(FORM.seconds), abs=0.003)
    assert media.decode_complaints(result.playlist) == ""


@pytest.mark.parametrize("pid", [VIDEO_PID, AUDIO_PID], ids=["pictures", "sound"])
async def test_a_declared_stream_that_never_comes(pid: int, clips: Clips, tmp_path: Path) -> None:
    """The PMT names it; no packet of it is in any segment."""
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    for path in bending.paths(playlist):
        path.write_bytes(bending.without_pids(path.read_bytes(), pid))
    result = await record(playlist, tmp_path / "out")
    assert_completed(result)
    with av.open(str(result.mp4)) as made:
        assert [s.type for s in made.streams] == ["audio" if pid == VIDEO_PID else "video"]
    if pid == AUDIO_PID:
        assert look(result.mp4).numbers == list(range(FRAMES))
    else:
        assert len(ticks(result.mp4)) == FORM.seconds


async def test_a_stream_that_comes_in_the_second_segment(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    path = bending.paths(playlist)[0]
    path.write_bytes(bending.without_pids(path.read_bytes(), AUDIO_PID))
    result = await record(playlist, tmp_path / "out")
    assert_completed(result)
    seen = look(result.mp4)
    assert seen.numbers == list(range(FRAMES))
    expected = [seen.at(n) for n in range(2 * FPS, FRAMES, FPS)]
    assert seen.ticks_s == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("suffix", ["ts", "m4s"])
async def test_two_sounds_in_one_stream(suffix: str, tmp_path: Path) -> None:
    """Both are kept, each with its own delay."""
    folder = tmp_path / "in"
    one = encode(tmp_path / "one.nut", FORM, output=["-f", "nut"])
    late = ["-af", "adelay=300:all=1", *AAC]
    two = encode(tmp_path / "two.nut", FORM, video=(), audio=late, output=["-f", "nut"])
    options, playlist = segmented(folder, suffix)
    maps = ["-map", "0:v", "-map", "0:a", "-map", "1:a", "-c", "copy"]
    media.ffmpeg("-i", one, "-i", two, *maps, *options, playlist)
    result = await record(playlist, tmp_path / "out")
    seen = assert_recorded(result, range(FRAMES), by_hls=False)
    assert ticks(result.mp4, 1) == pytest.approx([at + 0.3 for at in seen.ticks_s], abs=0.01)


async def test_several_programs(tmp_path: Path) -> None:
    """A multiplex: the pictures that are largest are the recording."""
    folder = tmp_path / "in"
    folder.mkdir()
    one = encode(tmp_path / "one.nut", SMALL, output=["-f", "nut"])
    small = ["-vf", "scale=64:36", *X264]
    two = encode(
        tmp_path / "two.nut", replace(SMALL, first_frame=999), video=small, output=["-f", "nut"]
    )
    maps = [*("-map", "1:v", "-map", "1:a", "-map", "0:v", "-map", "0:a"), "-c", "copy"]
    maps += ["-program", "title=b:st=0:st=1", "-program", "title=a:st=2:st=3", "-f", "mpegts"]
    media.ffmpeg("-i", one, "-i", two, *maps, folder / "0.ts")
    result = await record(listing(folder, [("0.ts", 4.0)]), tmp_path / "out")
    assert_completed(result)
    assert media.decode_complaints(result.mp4) == ""
    assert look(result.mp4).numbers == list(range(SMALL.seconds * FPS))


@pytest.mark.parametrize("kind", ["timed-id3", "scte35", "dvbsub"])
async def test_data_beside_is_dropped_and_named(kind: str, clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    for number, path in enumerate(bending.paths(playlist)):
        path.write_bytes(bending.with_data(path.read_bytes(), kind, number))
    result = await record(playlist, tmp_path / "out")
    assert_recorded(result, range(FRAMES))
    assert len(dropped_streams(result)) == 1


def dropped_streams(result: Result) -> set[str]:
    return {name for chunk in result.report["chunks"] for name in chunk["dropped_streams"]}
