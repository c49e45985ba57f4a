"""Segments of one picture, of a fifth of a second, of a minute; thousands of them (rows 7, 24)."""

import resource
from dataclasses import replace
from pathlib import Path

import pytest

from tests import media
from tests.hazards.seen import assert_completed, assert_recorded, look
from tests.hazards.streams import SMALL, X264, encode_hls
from tests.local_pool import record
from tests.media import FPS, Form

INTRA = [*X264, "-g", "1", "-keyint_min", "1", "-bf", "0"]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("suffix", ["ts", "m4s"])
@pytest.mark.parametrize("pictures", [1, 5])
async def test_tiny_segments(pictures: int, suffix: str, tmp_path: Path) -> None:
    """Low-latency packagers' parts, listed as segments."""
    video = [*X264, "-g", str(pictures), "-keyint_min", str(pictures), "-bf", "0"]
    playlist = encode_hls(tmp_path / "in", suffix=suffix, segment_s=pictures / FPS, video=video)
    assert playlist.read_text().count("#EXTINF") == pytest.approx(100 / pictures, abs=3)
    seen = assert_recorded(await record(playlist, tmp_path / "out"), range(100))
    assert seen.length_s == pytest.approx(4.032, abs=0.01)


async def test_one_segment_of_a_minute(tmp_path: Path) -> None:
    form = Form(seconds=60)
    playlist = encode_hls(tmp_path / "in", form, segment_s=60)
    assert playlist.read_text().count("#EXTINF") == 1
    assert_recorded(await record(playlist, tmp_path / "out"), range(60 * FPS))


async def test_ten_thousand_segments(tmp_path: Path) -> None:
    """As many pictures out as in, each at its time, and no memory beyond what a few would take."""
    form = replace(SMALL, seconds=400)
    playlist = encode_hls(tmp_path / "in", form, segment_s=0.01, video=INTRA, audio=())
    assert playlist.read_text().count("#EXTINF") == 10_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = await record(playlist, tmp_path / "out")
    assert_completed(result)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    assert result.report["frames_out"] == 10_000
    times = [packet.pts for packet in media.packets(result.mp4)]
    assert times == [times[0] + media.Fraction(n, FPS) for n in range(10_000)]
    assert look(result.mp4).numbers == list(range(10_000))
