"""Recordings as they change, fanned out from one catalogue subscription to many listeners.

A slow listener never holds up the others and never grows: it gets the newest state of each
recording, not every state in between.
"""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from uuid import UUID

import structlog

from pipeline.errors import CatalogUnavailable, RecordingNotFound
from pipeline.model import Recording
from pipeline.stores.catalog import Catalog

MAX_LISTENERS = 256
MAX_PENDING = 256
RETRY_S = 1.0

_log = structlog.get_logger(__name__)


class Listener:
    """One client's view: the newest state of each recording that changed since it last took."""

    def __init__(self, only: UUID | None) -> None:
        self._only = only
        self._pending: dict[UUID, Recording] = {}
        self._news = asyncio.Event()

    def wants(self, recording_id: UUID) -> bool:
        return self._only in (None, recording_id)

    def offer(self, recording: Recording) -> None:
        """Called by the feed. Drops what has waited longest rather than grow."""
        self._pending.pop(recording.id, None)
        if len(self._pending) >= MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        self._pending[recording.id] = recording
        self._news.set()

    async def take(self, timeout_s: float) -> tuple[Recording, ...]:
        """What changed, in order of change; empty after ``timeout_s`` without a change."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        changed = tuple(self._pending.values())
        self._pending.clear()
        self._news.clear()
        return changed


class Feed:
    """The listeners of this process. ``run`` must be running for them to hear anything."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._listeners: set[Listener] = set()

    @property
    def is_full(self) -> bool:
        return len(self._listeners) >= MAX_LISTENERS

    @property
    def listener_count(self) -> int:
        return len(self._listeners)

    @contextmanager
    def listen(self, only: UUID | None = None) -> Iterator[Listener]:
        """Hear of changes of one recording, or of all, from now on."""
        listener = Listener(only)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    async def run(self) -> None:
        """Fan changes out until cancelled; a catalogue that is away is asked again."""
        while True:
            try:
                async with aclosing(self._catalog.changes()) as changes:
                    async for recording_id in changes:
                        await self._publish(recording_id)
            except CatalogUnavailable as error:
                _log.warning("no news of recordings", reason=str(error))
            await asyncio.sleep(RETRY_S)

    async def _publish(self, recording_id: UUID) -> None:
        listeners = [each for each in self._listeners if each.wants(recording_id)]
        if not listeners:
            return
        with suppress(RecordingNotFound):
            recording = await self._catalog.look_up(recording_id)
            for listener in listeners:
                listener.offer(recording)
