"""Moves the bytes of all live segments: from their sources, into the results bucket.

One per process. Nothing waits behind a source that hangs: a transfer holds a thread of its own, and
a recording has few of them. Sources have other threads than the store, so that one that hangs does
not hold up the other. What cannot be stored now waits on disk (``pipeline.spool``), or in memory up
to a budget where there is no room.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import structlog

from actors.loops import backoff
from pipeline.errors import StoreError, StoreUnavailable
from pipeline.media.sniff import identify
from pipeline.model import ByteRange
from pipeline.settings import Settings
from pipeline.spool import Spool, Waiting
from pipeline.staging import URL_LIFETIME_S, staging_prefix
from pipeline.stores.objects import ObjectStore
from pipeline.transfer import TransferLimits, fetch, store

T = TypeVar("T")

MEMORY_BYTES = 256 * 2**20
_SOURCE_THREADS = 256
_STORE_THREADS = 64
_DISK_THREADS = 8
# How long a segment may hold its memory and a thread before it goes to disk; then, how long the
# store may take. More for large ones.
_FIRST_TRY_S = 10.0
_TRY_S = 60.0
_BYTES_PER_S = 2**20
# So long after a failure nothing is tried at first: what comes goes to disk at once.
_AWAY_S = 5.0
# Read back from disk at a time: an outage leaves more than memory holds.
_CATCH_UP = 8
# So long does a store that refuses get another chance.
_REFUSED_S = 3600.0

log = structlog.get_logger()


class Depot:
    """``results``: where captured segments are kept. Belongs to one event loop."""

    def __init__(self, results: ObjectStore, bucket: str, settings: Settings) -> None:
        self._results, self._bucket = results, bucket
        self._timeout_s = settings.segment_download_timeout.total_seconds()
        self._max_bytes = settings.max_segment_bytes
        self._memory = _Budget(MEMORY_BYTES)
        self._sources = ThreadPoolExecutor(_SOURCE_THREADS, thread_name_prefix="source")
        self._storing = ThreadPoolExecutor(_STORE_THREADS, thread_name_prefix="store")
        self._disk = ThreadPoolExecutor(_DISK_THREADS, thread_name_prefix="disk")
        self._catching_up = asyncio.Semaphore(_CATCH_UP)
        self._away_until = 0.0
        # By object key: what is on disk and on its way from there.
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self.spool = Spool(settings.spool_dir, settings.max_spool_bytes)

    def close(self) -> None:
        """What waits on disk stays there."""
        for task in self._waiting.values():
            task.cancel()
        for threads in (self._sources, self._storing, self._disk):
            threads.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def room(self, size_bytes: int) -> AsyncIterator[None]:
        """Wait until so much more may be held in memory."""
        async with self._memory.of(size_bytes):
            yield

    async def call(self, action: Callable[..., T], *arguments: object) -> T:
        """In a thread, what reads from a source."""
        return await _in(self._sources, action, *arguments)

    async def fetch(self, url: str, byte_range: ByteRange | None, *, is_media: bool) -> bytes:
        """One attempt. ``is_media``: it must look like media. Raises ``SourceError``."""
        limits = TransferLimits(
            timeout_s=self._timeout_s, attempts=1, retry_delay_s=0.0, max_bytes=self._max_bytes
        )
        return await self.call(_fetch, url, byte_range, limits, is_media)

    async def put(self, recording_id: UUID, waiting: Waiting, data: bytes) -> None:
        """Returns once the store has it, or the disk: then ``stored`` waits for the store. Raises
        ``StoreError`` if the store refuses it for too long."""
        if waiting.key in self._waiting:
            return
        if time.monotonic() >= self._away_until:
            try:
                await self._store(waiting.key, data, _FIRST_TRY_S)
                return
            except StoreError as error:
                self._away_until = time.monotonic() + _AWAY_S
                log.warning("segment_waits", recording=str(recording_id), error=str(error))
        path = await _in(self._disk, self.spool.write, recording_id, waiting, data)
        if path is not None:
            self._store_later(waiting, path)
        else:
            log.warning("spool_is_full", recording=str(recording_id))
            await self._persist(waiting.key, lambda: data)

    async def stored(self, keys: Iterable[str]) -> None:
        """Wait until the store has what was put under these keys. Raises ``StoreError`` if it never
        will."""
        for key in keys:
            if key in self._waiting:
                await asyncio.shield(self._waiting[key])

    def take_up(self, recording_id: UUID) -> list[Waiting]:
        """What an earlier process has left on disk, on its way to the store from now on."""
        found = list(self.spool.left(recording_id))
        for waiting, path in found:
            if not waiting.is_stored:
                self._store_later(waiting, path)
        return [waiting for waiting, _ in found]

    async def note(self, recording_id: UUID, waiting: Waiting) -> None:
        """On disk, that what is stored is not in the catalogue yet."""
        await _in(self._disk, self.spool.write, recording_id, waiting, b"")

    def forget(self, recording_id: UUID) -> None:
        """Nothing of the recording waits any longer."""
        for key, task in self._waiting.items():
            if key.startswith(staging_prefix(recording_id)):
                task.cancel()
        self.spool.forget(recording_id)

    def _store_later(self, waiting: Waiting, path: Path) -> None:
        if waiting.key in self._waiting:
            return
        task = asyncio.create_task(self._put_waiting(waiting.key, path))
        self._waiting[waiting.key] = task
        task.add_done_callback(lambda done: self._has_waited(waiting.key, done))

    def _has_waited(self, key: str, done: "asyncio.Task[None]") -> None:
        del self._waiting[key]
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("segment_not_stored", key=key, error=str(error))

    async def _put_waiting(self, key: str, path: Path) -> None:
        await self._persist(key, partial(self.spool.read, path))
        await _in(self._disk, self.spool.drop, path)

    async def _persist(self, key: str, read: Callable[[], bytes]) -> None:
        """However long the store is away."""
        give_up = time.monotonic() + _REFUSED_S
        for pause_s in backoff():
            await asyncio.sleep(pause_s)
            async with self._catching_up:
                data = await _in(self._disk, read)
                try:
                    await self._store(key, data, _TRY_S)
                    return
                except StoreError as error:
                    if not error.retry and time.monotonic() >= give_up:
                        raise
                del data

    async def _store(self, key: str, data: bytes, timeout_s: float) -> None:
        limits = TransferLimits(
            timeout_s=timeout_s + len(data) / _BYTES_PER_S,
            attempts=1,
            retry_delay_s=0.0,
            max_bytes=0,
        )
        sign = partial(self._results.presign_put, self._bucket, key, expires_s=URL_LIFETIME_S)
        try:
            # The first one in a process asks the store where the bucket is.
            async with asyncio.timeout(timeout_s):
                url = await _in(self._storing, sign)
        except TimeoutError as error:
            raise StoreUnavailable("The object store does not answer") from error
        await _in(self._storing, partial(store, url, data, limits=limits))
        self._away_until = 0.0


async def _in(threads: ThreadPoolExecutor, action: Callable[..., T], *arguments: object) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, partial(action, *arguments))


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
            self._admit()
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
