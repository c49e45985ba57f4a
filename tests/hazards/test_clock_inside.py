"""An encoder that starts anew inside a segment, without a word in the playlist (row 1)."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests import media
from tests.hazards.seen import look
from tests.hazards.streams import SMALL, encode, listing
from tests.local_pool import record
from tests.media import FPS


@pytest.mark.parametrize(
    "starts_s", [(0.0, 0.0), (5_000.0, 0.0), (0.0, 5_000.0)], ids=["same", "back", "ahead"]
)
async def test_an_encoder_that_starts_anew_inside_a_segment(
    starts_s: tuple[float, float], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    halves = [
        encode(
            tmp_path / f"{number}.ts",
            replace(SMALL, seconds=2, first_frame=2 * FPS * number),
            output=["-f", "mpegts", "-output_ts_offset", str(start_s)],
        )
        for number, start_s in enumerate(starts_s)
    ]
    folder.mkdir()
    (folder / "both.ts").write_bytes(b"".join(half.read_bytes() for half in halves))
    playlist = listing(folder, [("both.ts", 4.0)])
    result = await record(playlist, tmp_path / "out")
    seen = look(result.mp4)
    assert seen.numbers == list(range(4 * FPS))
    assert media.decode_complaints(result.mp4) == ""
    assert seen.length_s == pytest.approx(4.0, abs=0.1)
