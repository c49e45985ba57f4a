"""Keeps what a live source may soon delete: copies of its segments, inits and keys.

A segment that cannot be had is asked for again once its playlist can be read again, by the address
that it has there then: an outage of the source costs nothing that it still lists afterwards. One
that cannot be had then either is a gap; our own store is asked for longer while it fails.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from actors.depot import Depot
from actors.submit import failing_s
from pipeline.errors import SourceError, SourceUnavailable, StoreError
from pipeline.media.sniff import extension_of
from pipeline.model import ByteRange, InitSection, Segment, SegmentKey
from pipeline.settings import Settings
from pipeline.source import Source
from pipeline.spool import Waiting
from pipeline.staging import copies_prefix, staged, staged_keys

# At a time of one recording: a source that hangs holds no more threads than these.
_AT_ONCE = 4
_EXPECTED_BYTES = 2**20
_EXPECTED_SHARED_BYTES = 4096

# Playlists that sign their addresses anew name the same init otherwise each time.
_MOST_SHARED = 64

Relist = Callable[[Segment], Awaitable[Segment]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """Of a segment: the ``number``-th that was taken of its playlist, behind so many
    discontinuities (``run``)."""

    playlist: int
    number: int
    run: int = 0


class Keeper:
    """Keeps one recording's segments, inside the event loop of ``depot``."""

    def __init__(self, recording_id: UUID, depot: Depot, settings: Settings) -> None:
        self._id, self._depot = recording_id, depot
        self._prefix = copies_prefix(recording_id)
        self._attempts = settings.max_retry_attempts + 1
        self._retry_delay_s = settings.retry_delay.total_seconds()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._largest = 0
        self._shared: dict[_Shared, asyncio.Task[str]] = {}

    async def keep(self, place: Place, segment: Segment, source: Source, relist: Relist) -> Segment:
        """The segment as it is kept, or as a gap with the reason. ``relist``: waits until the
        playlist could be read, and returns the segment as it is listed now."""
        if segment.is_gap:
            return segment
        is_last = False
        give_up = time.monotonic() + failing_s([segment.uri])
        while True:
            try:
                return await self._copy(segment, source, place, is_last=is_last)
            except (SourceError, StoreError) as error:
                if is_last or isinstance(error, StoreError):
                    return replace(segment, is_gap=True, gap_reason=error.message)
                log.info("segment_retried", recording=str(self._id), error=str(error))
                # The playlist is small: it may be had from a store that breaks all else off.
                fails = isinstance(error, SourceUnavailable)
                is_last = not fails or time.monotonic() >= give_up
            segment = await relist(segment)

    async def left(self, segment: Segment) -> Segment:
        """The segment that an earlier process has put, once it is stored; as a gap if it cannot
        be."""
        try:
            await self._depot.stored(staged_keys(segment))
            return segment
        except StoreError as error:
            return replace(segment, is_gap=True, gap_reason=error.message)

    async def keep_beside(self, place: Place, segment: Segment, source: Source) -> Segment:
        """The segment where it is, with its init and key as they are kept."""
        if segment.is_gap:
            return segment
        kept = await self._beside(segment, source, place, is_last=True)
        await self._depot.stored(staged_keys(kept))
        return kept

    async def _copy(
        self, segment: Segment, source: Source, place: Place, *, is_last: bool = False
    ) -> Segment:
        kept = await self._beside(segment, source, place, is_last=is_last)
        # The number of the segment is in its name: who captures the same source at the same time
        # may count otherwise.
        name = f"{place.playlist}-{place.number:08d}-{segment.sequence}"
        async with AsyncExitStack() as memory:
            data = await self._patiently(
                source.url(segment.uri),
                segment.byte_range,
                is_media=segment.key is None,
                size_bytes=segment.size_bytes or self._largest or _EXPECTED_BYTES,
                memory=memory,
            )
            self._largest = max(self._largest, len(data))
            # Players of the copies go by names.
            key = f"{self._prefix}{name}.{extension_of(data)}"
            kept = replace(kept, uri=staged(key), byte_range=None, size_bytes=len(data))
            waiting = Waiting(
                key=key,
                playlist=place.playlist,
                number=place.number,
                segment=kept,
            )
            await self._depot.put(self._id, waiting, data)
            del data
        await self._depot.stored(staged_keys(kept))
        return kept

    async def _patiently(
        self,
        url: str,
        byte_range: ByteRange | None,
        *,
        is_media: bool,
        size_bytes: int,
        memory: AsyncExitStack,
    ) -> bytes:
        """The bytes; ``memory`` holds the room for them then. What waits for its turn, or for
        another attempt, holds none."""
        for attempt in range(1, self._attempts + 1):
            try:
                async with self._room, AsyncExitStack() as held:
                    await held.enter_async_context(self._depot.room(size_bytes))
                    data = await self._depot.fetch(url, byte_range, is_media=is_media)
                    memory.push_async_exit(held.pop_all())
                    return data
            except SourceError as error:
                if not error.retry or attempt == self._attempts:
                    raise
            await asyncio.sleep(self._retry_delay_s)
        raise AssertionError("unreachable")

    async def _beside(
        self, segment: Segment, source: Source, place: Place, *, is_last: bool
    ) -> Segment:
        """With references to copies of its init and key, which are at least on disk. ``is_last``:
        where one cannot be had, to the original: whoever reads the segment says so. Raises
        ``SourceError``, ``StoreError``."""

        async def kept(uri: str, byte_range: ByteRange | None) -> str:
            try:
                shared = _Shared(uri, byte_range, segment.era, place.run)
                return await self._keep_shared(shared, source)
            except SourceError as error:
                if not is_last:
                    raise
                log.warning("not_kept", recording=str(self._id), error=str(error))
                return uri

        async def kept_key(key: SegmentKey | None) -> SegmentKey | None:
            return key and replace(key, uri=await kept(key.uri, None))

        init = segment.init
        if init is not None:
            ref = await kept(init.uri, init.byte_range)
            init = InitSection(
                uri=ref,
                byte_range=init.byte_range if ref == init.uri else None,
                key=await kept_key(init.key),
            )
        return replace(segment, init=init, key=await kept_key(segment.key))

    async def _keep_shared(self, shared: "_Shared", source: Source) -> str:
        """The reference of a copy, made once."""
        if shared not in self._shared:
            while len(self._shared) >= _MOST_SHARED:
                del self._shared[next(iter(self._shared))]
            self._shared[shared] = asyncio.create_task(self._copy_shared(shared, source))
        copying = self._shared[shared]
        try:
            return await asyncio.shield(copying)
        except SourceError:
            if self._shared.get(shared) is copying:
                del self._shared[shared]
            raise

    async def _copy_shared(self, shared: "_Shared", source: Source) -> str:
        async with AsyncExitStack() as memory:
            data = await self._patiently(
                source.url(shared.uri),
                shared.byte_range,
                is_media=False,
                size_bytes=_EXPECTED_SHARED_BYTES,
                memory=memory,
            )
            name = hashlib.sha256(data).hexdigest()[:32]
            waiting = Waiting(key=f"{self._prefix}shared-{name}")
            await self._depot.put(self._id, waiting, data)
        return staged(waiting.key)


@dataclass(frozen=True, slots=True)
class _Shared:
    """An init or a key. An encoder that starts anew may use the same name again for other bytes:
    so it is one in each era and each run."""

    uri: str
    byte_range: ByteRange | None
    era: int
    run: int
