"""Segments that are cut off or have garbage inside: what is whole of them is kept, what is torn
never goes out, and what is missing is a gap (row 9)."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.model import Status
from tests import bending, media
from tests.hazards.seen import assert_recorded, look
from tests.hazards.test_broken_segments import FRAMES, PER_SEGMENT, TS
from tests.local_pool import Result, record
from tests.media import FPS, Form
from tests.media_fixtures import Clips, copy_clip

FMP4 = replace(TS, container="fmp4")

pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("number", [0, 1, 2])
async def test_a_ts_segment_that_is_cut_off(
    number: int, kept: float, clips: Clips, tmp_path: Path
) -> None:
    """What is there of it is kept, the picture that is torn is not, and the rest is a gap."""
    playlist = copy_clip(clips(TS), tmp_path / "in")
    cut_off(bending.paths(playlist)[number], kept)
    check_cut(await record(playlist, tmp_path / "out"), number, kept)


async def test_garbage_between_packets(clips: Clips, tmp_path: Path) -> None:
    """No byte of media is missing, so nothing may be."""
    playlist = copy_clip(clips(TS), tmp_path / "in")
    path = bending.paths(playlist)[1]
    packets = bending.ts_packets(path.read_bytes())
    half = next(i for i in range(40, 999) if bending.starts_unit(packets[i]))
    path.write_bytes(b"".join([*packets[:half], b"\1" * 500, *packets[half:]]))
    assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES))


def cut_off(path: Path, kept: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) // 188 * 188 + 100])


def check_cut(result: Result, number: int, kept: float) -> None:
    assert result.recording.error is None
    assert result.recording.status is Status.COMPLETED
    numbers = look(result.mp4).numbers
    own = [n for n in numbers if n // PER_SEGMENT == number]
    first = number * PER_SEGMENT
    # Reordered pictures at the torn end may lack one that is shown before them.
    assert own[: len(own) - 3] == list(range(first, first + len(own) - 3))
    assert len(own) >= PER_SEGMENT * (kept - 0.25)
    assert [n for n in numbers if n // PER_SEGMENT != number] == [
        n for n in range(FRAMES) if n // PER_SEGMENT != number
    ]
    assert media.decode_complaints(result.mp4) == ""
    missing_s = (PER_SEGMENT - len(own)) / FPS
    if missing_s > 0.5:
        assert len(result.recording.gaps) == 1
        gap = result.recording.gaps[0]
        assert gap.start_s == pytest.approx((first + len(own)) / FPS, abs=0.15)
        assert gap.duration_s == pytest.approx(missing_s, abs=0.3)
        assert gap.reason
    seen = look(result.mp4)
    for n in range(0, FRAMES, FPS):
        if n in seen.numbers and n // PER_SEGMENT != number:
            # The sound of a segment's first picture may lie in the segment before.
            is_cut_away = number < 2 and n == (number + 1) * PER_SEGMENT
            in_step = min(abs(tick - seen.at(n)) for tick in seen.ticks_s) < 0.02
            assert in_step or is_cut_away


@pytest.mark.parametrize("form", [FMP4], ids=["fmp4"])
@pytest.mark.parametrize("number", [0, 1, 2])
async def test_an_fmp4_segment_whose_end_is_missing(
    form: Form, number: int, clips: Clips, tmp_path: Path
) -> None:
    """The index is whole, the media is cut off: the pictures before the cut are kept."""
    playlist = copy_clip(clips(form), tmp_path / "in")
    path = bending.paths(playlist)[number]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    check_cut(await record(playlist, tmp_path / "out"), number, 0.6)
