"""What is above a limit costs only itself, and the limit is named (row 22)."""

import struct
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.media import boxes
from pipeline.media.boxes import make, make_full
from pipeline.model import Status
from tests import bending
from tests.hazards.seen import assert_recorded
from tests.hazards.streams import X264, encode_hls, listing
from tests.hazards.unreliable import unreliable
from tests.local_pool import Result, quick_settings, record
from tests.media import FPS, HEIGHT, WIDTH, Form
from tests.media_fixtures import Clips, copy_clip

FIRST = Form(seconds=2)
LAST = Form(seconds=2, first_frame=100, offset_s=4.0)
AROUND = [*range(2 * FPS), *range(100, 100 + 2 * FPS)]
FMP4 = Form(seconds=6, container="fmp4")
WITHOUT_MIDDLE = [*range(2 * FPS), *range(4 * FPS, 6 * FPS)]

pytestmark = pytest.mark.usefixtures("small_chunks")


def between(clips: Clips, middle: Path, folder: Path) -> Path:
    return bending.join([clips(FIRST), middle, clips(LAST)], folder, marked=True)


def assert_failed(result: Result, reason: str) -> None:
    assert result.recording.status is Status.FAILED
    assert reason in str(result.recording.error)
    assert [path for path in result.folder.rglob("*") if path.is_file()] == []


async def test_larger_pictures(clips: Clips, tmp_path: Path) -> None:
    large = (*X264, "-vf", f"scale={2 * WIDTH}:{HEIGHT}")
    middle = encode_hls(tmp_path / "large", Form(seconds=2), video=large)
    playlist = between(clips, middle, tmp_path / "in")
    settings = quick_settings(max_picture_pixels=WIDTH * HEIGHT)
    result = await record(playlist, tmp_path / "out", settings=settings)
    assert_recorded(result, AROUND, gaps=[(2.0, 2.0)], lost=[1])
    assert f"{2 * WIDTH} x {HEIGHT}" in result.recording.gaps[0].reason
    assert "MAX_PICTURE_PIXELS" in result.recording.gaps[0].reason


async def test_the_largest_pictures_by_default(clips: Clips, tmp_path: Path) -> None:
    size = ("-vf", "scale=8208:8192", "-frames:v", "1")
    middle = encode_hls(tmp_path / "large", Form(seconds=2), video=(*X264, *size), audio=())
    result = await record(between(clips, middle, tmp_path / "in"), tmp_path / "out")
    assert_recorded(result, AROUND, gaps=[(2.0, 1 / FPS)], lost=[1])
    assert "8208 x 8192" in result.recording.gaps[0].reason


async def test_more_packets(clips: Clips, tmp_path: Path) -> None:
    """A second of sound has 47 packets, of pictures 25 or 100."""
    playlist = between(clips, clips(Form(seconds=2, fps=100)), tmp_path / "in")
    result = await record(playlist, tmp_path / "out", settings=quick_settings(max_packets=200))
    assert_recorded(result, AROUND, gaps=[(2.0, 2.0)], lost=[1])
    assert "MAX_PACKETS" in result.recording.gaps[0].reason


async def test_more_packets_together_than_one_by_one(clips: Clips, tmp_path: Path) -> None:
    settings = quick_settings(max_packets=200)
    result = await record(clips(Form(seconds=6)), tmp_path / "out", settings=settings)
    assert_recorded(result, range(6 * FPS))


def fragment_bomb(segment: bytes) -> bytes:
    """Millions of samples in a few bytes."""
    moof = boxes.need(segment, "moof")
    claim = make_full(b"trun", 0, 1, struct.pack(">II", 2**28, 100))
    traf = boxes.need(segment, "moof/traf")
    head = boxes.need(segment, "moof/traf/tfhd")
    bomb = make(b"moof", segment[moof.body : traf.start], make(b"traf", _cut(segment, head), claim))
    return bomb + segment[moof.end :]


def _cut(data: bytes, box: boxes.Box) -> bytes:
    return data[box.start : box.end]


async def test_a_fragment_that_claims_millions_of_samples(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(FMP4), tmp_path / "in")
    bad = bending.paths(playlist)[1]
    bad.write_bytes(fragment_bomb(bad.read_bytes()))
    result = await record(playlist, tmp_path / "out")
    assert_recorded(result, WITHOUT_MIDDLE, gaps=[(2.0, 2.0)], lost=[1])
    assert "MAX_PACKETS" in result.recording.gaps[0].reason


async def test_an_init_that_is_compressed(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(FMP4), tmp_path / "in")
    init = playlist.parent / "init.mp4"
    begin = boxes.need(init.read_bytes(), "moov").start
    init.write_bytes(init.read_bytes()[:begin] + make(b"moov", make(b"cmov", bytes(2**10))))
    assert_failed(await record(playlist, tmp_path / "out"), "compressed")


async def test_millions_of_boxes(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(FMP4), tmp_path / "in")
    bad = bending.paths(playlist)[1]
    bad.write_bytes(bad.read_bytes() + make(b"free") * 2_000_000)
    result = await record(playlist, tmp_path / "out")
    assert_recorded(result, WITHOUT_MIDDLE, gaps=[(2.0, 2.0)], lost=[1])


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_playlist_bytes": 2**10}, "larger than 1024 bytes"),
        ({"max_playlist_segments": 9}, "more than 9 segments"),
    ],
    ids=["bytes", "segments"],
)
async def test_larger_playlists(
    limits: dict[str, Any], reason: str, clips: Clips, tmp_path: Path
) -> None:
    playlist = copy_clip(clips(FIRST), tmp_path / "in")
    listing(playlist.parent, [("seg_00000.ts", 2.0)] * 10, f"#{'x' * 2**10}")
    settings = quick_settings(**limits)
    assert_failed(await record(playlist, tmp_path / "out", settings=settings), reason)


async def test_a_segment_that_dribbles(clips: Clips, tmp_path: Path) -> None:
    """However slowly bytes come: the limit is for all of them."""
    settings = quick_settings(
        segment_download_timeout=timedelta(milliseconds=500), max_retry_attempts=1
    )
    with unreliable(clips(FMP4).parent, {"seg_00001.m4s": ("slow",)}) as server:
        result = await record(server.source(), tmp_path / "out", settings=settings)
    assert_recorded(result, WITHOUT_MIDDLE, gaps=[(2.0, 2.0)], lost=[1])
    assert "in time" in result.recording.gaps[0].reason
    # Two attempts, and two more once the server has answered otherwise.
    assert server.asked["seg_00001.m4s"] == 4
