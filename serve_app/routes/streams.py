"""Live ingest: streams that are published to us by SRT or RTMP (docs/ingest.md)."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException

from pipeline.errors import NotInstalled
from serve_app.access.audit import note
from serve_app.access.caller import Scope
from serve_app.access.guard import Reader, Writer
from serve_app.problems import guarded
from serve_app.routes.body import parse_body, read_body
from serve_app.routes.common import FromServices
from serve_app.schemas import body_schema
from serve_app.services import Ingest
from serve_app.stream_schemas import CleanupAnswer, OneStream, Stream, StreamList, StreamNotice

router = APIRouter(tags=["ingest"])


async def _ingest(services: FromServices) -> Ingest:
    if services.ingest is None:
        raise NotInstalled("Nothing takes streams in here")
    return services.ingest


async def _notice(request: Request) -> StreamNotice:
    return parse_body(StreamNotice, await read_body(request))


FromIngest = Annotated[Ingest, Depends(_ingest)]
FromBody = Annotated[StreamNotice, Depends(_notice)]
# The body is read by hand, since what is too large must not be read at all.
_BODY_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": body_schema(StreamNotice)}},
    }
}


@router.post(
    "/stream/notify",
    responses=guarded(400, 404, 409, 413, 501),
    openapi_extra=_BODY_SCHEMA,
)
async def notify_stream(
    caller: Writer, told: FromBody, ingest: FromIngest, request: Request
) -> OneStream:
    """`waiting`: listen for the stream's publisher, and say where. `live`: it is on, as far as the
    caller knows; changes nothing. `stopped`: it is over, also while it is published.

    May be repeated: once done, it is done.
    """
    notice = told.to_notice()
    if caller.owner is not None:
        if notice.user_id not in (None, caller.owner):
            raise HTTPException(403, "The token is another user's")
        notice = replace(notice, user_id=caller.owner, only_own=True)
    view = await ingest.ingest_notify(notice)
    await note(request, caller, f"stream.{notice.status}", notice.stream_id)
    # Who may say that a stream begins may publish it.
    return OneStream(stream=Stream.of(view, may_publish=True))


@router.get("/stream/status", responses=guarded(501))
async def stream_status(caller: Reader, ingest: FromIngest) -> StreamList:
    """Streams that are waited for, live, or being finished."""
    views = await ingest.ingest_status()
    return StreamList(
        streams=[
            Stream.of(view, may_publish=caller.may(Scope.WRITE))
            for view in views
            if caller.owner in (None, view.user_id)
        ]
    )


@router.post("/stream/cleanup", responses=guarded(501))
async def clean_up_streams(caller: Writer, ingest: FromIngest, request: Request) -> CleanupAnswer:
    """Forget streams that have ended. Their segments stay in the bucket."""
    if caller.owner is not None:
        raise HTTPException(403, "Streams of all users are forgotten: that needs scope admin")
    removed = await ingest.ingest_cleanup()
    await note(request, caller, "stream.cleanup", "all", removed=removed)
    return CleanupAnswer(removed=removed)
