"""Times in fragments that lie by minutes or days: nothing of the recording lasts as long."""

import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.media import boxes
from pipeline.model import Status
from tests import media
from tests.local_pool import record
from tests.media import Form
from tests.media_fixtures import Clips, copy_clip
from tests.unit.test_recording_faults import segments

FORM = Form(container="fmp4", audio_rate=0)
# FFmpeg doubles rates until they reach 10 000.
_TIMESCALE = 12_800


def every_duration(data: bytearray) -> None:
    """Days, for each picture."""
    change_duration(data, 0, 2**31 - 1)


def change_duration(data: bytearray, track: int, ticks: int) -> None:
    moof = boxes.need(bytes(data), "moof")
    trafs = [box for box in boxes.walk(bytes(data), moof.body, moof.end) if box.kind == b"traf"]
    tfhd = boxes.need(bytes(data), "tfhd", trafs[track].body, trafs[track].end)
    flags = int.from_bytes(data[tfhd.body + 1 : tfhd.body + 4])
    assert flags & 0x8
    at = tfhd.body + 8 + (8 if flags & 1 else 0) + (4 if flags & 2 else 0)
    struct.pack_into(">I", data, at, ticks)


def one_offset(data: bytearray) -> None:
    """The fifth picture is shown half an hour after it is decoded."""
    trun = boxes.need(bytes(data), "moof/traf/trun")
    flags = int.from_bytes(data[trun.body + 1 : trun.body + 4])
    assert flags & 0x800
    columns = (flags >> 8 & 0xF).bit_count()
    at = trun.body + 8 + 4 * (flags & 1) + (flags & 4) + 4 * (columns * 5 - 1)
    struct.pack_into(">I", data, at, 1800 * _TIMESCALE)


@pytest.mark.parametrize("damage", [every_duration, one_offset])
async def test_times_that_lie(
    damage: Callable[[bytearray], None], clips: Clips, tmp_path: Path
) -> None:
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    middle = segments(playlist)[1]
    data = bytearray(middle.read_bytes())
    damage(data)
    middle.write_bytes(data)
    result = await record(playlist, tmp_path / "out")
    assert result.recording.status is Status.COMPLETED
    assert result.recording.gaps == ()
    assert result.report["duration_s"] == pytest.approx(FORM.seconds, abs=FORM.segment_s)
    lengths = [float(s) for s in re.findall(r"#EXTINF:([\d.]+)", result.playlist.read_text())]
    assert sum(lengths) == pytest.approx(FORM.seconds, abs=FORM.segment_s)
    assert media.frame_numbers(result.mp4)[-1] == FORM.seconds * media.FPS - 1


async def test_times_of_sound_alone_that_lie(clips: Clips, tmp_path: Path) -> None:
    """FFmpeg's muxer would end the process."""
    playlist = copy_clip(clips(Form(container="fmp4")), tmp_path / "in")
    middle = segments(playlist)[1]
    data = bytearray(middle.read_bytes())
    change_duration(data, 1, 2**32 - 1)
    middle.write_bytes(data)
    result = await record(playlist, tmp_path / "out")
    assert result.recording.status is Status.COMPLETED
    assert result.report["duration_s"] == pytest.approx(FORM.seconds, abs=FORM.segment_s)
    assert media.frame_numbers(result.mp4) == list(range(FORM.seconds * media.FPS))
