"""MPEG-TS that is legal but odd, or hurt on its way (row 16)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.model import Status
from tests import bending, media
from tests.bending import PMT_PID, VIDEO_PID
from tests.hazards.seen import assert_recorded, look
from tests.hazards.streams import SMALL
from tests.local_pool import record
from tests.media import FPS, Form
from tests.media_fixtures import Clips, copy_clip

FORM = replace(SMALL, seconds=6)
FRAMES = FORM.seconds * FPS

pytestmark = pytest.mark.usefixtures("small_chunks")


def sei(payload: bytes) -> Callable[[bytes], bytes]:
    """An SEI unit behind the delimiter of each picture."""

    def change(unit: bytes) -> bytes:
        units = bending.nal_units(unit)
        at = 1 if units and units[0][0] & 31 == 9 else 0
        return bending.annex_b([*units[:at], payload, *units[at:]])

    return change


ODD: dict[str, Callable[[bytes], bytes]] = {
    "no-aud": bending.without_h264(9),
    "no-sei": bending.without_h264(6),
    "sei-too-long": sei(b"\x06\x05\xff\xff\x20" + b"x" * 30),
    "sei-empty": sei(b"\x06"),
    "sei-garbage": sei(b"\x06\x04\x47\xb5\x00\x31" + b"GA94" * 3),
    "filler": sei(b"\x0c" + b"\xff" * 400 + b"\x80"),
    "unknown-nal": sei(b"\x1e" + b"any" * 9),
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD.keys())
async def test_odd_units_between_pictures(
    change: Callable[[bytes], bytes], clips: Clips, tmp_path: Path
) -> None:
    """FFmpeg may say what it thinks of the source's SEI; no picture may be missing for it."""
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    for path in bending.paths(playlist):
        path.write_bytes(bending.change_units(path.read_bytes(), VIDEO_PID, change))
    assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES), clean=False)


@pytest.mark.parametrize("change", [bending.as_m2ts, bending.with_parity], ids=["192", "204"])
@pytest.mark.parametrize("numbers", [(0, 1, 2), (1,)], ids=["all", "one"])
async def test_packets_of_another_size(
    numbers: tuple[int, ...], change: Callable[[bytes], bytes], clips: Clips, tmp_path: Path
) -> None:
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    for number in numbers:
        path = bending.paths(playlist)[number]
        path.write_bytes(change(path.read_bytes()))
    assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES))


@pytest.mark.parametrize("numbers", [(1, 2), (1,), (2,)], ids=str)
async def test_tables_that_only_other_segments_have(
    numbers: tuple[int, ...], clips: Clips, tmp_path: Path
) -> None:
    """A file that was cut without a thought of PAT and PMT."""
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    for number in numbers:
        path = bending.paths(playlist)[number]
        path.write_bytes(bending.without_pids(path.read_bytes(), 0, PMT_PID))
    assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES))


async def test_tables_that_the_first_segment_lacks(clips: Clips, tmp_path: Path) -> None:
    """The next segment's tables say what is in the first one."""
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    path = bending.paths(playlist)[0]
    path.write_bytes(bending.without_pids(path.read_bytes(), 0, PMT_PID))
    assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES))


async def test_tables_in_the_middle(clips: Clips, tmp_path: Path) -> None:
    """They come behind the first pictures: those are not lost."""
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    for path in bending.paths(playlist):
        packets = bending.ts_packets(path.read_bytes())
        tables = [p for p in packets if bending.pid(p) in (0, PMT_PID)]
        rest = [p for p in packets if bending.pid(p) not in (0, PMT_PID)]
        path.write_bytes(b"".join([*rest[:60], *tables[:2], *rest[60:]]))
    assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES))


@pytest.mark.parametrize("lost", [(9,), (4, 17, 30), range(10, 25)], ids=["one", "few", "burst"])
@pytest.mark.parametrize("number", [0, 1])
async def test_lost_packets_of_pictures_cost_what_they_held(
    number: int, lost: tuple[int, ...], clips: Clips, tmp_path: Path
) -> None:
    """Nothing but the damaged pictures of that segment, and no sound."""
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    path = bending.paths(playlist)[number]
    path.write_bytes(bending.lose_packets(path.read_bytes(), VIDEO_PID, lost))
    result = await record(playlist, tmp_path / "out")
    assert result.recording.status is Status.COMPLETED
    seen = look(result.mp4)
    whole = [n for n in range(FRAMES) if n // (2 * FPS) != number]
    assert [n for n in whole if n not in seen.numbers] == []
    # Damaged pictures may show another number.
    assert FRAMES - 2 * FPS <= len(seen.numbers) <= FRAMES
    assert len(seen.ticks_s) == FORM.seconds
    for n in range(0, FRAMES, FPS):
        if n // (2 * FPS) != number:
            assert min(abs(tick - seen.at(n)) for tick in seen.ticks_s) < 0.02


async def test_counters_that_jump_without_a_loss(clips: Clips, tmp_path: Path) -> None:
    """Muxers that begin to count anew in each segment, or that never count."""
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    for path in bending.paths(playlist):
        packets = [bytearray(p) for p in bending.ts_packets(path.read_bytes())]
        for packet in packets:
            packet[3] &= 0xF0
        path.write_bytes(b"".join(packets))
    assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES), clean=False)


async def test_hevc_with_parameter_sets_in_the_first_segment_only(tmp_path: Path) -> None:
    form = Form(seconds=4, video_codec="libx265", b_frames=0)
    playlist = media.make_hls(tmp_path / "in", form)
    path = bending.paths(playlist)[1]

    def strip(unit: bytes) -> bytes:
        units = bending.nal_units(unit)
        return bending.annex_b(nal for nal in units if nal[0] >> 1 & 63 not in (32, 33, 34))

    path.write_bytes(bending.change_units(path.read_bytes(), VIDEO_PID, strip))
    assert_recorded(await record(playlist, tmp_path / "out"), range(4 * FPS))
