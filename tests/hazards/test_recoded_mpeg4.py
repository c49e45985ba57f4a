"""MPEG-4 part 2, whose headers come with its pictures, is re-encoded (row 19)."""

from pathlib import Path

import pytest

from tests.hazards.seen import assert_even, assert_recorded
from tests.hazards.streams import encode_hls
from tests.hazards.test_codecs import codecs
from tests.hazards.test_recoded import FORM, FRAMES
from tests.local_pool import record

MPEG4 = ["-c:v", "mpeg4", "-q:v", "2", "-g", "25", "-pix_fmt", "yuv420p"]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    ("suffix", "b_frames"), [("ts", "0"), ("ts", "2"), ("m4s", "0")], ids=["ts", "ts-b", "m4s"]
)
async def test_mpeg4_part_2(suffix: str, b_frames: str, tmp_path: Path) -> None:
    video = [*MPEG4, "-bf", b_frames, *(["-bsf:v", "dump_extra"] if suffix == "ts" else [])]
    playlist = encode_hls(tmp_path / "in", FORM, suffix=suffix, video=video)
    result = await record(playlist, tmp_path / "out")
    assert_even(assert_recorded(result, range(FRAMES), tolerance_s=0.025))
    assert codecs(result.mp4) == ["h264", "aac"]
