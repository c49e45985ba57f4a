"""Data streams that are dropped have names in the report (row 20)."""

from pathlib import Path

import pytest

from tests import bending
from tests.hazards.test_streams import FORM, dropped_streams
from tests.local_pool import record
from tests.media_fixtures import Clips, copy_clip

NAMES = {"timed-id3": "timed_id3", "dvbsub": "dvb_subtitle"}


@pytest.mark.parametrize(("kind", "name"), NAMES.items(), ids=NAMES)
async def test_dropped_by_name(kind: str, name: str, clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    for number, path in enumerate(bending.paths(playlist)):
        path.write_bytes(bending.with_data(path.read_bytes(), kind, number))
    result = await record(playlist, tmp_path / "out")
    dropped = dropped_streams(result)
    assert any(name in told for told in dropped), dropped
