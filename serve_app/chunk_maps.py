"""Chunk maps for those who watch: read from the ledger and the workers only while somebody does,
once for all who watch the same recording."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

import structlog

from pipeline import chunk_map
from pipeline.activity import Activity
from pipeline.chunk_map import ChunkState, ChunkView
from pipeline.errors import CatalogUnavailable
from pipeline.stores.catalog import Catalog

MAX_WATCHERS = 256
EVERY_S = 1.0
_RECORDINGS = 64
_KEPT_S = 10.0
_OVER = (ChunkState.DONE, ChunkState.LOST)

Ask = Callable[[UUID | None], Awaitable[Activity]]
Chunks = tuple[ChunkView, ...]

_log = structlog.get_logger(__name__)


class _Map:
    """One recording's map. What is done stays so: only what is behind is read again."""

    def __init__(self, recording_id: UUID, catalog: Catalog, ask: Ask) -> None:
        self._id, self._catalog, self._ask = recording_id, catalog, ask
        self._known: list[ChunkView] = []
        self._looking = asyncio.Lock()
        self._looked_at = float("-inf")
        self.chunks: Chunks = ()
        self.is_final = False

    async def look(self) -> Chunks:
        """As it is now, or was less than ``EVERY_S`` ago for another caller."""
        async with self._looking:
            # A little less, for those who come by the same clock.
            if time.monotonic() - self._looked_at >= 0.9 * EVERY_S:
                await self._look()
                self._looked_at = time.monotonic()
        return self.chunks

    async def _look(self) -> None:
        recording = await self._catalog.get(self._id)
        report = await self._catalog.report(self._id) if recording.status.is_final else None
        if report is not None:
            planned: Sequence[ChunkView] = chunk_map.from_report(report)
        else:
            # The ledger of a failed recording is dropped, and begun anew by a retry.
            is_old = time.monotonic() - self._looked_at > _KEPT_S
            if is_old or self.is_final or recording.status.is_final:
                self._known = []
            planned = await self._from_ledger()
        self.chunks = chunk_map.with_activity(planned, await self._ask(self._id))
        self.is_final = recording.status.is_final

    async def _from_ledger(self) -> Sequence[ChunkView]:
        new = await self._catalog.outlines(self._id, len(self._known))
        self._known += map(chunk_map.from_outline, new)
        are_open = [n for n, chunk in enumerate(self._known) if chunk.state not in _OVER]
        if are_open:
            for outcome in await self._catalog.outcomes(self._id, are_open):
                before = self._known[outcome.index]
                self._known[outcome.index] = chunk_map.finish(before, outcome)
        return self._known


class ChunkMaps:
    """``ask`` tells what the workers do; it answers soon, if need be with nothing."""

    def __init__(self, catalog: Catalog, ask: Ask) -> None:
        self._catalog, self._ask = catalog, ask
        self._maps: dict[UUID, _Map] = {}
        self._workers: asyncio.Task[Activity] | None = None
        self._asked_at = float("-inf")
        self.watchers = 0

    @property
    def is_full(self) -> bool:
        return self.watchers >= MAX_WATCHERS

    async def get(self, recording_id: UUID) -> Chunks:
        """Raises ``RecordingNotFound``."""
        return await self._map(recording_id).look()

    async def watch(self, recording_id: UUID) -> AsyncGenerator[Chunks]:
        """All chunks first, then every ``EVERY_S`` those that changed, if none: an empty tuple;
        ends with the recording."""
        own = self._map(recording_id)
        self.watchers += 1
        try:
            sent: dict[int, ChunkView] = {}
            while True:
                with suppress(CatalogUnavailable):
                    await own.look()
                chunks, is_final = own.chunks, own.is_final
                # How long it has been so everybody can count by themselves.
                told = {chunk.index: replace(chunk, since_s=None) for chunk in chunks}
                yield tuple(each for each in chunks if sent.get(each.index) != told[each.index])
                if is_final:
                    return
                sent = told
                await asyncio.sleep(EVERY_S)
        finally:
            self.watchers -= 1

    async def workers(self) -> Activity:
        """What all workers do; callers within ``EVERY_S`` share an answer."""
        now = time.monotonic()
        if self._workers is None or now - self._asked_at >= EVERY_S:
            self._asked_at = now
            self._workers = asyncio.ensure_future(self._ask(None))
        return await asyncio.shield(self._workers)

    def _map(self, recording_id: UUID) -> _Map:
        """Those that were asked for last are kept."""
        own = self._maps.pop(recording_id, None) or _Map(recording_id, self._catalog, self._ask)
        self._maps[recording_id] = own
        while len(self._maps) > _RECORDINGS:
            del self._maps[next(iter(self._maps))]
        return own
