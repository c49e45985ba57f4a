"""Recordings as clients read them."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException

from pipeline import model
from serve_app.problems import documented
from serve_app.routes.common import FromServices, RecordingId
from serve_app.schemas import OneRecording, Recording, RecordingPage

DEFAULT_PAGE = 100
MAX_PAGE = 1000

router = APIRouter(tags=["recordings"])


@router.get("/recordings", responses=documented(400, 503))
async def list_recordings(
    services: FromServices,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
) -> RecordingPage:
    """Newest first."""
    before = None if cursor is None else _read_cursor(cursor)
    found = await services.catalog.list(limit=limit + 1, before=before)
    page = found[:limit]
    return RecordingPage(
        recordings=[Recording.of(each) for each in page],
        next_cursor=_cursor_after(page[-1]) if len(found) > limit else None,
    )


@router.get("/recording/{id}", responses=documented(404, 503))
@router.get("/recordings/{id}", responses=documented(404, 503), name="get_recording_by_id")
async def get_recording(recording_id: RecordingId, services: FromServices) -> OneRecording:
    """One recording; both paths are the same."""
    return OneRecording(recording=Recording.of(await services.catalog.get(recording_id)))


@router.get("/recordings/{id}/report", responses=documented(404, 503))
async def get_report(recording_id: RecordingId, services: FromServices) -> Mapping[str, Any]:
    """The verification report: what came in, what came out, what is missing, and how long it took.

    404 also as long as the recording is not finished.
    """
    recording = await services.catalog.get(recording_id)
    report = await services.catalog.report(recording_id)
    if report is None:
        raise HTTPException(404, f"No report yet: the recording is {recording.status}")
    return report


def _cursor_after(recording: model.Recording) -> str:
    place = f"{recording.created_at.isoformat()}|{recording.id}"
    return urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        place = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        created_at, _, recording_id = place.partition("|")
        return datetime.fromisoformat(created_at).astimezone(UTC), UUID(recording_id)
    except (ValueError, OverflowError) as error:
        raise HTTPException(400, "Invalid cursor") from error
