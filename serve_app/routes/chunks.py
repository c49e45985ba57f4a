"""The chunk map of a recording, and what the workers do."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pipeline.chunk_map import ChunkView
from serve_app.access.guard import Reader
from serve_app.chunk_maps import ChunkMaps
from serve_app.chunk_schemas import ChunkList, Workers
from serve_app.problems import RETRY_AFTER_S, guarded
from serve_app.routes.common import SeenRecording
from serve_app.routes.events import HEARTBEAT_S, RECONNECT_MS, EventStream

_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "description": "`event: chunks`, its data a list as `GET /recordings/{id}/chunks` answers: "
        "all chunks first, then those that changed",
    }
}

router = APIRouter(tags=["chunks"])


async def _maps(request: Request) -> ChunkMaps:
    return cast("ChunkMaps", request.app.state.chunks)


FromMaps = Annotated[ChunkMaps, Depends(_maps)]


@router.get("/recordings/{id}/chunks", responses=guarded(404))
async def get_chunks(recording: SeenRecording, maps: FromMaps) -> ChunkList:
    """Every planned chunk, in order: from the ledger, with what workers do of it now; of a
    completed recording from its report. Empty for one that has failed."""
    return ChunkList.of(await maps.get(recording.id))


@router.get(
    "/recordings/{id}/chunks/events",
    response_class=Response,
    responses=_EVENTS | guarded(404),
)
async def chunk_events(recording: SeenRecording, maps: FromMaps) -> EventStream:
    """The chunk map as it changes, looked at every second; ends with the recording."""
    if maps.is_full:
        raise HTTPException(
            503, "Too many clients watch chunks", {"Retry-After": str(RETRY_AFTER_S)}
        )
    await maps.get(recording.id)
    return EventStream(_frames(maps.watch(recording.id)))


@router.get("/workers", responses=guarded())
async def get_workers(maps: FromMaps, caller: Reader) -> Workers:
    """The workers, what each does now, and what all made lately. Whose recordings they are at is
    for an admin."""
    return Workers.of(await maps.workers(), are_named=caller.owner is None)


async def _frames(changes: AsyncGenerator[tuple[ChunkView, ...]]) -> AsyncGenerator[str]:
    async with aclosing(changes):
        yield f"retry: {RECONNECT_MS}\n\n"
        told_at = float("-inf")
        async for changed in changes:
            if changed or told_at == float("-inf"):
                yield f"event: chunks\ndata: {ChunkList.of(changed).model_dump_json()}\n\n"
            elif time.monotonic() - told_at >= HEARTBEAT_S:
                yield ": heartbeat\n\n"
            else:
                continue
            told_at = time.monotonic()
