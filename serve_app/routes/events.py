"""Server-sent events: each recording's state, first as it is, then as it changes.

One event is ``event: recording`` with the recording object as data, or ``event: deleted`` with the
id of one that is gone. Clients that fall behind get the newest state; clients that come back begin
with the current state, so no ids are needed.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from pipeline import model
from pipeline.errors import CatalogUnavailable, RecordingNotFound
from pipeline.stores.catalog import Wanted
from serve_app.access.caller import Caller
from serve_app.access.guard import Reader
from serve_app.feed import Feed
from serve_app.problems import RETRY_AFTER_S, guarded
from serve_app.routes.common import FromServices, SeenRecording
from serve_app.schemas import Deleted, Recording

HEARTBEAT_S = 15.0
RECONNECT_MS = 3000
MAX_REMEMBERED = 1000
NEWEST = 100

Snapshot = Callable[[], Awaitable[Iterable[model.Recording]]]

router = APIRouter(tags=["events"])
_log = structlog.get_logger(__name__)


class EventStream(StreamingResponse):
    """Closes its source as soon as the client is gone, not when the collector finds it."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncGenerator[str], status_code: int = 200) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(frames, status_code=status_code, headers=headers)
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._frames):
            await super().__call__(scope, receive, send)


async def _feed(request: Request) -> Feed:
    feed: Feed = request.app.state.feed
    if feed.is_full:
        raise HTTPException(
            503, "Too many clients listen to events", {"Retry-After": str(RETRY_AFTER_S)}
        )
    return feed


FromFeed = Annotated[Feed, Depends(_feed)]
_OK: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Frames `event: recording` with a recording object as `data`, "
        '`event: deleted` with `{"id"}` of one that is gone, and comments as heartbeats',
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.get("/events", response_class=Response, responses=_OK | guarded())
async def all_events(feed: FromFeed, services: FromServices, caller: Reader) -> EventStream:
    """The newest and all unfinished recordings, then every change, without end."""
    catalog = services.catalog

    async def snapshot() -> Iterable[model.Recording]:
        newest = await catalog.list(limit=NEWEST, wanted=Wanted(user_id=caller.owner))
        found = (*newest, *await catalog.unfinished())
        by_id = {each.id: each for each in found}
        return sorted(by_id.values(), key=lambda each: each.created_at)

    await catalog.ping()
    return EventStream(_frames(feed, snapshot, caller, only=None))


@router.get("/recordings/{id}/events", response_class=Response, responses=_OK | guarded(404))
async def recording_events(
    recording: SeenRecording, feed: FromFeed, services: FromServices, caller: Reader
) -> EventStream:
    """One recording's state, then every change; ends after the final state, or when it is
    deleted."""

    async def snapshot() -> Iterable[model.Recording]:
        return (await services.catalog.look_up(recording.id),)

    return EventStream(_frames(feed, snapshot, caller, only=recording.id))


async def _frames(
    feed: Feed, snapshot: Snapshot, caller: Caller, *, only: UUID | None
) -> AsyncGenerator[str]:
    sent = Sent()
    with feed.listen(only) as listener:
        yield f"retry: {RECONNECT_MS}\n\n"
        changed: Iterable[model.Recording] = await snapshot()
        while True:
            for recording in changed:
                if not caller.sees(recording):
                    continue
                frame = _frame(recording, caller)
                if not sent.is_news(recording, frame):
                    continue
                yield frame
                if only is not None and recording.status.is_final:
                    return
            changed = await listener.take(HEARTBEAT_S)
            if not changed:
                yield ": heartbeat\n\n"
                changed = await _look_again(snapshot)


async def _look_again(snapshot: Snapshot) -> Iterable[model.Recording]:
    """The catalogue may miss a change when its connection breaks: nobody should wait for ever."""
    try:
        return await snapshot()
    except CatalogUnavailable as error:
        _log.warning("no news of recordings", reason=str(error))
    except RecordingNotFound:
        # Deleted meanwhile: its client will learn that when it asks.
        pass
    return ()


class Sent:
    """What a client was last told of each recording; forgets those it was told of longest ago."""

    def __init__(self) -> None:
        self._last: dict[UUID, tuple[datetime, str]] = {}

    def is_news(self, recording: model.Recording, frame: str) -> bool:
        """Whether ``frame`` is to be sent: not if it says the same again, or is outdated."""
        updated_at, last = self._last.pop(recording.id, (recording.updated_at, ""))
        is_newer = recording.updated_at >= updated_at
        self._last[recording.id] = (recording.updated_at, frame) if is_newer else (updated_at, last)
        if len(self._last) > MAX_REMEMBERED:
            del self._last[next(iter(self._last))]
        return is_newer and frame != last


def _frame(recording: model.Recording, caller: Caller) -> str:
    if recording.deleted_at is not None:
        return f"event: deleted\ndata: {Deleted(id=recording.id).model_dump_json()}\n\n"
    return f"event: recording\ndata: {Recording.of(recording, caller).model_dump_json()}\n\n"
