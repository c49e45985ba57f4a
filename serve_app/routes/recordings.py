"""Recordings as clients read and change them."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.exceptions import HTTPException

from pipeline import model
from pipeline.errors import Conflict
from pipeline.recording_counts import count_cancelled
from pipeline.stores.catalog import Wanted
from serve_app.access.audit import note
from serve_app.access.guard import Reader, Writer
from serve_app.problems import guarded
from serve_app.routes.common import (
    FromServices,
    OwnRecording,
    SeenRecording,
    cursor_after,
    read_cursor,
)
from serve_app.schemas import (
    OneRecording,
    Recording,
    RecordingChange,
    RecordingPage,
)
from serve_app.services import Services

DEFAULT_PAGE = 100
MAX_PAGE = 1000
MAX_TEXT = 200
# What is left of a failed recording is removed by whoever was at work on it.
_REMOVAL_S, _LOOK_EVERY_S = 12.0, 0.25

router = APIRouter(tags=["recordings"])
Text = Annotated[str | None, Query(max_length=MAX_TEXT, pattern=r"^[^\x00]*$")]


@router.get("/recordings", responses=guarded(400))
async def list_recordings(
    services: FromServices,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
    status: Annotated[str | None, Query(description="One or more, separated by commas")] = None,
    q: Text = None,
    stream_id: Text = None,
    user_id: Text = None,
    since: Annotated[
        datetime | None, Query(alias="from", description="RFC 3339: started at")
    ] = None,
    until: Annotated[datetime | None, Query(alias="to", description="RFC 3339: before")] = None,
) -> RecordingPage:
    """Newest first. `q`: a part of the title, of the stream's id, or of the recording's."""
    wanted = Wanted(
        statuses=_statuses(status),
        text=q or None,
        stream_id=stream_id or None,
        user_id=user_id or None,
        since=_instant(since),
        until=_instant(until),
    )
    if caller.owner is not None:
        if wanted.user_id not in (None, caller.owner):
            return RecordingPage(recordings=[])
        wanted = replace(wanted, user_id=caller.owner)
    found = await services.catalog.list(limit=limit + 1, before=read_cursor(cursor), wanted=wanted)
    page = found[:limit]
    return RecordingPage(
        recordings=[Recording.of(each, caller) for each in page],
        next_cursor=cursor_after(page[-1]) if len(found) > limit else None,
    )


@router.get("/recording/{id}", responses=guarded(404))
@router.get("/recordings/{id}", responses=guarded(404), name="get_recording_by_id")
async def get_recording(recording: SeenRecording, caller: Reader) -> OneRecording:
    """One recording; both paths are the same."""
    return OneRecording(recording=Recording.of(recording, caller))


@router.patch("/recordings/{id}", responses=guarded(400, 404))
async def change_recording(
    change: RecordingChange,
    recording: OwnRecording,
    services: FromServices,
    caller: Writer,
    request: Request,
) -> OneRecording:
    """Set its title, whether it is kept however old it is, or whose it is (`admin`, or without
    access control). What is not named stays; null and the empty text clear a text."""
    told = change.model_dump(exclude_unset=True)
    if "user_id" in told and caller.owner is not None:
        raise HTTPException(403, "Only an admin may say whose a recording is")
    changed = recording
    if told.keys() & {"title", "user_id"}:
        changed = await services.catalog.describe(
            recording.id,
            told.get("title", recording.title) or None,
            told.get("user_id", recording.user_id) or None,
        )
    if "keep" in told:
        changed = await services.catalog.set_keep(recording.id, told["keep"])
    await note(request, caller, "recording.change", recording.id, **told)
    return OneRecording(recording=Recording.of(changed, caller))


@router.delete("/recordings/{id}", status_code=204, responses=guarded(404, 409))
async def delete_recording(
    recording: OwnRecording, services: FromServices, caller: Writer, request: Request
) -> Response:
    """Gone at once for everybody; its objects follow within seconds. One that goes on has to be
    cancelled first."""
    await services.catalog.delete(recording.id)
    if recording.video_id is not None:
        await services.platform.delete_video(recording.video_id)
    await services.poke([recording.id])
    await note(request, caller, "recording.delete", recording.id, file_path=recording.file_path)
    return Response(status_code=204)


@router.post("/recordings/{id}/retry", responses=guarded(404, 409))
async def retry_recording(
    recording: OwnRecording, services: FromServices, caller: Writer, request: Request
) -> OneRecording:
    """Begin a failed recording anew; one that goes on goes on."""
    again = await _retried(services, recording)
    await services.poke([recording.id])
    await note(request, caller, "recording.retry", recording.id)
    return OneRecording(recording=Recording.of(again, caller))


@router.post("/recordings/{id}/cancel", responses=guarded(404, 409))
async def cancel_recording(
    recording: OwnRecording, services: FromServices, caller: Writer, request: Request
) -> OneRecording:
    """End a recording that goes on, and keep nothing of it: it has failed then."""
    cancelled = await services.catalog.cancel(recording.id, f"Cancelled by {caller.name}")
    if not recording.status.is_final:
        count_cancelled()
    await services.poke([recording.id])
    await note(request, caller, "recording.cancel", recording.id)
    return OneRecording(recording=Recording.of(cancelled, caller))


@router.get("/recordings/{id}/report", responses=guarded(404))
async def get_report(recording: SeenRecording, services: FromServices) -> Mapping[str, Any]:
    """The verification report: what came in, what came out, what is missing, and how long it took.

    404 also as long as the recording is not finished.
    """
    report = await services.catalog.report(recording.id)
    if report is None:
        raise HTTPException(404, f"No report yet: the recording is {recording.status}")
    return report


def _statuses(text: str | None) -> tuple[model.Status, ...]:
    try:
        return tuple(model.Status(word.strip()) for word in (text or "").split(",") if word.strip())
    except ValueError as error:
        known = ", ".join(model.Status)
        raise HTTPException(400, f"Invalid status: there are {known}") from error


def _instant(told: datetime | None) -> datetime | None:
    """Without a zone it is UTC."""
    return told.replace(tzinfo=UTC) if told is not None and told.tzinfo is None else told


async def _retried(services: Services, recording: model.Recording) -> model.Recording:
    """What is left of the first try is waited for, but not for ever."""
    give_up = asyncio.get_running_loop().time() + _REMOVAL_S
    while True:
        try:
            return await services.catalog.retry(recording.id)
        except Conflict:
            is_failed = (await services.catalog.get(recording.id)).status is model.Status.FAILED
            if not is_failed or asyncio.get_running_loop().time() > give_up:
                raise
        await asyncio.sleep(_LOOK_EVERY_S)
