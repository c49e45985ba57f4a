"""Moves the bytes of all live segments: from their sources, into the results bucket.

One per process. Nothing waits behind a source that hangs: a transfer holds a thread of its own, and
a recording has few of them. What cannot be stored now waits: in memory up to a budget, else on disk
(``pipeline.spool``).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import structlog

from actors.loops import backoff
from pipeline.errors import StoreError
from pipeline.media.sniff import identify
from pipeline.model import ByteRange
from pipeline.settings import Settings
from pipeline.spool import Spool, Waiting
from pipeline.staging import URL_LIFETIME_S
from pipeline.stores.objects import ObjectStore
from pipeline.transfer import TransferLimits, fetch, store

T = TypeVar("T")

MEMORY_BYTES = 256 * 2**20
_THREADS = 256
_STORE_LIMITS = TransferLimits(timeout_s=60.0, attempts=1, retry_delay_s=0.0, max_bytes=0)

log = structlog.get_logger()


class Depot:
    """``results``: where captured segments are kept. Belongs to one event loop."""

    def __init__(self, results: ObjectStore, bucket: str, settings: Settings) -> None:
        self._results, self._bucket = results, bucket
        self._timeout_s = settings.segment_download_timeout.total_seconds()
        self._max_bytes = settings.max_segment_bytes
        self._memory = _Budget(MEMORY_BYTES)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="depot")
        self.spool = Spool(settings.spool_dir, settings.max_spool_bytes)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def room(self, size_bytes: int) -> AsyncIterator[None]:
        """Wait until so much more may be held in memory."""
        async with self._memory.of(size_bytes):
            yield

    async def call(self, action: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, partial(action, *arguments)
        )

    async def fetch(self, url: str, byte_range: ByteRange | None, *, is_media: bool) -> bytes:
        """One attempt. ``is_media``: it must look like media. Raises ``SourceError``."""
        limits = TransferLimits(
            timeout_s=self._timeout_s, attempts=1, retry_delay_s=0.0, max_bytes=self._max_bytes
        )
        return await self.call(_fetch, url, byte_range, limits, is_media)

    async def put(self, recording_id: UUID, waiting: Waiting, data: bytes) -> Path | None:
        """Returns once the store has it, or the disk: then ``put_waiting`` is to be called with the
        path. Raises ``StoreError`` if the store will never take it."""
        try:
            await self._store(waiting.key, data)
            return None
        except StoreError as error:
            if not error.retry:
                raise
            log.warning("segment_waits", recording=str(recording_id), error=str(error))
        path = await self.call(self.spool.write, recording_id, waiting, data)
        if path is None:
            log.warning("spool_is_full", recording=str(recording_id))
            await self._persist(waiting.key, lambda: data)
        return path

    async def put_waiting(self, waiting: Waiting, path: Path) -> None:
        """Store what waits on disk, however long that takes."""
        await self._persist(waiting.key, partial(self.spool.read, path))
        await self.call(self.spool.drop, path)

    async def _persist(self, key: str, read: Callable[[], bytes]) -> None:
        for pause_s in backoff():
            await asyncio.sleep(pause_s)
            try:
                await self._store(key, await self.call(read))
                return
            except StoreError as error:
                if not error.retry:
                    raise

    async def _store(self, key: str, data: bytes) -> None:
        url = self._results.presign_put(self._bucket, key, expires_s=URL_LIFETIME_S)
        await self.call(partial(store, url, data, limits=_STORE_LIMITS))


def _fetch(url: str, byte_range: ByteRange | None, limits: TransferLimits, is_media: bool) -> bytes:
    data = fetch(url, byte_range=byte_range, limits=limits)
    if is_media:
        identify(data)
    return data


class _Budget:
    """Bytes that may be held at once, first come first served; one that is larger than all waits
    until it is alone."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def of(self, size: int) -> AsyncIterator[None]:
        size = min(size, self._limit)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((size, turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release(size)
            raise
        try:
            yield
        finally:
            self._release(size)

    def _release(self, size: int) -> None:
        self._held -= size
        self._admit()

    def _admit(self) -> None:
        while self._queue:
            size, turn = self._queue[0]
            if turn.cancelled():
                self._queue.popleft()
            elif self._held + size <= self._limit:
                self._queue.popleft()
                self._held += size
                turn.set_result(None)
            else:
                return
