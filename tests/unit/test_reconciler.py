"""Which recordings get a supervisor now."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from actors.reconciler import may_begin
from pipeline.model import EndReason, Recording, Status

NOW = datetime(2025, 10, 5, 18, tzinfo=UTC)
LIVE = Recording(
    id=uuid4(),
    stream_id="s",
    status=Status.RECORDING,
    started_at=NOW,
    created_at=NOW,
    updated_at=NOW,
)
BACKLOG = replace(LIVE, end_reason=EndReason.EVENT, ended_at=NOW)
BEGUN = replace(BACKLOG, object_name="k")
SHORT = replace(BACKLOG, last_start_at=NOW)


@pytest.mark.parametrize(
    ("recording", "ended", "disk_is_full", "begins"),
    [
        (LIVE, 100, True, True),
        (BACKLOG, 0, False, True),
        (BACKLOG, 15, False, True),
        (BACKLOG, 16, False, False),
        (BACKLOG, 0, True, False),
        (BEGUN, 0, True, True),
        (SHORT, 0, True, True),
        (SHORT, 16, True, False),
        (BEGUN, 16, True, False),
    ],
)
def test_what_may_begin(recording: Recording, ended: int, disk_is_full: bool, begins: bool) -> None:
    assert may_begin(recording, ended=ended, disk_is_full=disk_is_full) is begins
