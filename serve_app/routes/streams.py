"""Live ingest: streams that are published to us by SRT or RTMP (docs/ingest.md)."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError

from pipeline.errors import InvalidTask, NotInstalled
from serve_app.problems import documented, explain
from serve_app.routes.body import read_body
from serve_app.routes.common import FromServices
from serve_app.services import Ingest
from serve_app.stream_schemas import CleanupAnswer, OneStream, Stream, StreamList, StreamNotice

router = APIRouter(tags=["ingest"])
_log = structlog.get_logger(__name__)


async def may_write() -> None:
    """Where a token's scope ``write`` will be asked for."""


async def may_read() -> None:
    """Where a token's scope ``read`` will be asked for."""


async def may_publish(services: FromServices) -> bool:
    """Whether the caller may see where to publish: as long as no route asks for a token, nobody
    whose service is meant to have tokens."""
    settings = services.settings
    return settings.auth_secret is None and settings.auth_jwks_url is None


async def _ingest(services: FromServices) -> Ingest:
    if services.ingest is None:
        raise NotInstalled("Nothing takes streams in here")
    return services.ingest


async def _notice(request: Request) -> StreamNotice:
    try:
        return StreamNotice.model_validate_json(await read_body(request))
    except ValidationError as error:
        raise InvalidTask(explain(error.errors(include_url=False, include_input=False))) from error


FromIngest = Annotated[Ingest, Depends(_ingest)]
MayPublish = Annotated[bool, Depends(may_publish)]
FromBody = Annotated[StreamNotice, Depends(_notice)]
# The body is read by hand, since what is too large must not be read at all.
_BODY_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": StreamNotice.model_json_schema()}},
    }
}


@router.post(
    "/stream/notify",
    dependencies=[Depends(may_write)],
    responses=documented(400, 404, 409, 413, 501, 503),
    openapi_extra=_BODY_SCHEMA,
)
async def notify_stream(notice: FromBody, ingest: FromIngest) -> OneStream:
    """`waiting`: listen for the stream's publisher, and say where. `live`: it is on, as far as the
    caller knows; changes nothing. `stopped`: it is over, also while it is published.

    May be repeated: once done, it is done.
    """
    view = await ingest.ingest_notify(notice.to_notice())
    _log.info("stream_notified", stream_id=notice.stream_id, said=notice.status, is_=view.status)
    # Who may say that a stream begins may publish it.
    return OneStream(stream=Stream.of(view, may_publish=True))


@router.get("/stream/status", dependencies=[Depends(may_read)], responses=documented(501, 503))
async def stream_status(ingest: FromIngest, publishes: MayPublish) -> StreamList:
    """Streams that are waited for, live, or being finished."""
    views = await ingest.ingest_status()
    return StreamList(streams=[Stream.of(view, may_publish=publishes) for view in views])


@router.post("/stream/cleanup", dependencies=[Depends(may_write)], responses=documented(501, 503))
async def clean_up_streams(ingest: FromIngest) -> CleanupAnswer:
    """Forget streams that have ended. Their segments stay in the bucket."""
    return CleanupAnswer(removed=await ingest.ingest_cleanup())
