"""The bytes decide what a segment is, not its name (row 17)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import pytest

from tests import bending, media
from tests.bending import CLOCK_HZ
from tests.hazards.seen import assert_completed, assert_recorded, ticks
from tests.hazards.streams import SMALL, SMALL_FMP4, X264, encode, listing
from tests.local_pool import record
from tests.media import FPS, Form
from tests.media_fixtures import Clips, copy_clip

FRAMES = SMALL.seconds * FPS
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde\0\0\0\0IEND\xaeB`\x82"
PACKED = {
    "adts": ["-c:a", "aac", "-b:a", "64k"],
    "mp3": ["-c:a", "libmp3lame", "-b:a", "64k", "-write_xing", "0", "-id3v2_version", "0"],
    "ac3": ["-c:a", "ac3", "-b:a", "96k"],
    "eac3": ["-c:a", "eac3", "-b:a", "96k"],
}

pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.mark.parametrize("form", [SMALL, SMALL_FMP4], ids=["ts", "fmp4"])
@pytest.mark.parametrize("suffix", [".ts", ".m4s", ".aac", ".html", ""])
async def test_any_name(form: Form, suffix: str, clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(form), tmp_path / "in")
    listed = []
    for entry in bending.entries(playlist):
        name = entry.uri.partition(".")[0] + suffix
        (playlist.parent / entry.uri).rename(playlist.parent / name)
        listed.append(bending.Entry(tags=entry.tags, uri=name))
    bending.write(playlist, listed)
    assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES))


@pytest.mark.parametrize(
    "head",
    [PNG, PNG + bytes(300), b"GIF89a" + bytes(60), b"\xff\xd8\xff\xe0" + bytes(500)],
    ids=["png", "png-filled", "gif", "jpeg"],
)
async def test_ts_behind_a_picture(head: bytes, clips: Clips, tmp_path: Path) -> None:
    """Segments that are hidden on image hosts."""
    playlist = copy_clip(clips(SMALL), tmp_path / "in")
    for path in bending.paths(playlist):
        path.write_bytes(head + path.read_bytes())
    assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES))


@pytest.mark.parametrize("flags", ["", "+faststart"], ids=["moov-behind", "moov-first"])
async def test_one_progressive_mp4_per_segment(flags: str, tmp_path: Path) -> None:
    """Each begins at zero: the playlist's order and durations are all that there is."""
    folder = tmp_path / "in"
    for number in range(2):
        encode(
            folder / f"{number}.mp4",
            replace(SMALL, seconds=2, first_frame=number * 2 * FPS),
            video=X264,
            output=["-movflags", flags] if flags else [],
        )
    playlist = listing(folder, [("0.mp4", 2.0), ("1.mp4", 2.0)])
    result = await record(playlist, tmp_path / "out")
    assert_recorded(result, range(FRAMES), tolerance_s=0.03, by_hls=False)


@pytest.mark.parametrize("codec", PACKED)
async def test_packed_sound(codec: str, tmp_path: Path) -> None:
    """With the time in an ID3 tag."""
    await check_packed(codec, tmp_path, timed=True, start=95_000 * CLOCK_HZ, bend=lambda d: d)


async def test_packed_sound_whose_time_wraps(tmp_path: Path) -> None:
    await check_packed(
        "adts", tmp_path, timed=True, start=bending.WRAP - CLOCK_HZ, bend=lambda d: d
    )


async def test_packed_sound_behind_two_tags(tmp_path: Path) -> None:
    """A title as well as the time."""
    title = b"TIT2" + bytes((0, 0, 0, 6, 0, 0)) + b"\x03title"
    tag = b"ID3\x04\0\0" + bytes((0, 0, 0, len(title))) + title
    await check_packed("adts", tmp_path, timed=True, start=0, bend=lambda data: tag + data)


async def check_packed(
    codec: str,
    folder: Path,
    *,
    timed: bool,
    start: int,
    bend: Callable[[bytes], bytes],
) -> None:
    form = replace(SMALL, seconds=6)
    whole = encode(folder / f"a.{codec}", form, video=(), audio=PACKED[codec], output=["-f", codec])
    home = folder / "in"
    home.mkdir()
    listed = []
    with av.open(str(whole)) as source:
        frames = [bytes(p) for p in source.demux(audio=0) if p.size]
        length_s = float(form.seconds) / len(frames)
        rate = source.streams.audio[0].codec_context.frame_size / 48_000
    per_segment = len(frames) // 3 + 1
    for number in range(3):
        own = frames[number * per_segment : (number + 1) * per_segment]
        at = start + round(number * per_segment * rate * CLOCK_HZ)
        tag = bending.id3_timestamp(at) if timed else b""
        (home / f"{number}.{codec}").write_bytes(bend(tag + b"".join(own)))
        listed.append((f"{number}.{codec}", len(own) * length_s))
    result = await record(listing(home, listed), folder / "out")
    assert_completed(result)
    assert media.decode_complaints(result.mp4) == ""
    heard = ticks(result.mp4)
    assert len(heard) == form.seconds
    assert [at - heard[0] for at in heard] == pytest.approx(range(form.seconds), abs=0.005)
    with av.open(str(result.mp4)) as made:
        assert sum(1 for p in made.demux(audio=0) if p.size) == len(frames)
