"""An encoder whose clock is set back: the same through HLS, and with absolute times in fMP4, which
know no wrap (row 1)."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests import bending
from tests.hazards.seen import assert_recorded
from tests.hazards.streams import SMALL, SMALL_FMP4
from tests.local_pool import record
from tests.media import FPS, Form
from tests.media_fixtures import Clips

LATER = SMALL.seconds * FPS


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unmarked"])
@pytest.mark.parametrize("form", [SMALL, SMALL_FMP4], ids=["ts", "fmp4"])
@pytest.mark.parametrize("starts_s", [(0.0, 0.0), (7_200.0, 100.0)], ids=["same", "back"])
async def test_a_clock_that_is_set_back(
    form: Form, starts_s: tuple[float, ...], marked: bool, clips: Clips, tmp_path: Path
) -> None:
    parts = [
        clips(replace(form, offset_s=start_s, first_frame=number * LATER))
        for number, start_s in enumerate(starts_s)
    ]
    playlist = bending.join(parts, tmp_path / "in", marked=marked)
    result = await record(playlist, tmp_path / "out")
    # Where decode times go back and the init stays, FFmpeg's HLS demuxer passes over a fragment.
    seen = assert_recorded(result, range(2 * LATER), by_hls=False)
    assert seen.length_s == pytest.approx(2 * SMALL.seconds, abs=0.09)


@pytest.mark.usefixtures("small_chunks")
async def test_times_of_day_as_decode_times(clips: Clips, tmp_path: Path) -> None:
    """Packagers that count from 1970, whose next part counts from zero."""
    epoch = clips(replace(SMALL_FMP4, offset_s=1_760_000_000.0))
    parts = [epoch, clips(replace(SMALL_FMP4, first_frame=LATER))]
    playlist = bending.join(parts, tmp_path / "in", marked=True)
    seen = assert_recorded(await record(playlist, tmp_path / "out"), range(2 * LATER))
    assert seen.length_s == pytest.approx(2 * SMALL.seconds, abs=0.09)
