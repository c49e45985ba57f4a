"""Segments of one stream from disk into the bucket, in order: the segment, its row in PostgreSQL,
then the playlist that names it. What is to be told once it is there, ``on_news`` tells.

An outage of either store is waited out; what finds no room on disk meanwhile becomes a gap.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

import structlog

from actors.ingest_patience import patiently
from actors.ingest_session import Cut, recovered
from pipeline.ingest import local
from pipeline.ingest.local import Disk
from pipeline.ingest.playlist import (
    CONTENT_TYPE,
    NAME,
    SEGMENT_TYPE,
    Entry,
    render,
    segment_name,
)
from pipeline.ingest.state import Ingest
from pipeline.stores.ingests import Ingests
from pipeline.stores.objects import ObjectStore

T = TypeVar("T")

log = structlog.get_logger()


class Uploads:
    """Of one broadcast. ``on_news`` is awaited each time a playlist has more."""

    def __init__(
        self,
        state: Ingest,
        *,
        store: ObjectStore,
        bucket: str,
        ingests: Ingests,
        disk: Disk,
        on_news: Callable[[], Awaitable[None]],
    ) -> None:
        assert state.broadcast is not None
        self._state, self.broadcast = state, state.broadcast
        self._store, self._bucket, self._ingests, self._disk = store, bucket, ingests, disk
        self._on_news = on_news
        self._waiting: deque[Cut] = deque()
        self._is_idle = asyncio.Event()
        self._woken = asyncio.Event()
        self.folder = disk.of_broadcast(state.stream_id, self.broadcast)
        self.entries: list[Entry] = []
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Take up what another process has left, if any, then go on in the background."""
        self.entries = await self._ingests.segments(self._state)
        known = {(entry.run, entry.number) for entry in self.entries}
        for file in local.found(self.folder):
            cut = None if (file.run, file.number) in known else recovered(file)
            if cut is None:
                file.path.unlink(missing_ok=True)
            else:
                log.info("ingest_found_segment", stream=self._state.stream_id, file=file.path.name)
                self.add(cut)
        if self.entries:
            self._woken.set()
        self._task = asyncio.create_task(self._run())

    @property
    def has_media(self) -> bool:
        return bool(self.entries or self._waiting)

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    def add(self, cut: Cut) -> None:
        """A segment is there; on disk as long as there is room."""
        if not self._disk.take(cut.file.size_bytes):
            log.warning("ingest_dropped_segment", stream=self._state.stream_id, run=cut.entry.run)
            cut.file.path.unlink(missing_ok=True)
            cut = replace(cut, entry=replace(cut.entry, is_gap=True))
        self._waiting.append(cut)
        self._is_idle.clear()
        self._woken.set()

    async def finish(self) -> None:
        """Once all is stored, the playlist says that nothing more comes."""
        await self._is_idle.wait()
        if self.entries:
            await self._patiently(lambda: self._put_playlist(is_ended=True))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        if not self._waiting and not self.entries:
            self._is_idle.set()
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                cut = self._waiting[0]
                self.entries.append(await self._patiently(partial(self._keep, cut)))
                self._waiting.popleft()
                self._forget(cut)
            # Of several that waited, the last one's playlist names all.
            await self._patiently(lambda: self._put_playlist(is_ended=False))
            await self._patiently(self._on_news)
            if not self._waiting:
                self._is_idle.set()

    async def _keep(self, cut: Cut) -> Entry:
        """Its line of the playlist."""
        entry = cut.entry
        if not entry.is_gap:
            try:
                data = await asyncio.to_thread(cut.file.path.read_bytes)
            except FileNotFoundError:
                return await self._keep_gap(entry)
            key = self._key(segment_name(self.broadcast, entry.run, entry.number))
            await asyncio.to_thread(self._store.put, self._bucket, key, data, SEGMENT_TYPE)
        await self._ingests.add_segment(self._state, entry)
        return entry

    async def _keep_gap(self, entry: Entry) -> Entry:
        """Somebody has taken its file away."""
        gap = replace(entry, is_gap=True)
        await self._ingests.add_segment(self._state, gap)
        return gap

    def _forget(self, cut: Cut) -> None:
        if not cut.entry.is_gap:
            cut.file.path.unlink(missing_ok=True)
            self._disk.give_back(cut.file.size_bytes)

    async def _put_playlist(self, *, is_ended: bool) -> None:
        text = render(self.broadcast, self.entries, is_ended=is_ended).encode()
        await asyncio.to_thread(self._store.put, self._bucket, self._key(NAME), text, CONTENT_TYPE)

    def _key(self, name: str) -> str:
        return f"{self._state.stream_key}/{name}"

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        return await patiently(self._state.stream_id, call)
