"""What a profile allows a decoder's buffer to need holds across chunks as well."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import pytest

from pipeline.jobs import ChunkJob
from pipeline.media.encoders import BUFFER_AT_JOINS
from tests.hazards.streams import SMALL
from tests.local_pool import record
from tests.media import FPS
from tests.media_fixtures import Clips
from tests.outputs.own_profiles import with_profiles

# Without a limit it takes several times as much.
BUSY = replace(SMALL, seconds=12, noise=True)
RATE = BUFFER = 150_000


def left_behind_pictures(path: Path) -> list[float]:
    """What is in a decoder's buffer that is as full at first as at joins, in bits."""
    with av.open(str(path)) as source:
        packets = [p for p in source.demux(video=0) if p.size]
    times = [float(p.dts * p.time_base) for p in packets]
    held, seen = BUFFER_AT_JOINS * BUFFER, []
    for packet, step in zip(packets, [b - a for a, b in pairwise(times)] + [0.0], strict=True):
        held -= 8 * packet.size
        seen.append(held)
        held = min(BUFFER, held + RATE * step)
    return seen


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("profile", ["tight", "tight-hevc"])
async def test_the_limit_holds_at_the_joins(profile: str, clips: Clips, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    result = await record(
        clips(BUSY), folder, profile=profile, settings=with_profiles(folder), workers=1
    )
    assert sum(isinstance(job, ChunkJob) for job in result.jobs) >= 3
    left = left_behind_pictures(result.mp4)
    assert len(left) == BUSY.seconds * FPS
    assert min(left) >= -0.01 * BUFFER
    assert min(left) < 0.5 * BUFFER  # It is what limits it.
    (rendition,) = result.report["renditions"]
    assert rendition["buffer"]["lowest"] == pytest.approx(min(left) / BUFFER, abs=0.002)
