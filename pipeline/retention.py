"""What may be deleted, and what is too old: recordings by ``RETENTION_DAYS``, live segments by
``DELETE_SOURCE_AFTER``. What is deleted is in the audit.
"""

from datetime import datetime, timedelta
from typing import Any

from pipeline.errors import Conflict, RecordingNotFound
from pipeline.gaps import CLOCK_JUMPS
from pipeline.model import Recording
from pipeline.stores.catalog import Catalog
from pipeline.stores.platform import Change, Platform

ACTOR = "retention"


def limit_of(now: datetime, days: int) -> datetime:
    """What was completed before this moment is too old."""
    return now - timedelta(days=days)


async def expire(recording: Recording, catalog: Catalog, platform: Platform) -> bool:
    """Delete a recording for its age: nobody sees it from now on, its objects follow. False if
    somebody keeps, goes on with or has deleted it meanwhile."""
    try:
        await catalog.delete(recording.id, spare_kept=True)
    except (Conflict, RecordingNotFound):
        return False
    if recording.video_id is not None:
        await platform.delete_video(recording.video_id)
    await note(
        platform,
        "recording.expire",
        recording,
        file_path=recording.file_path,
        bytes=recording.file_size,
    )
    return True


async def note(platform: Platform, action: str, recording: Recording, **details: Any) -> None:
    """In the audit, as done by nobody."""
    await platform.note(
        Change(actor=ACTOR, address="", action=action, subject=str(recording.id), details=details)
    )


def needs_source(recording: Recording) -> bool:
    """Whether the source may hold what the recording lacks. That its clock jumps is no loss."""
    return any(gap.reason != CLOCK_JUMPS for gap in recording.gaps)
