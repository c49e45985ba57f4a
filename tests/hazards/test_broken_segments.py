"""Segments with garbage around them, or that are something else (row 9)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.model import Status
from tests import bending, media
from tests.hazards.seen import assert_recorded, look
from tests.hazards.streams import SMALL
from tests.local_pool import record
from tests.media import FPS
from tests.media_fixtures import Clips, copy_clip

TS = replace(SMALL, seconds=6)
PER_SEGMENT = 2 * FPS
FRAMES = TS.seconds * FPS
NOISE = np.random.default_rng(7).integers(0, 256, 2_000, np.uint8).tobytes()

pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.mark.parametrize("before", [NOISE, b"<html>504</html>" * 40, bytes(500)], ids=len)
@pytest.mark.parametrize("number", [0, 1])
async def test_garbage_before_the_first_sync_byte(
    number: int, before: bytes, clips: Clips, tmp_path: Path
) -> None:
    playlist = copy_clip(clips(TS), tmp_path / "in")
    path = bending.paths(playlist)[number]
    path.write_bytes(before + path.read_bytes())
    assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES))


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_garbage_behind_the_last_packet(number: int, clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(TS), tmp_path / "in")
    path = bending.paths(playlist)[number]
    path.write_bytes(path.read_bytes() + NOISE)
    assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES))


async def test_another_stream_in_place_of_a_segment(clips: Clips, tmp_path: Path) -> None:
    """A neighbour's segment under our name: other parameters, another clock. Nothing crashes, and
    what is ours is whole and in order."""
    playlist = copy_clip(clips(TS), tmp_path / "in")
    foreign = clips(replace(TS, first_frame=1000, offset_s=9_000.0, audio_rate=44_100))
    bending.paths(playlist)[1].write_bytes(bending.paths(foreign)[0].read_bytes())
    result = await record(playlist, tmp_path / "out")
    assert result.recording.status is Status.COMPLETED
    numbers = look(result.mp4).numbers
    ours = [n for n in numbers if n < 1000]
    assert ours == [*range(PER_SEGMENT), *range(2 * PER_SEGMENT, FRAMES)]
    assert media.decode_complaints(result.mp4) == ""
