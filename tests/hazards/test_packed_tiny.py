"""A packed segment of one frame, as FFmpeg's segmenter leaves behind, is kept (row 17)."""

from pathlib import Path

import pytest

from tests import bending
from tests.hazards.seen import assert_completed, sound_packets
from tests.hazards.test_master import apart, pack
from tests.local_pool import record


@pytest.mark.usefixtures("small_chunks")
async def test_a_packed_segment_of_one_frame(tmp_path: Path) -> None:
    apart(tmp_path / "in", "ts")
    playlist = tmp_path / "in" / "en" / "stream.m3u8"
    pack(playlist, least_bytes=0)
    assert bending.paths(playlist)[-1].stat().st_size < 1_000
    result = await record(playlist, tmp_path / "out")
    assert_completed(result)
    assert len(sound_packets(result.mp4)) == 283
