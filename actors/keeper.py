"""Keeps what a live source may soon delete: copies of its segments, inits and keys.

A segment that cannot be had is asked for again once its playlist can be read again, by the address
that it has there then: an outage of the source costs nothing that it still lists afterwards. Only
then it is a gap.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from actors.depot import Depot
from pipeline.errors import SourceError
from pipeline.model import ByteRange, InitSection, Segment, SegmentKey
from pipeline.settings import Settings
from pipeline.source import Source
from pipeline.spool import Waiting
from pipeline.staging import staged, staged_key, staging_prefix

# At a time of one recording: a source that hangs holds no more threads than these.
_AT_ONCE = 4
_EXPECTED_BYTES = 4 * 2**20

Relist = Callable[[Segment], Awaitable[Segment]]

log = structlog.get_logger()


class Keeper:
    """Keeps one recording's segments, inside the event loop of ``depot``."""

    def __init__(self, recording_id: UUID, depot: Depot, settings: Settings) -> None:
        self._id, self._depot = recording_id, depot
        self._prefix = f"{staging_prefix(recording_id)}live/"
        self._attempts = settings.max_retry_attempts + 1
        self._retry_delay_s = settings.retry_delay.total_seconds()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._largest = 0
        self._shared: dict[tuple[str, ByteRange | None, int], asyncio.Task[str]] = {}

    async def keep(
        self, playlist: int, number: int, segment: Segment, source: Source, relist: Relist
    ) -> Segment:
        """The segment as it is kept, or as a gap with the reason. ``number``: of those taken from
        this ``playlist``; ``relist``: waits until the playlist could be read, and returns the
        segment as it is listed now. Raises ``StoreError`` if the store never takes it."""
        if segment.is_gap:
            return segment
        place = _Place(playlist, number)
        try:
            return await self._copy(segment, source, place)
        except SourceError as error:
            log.info("segment_retried", recording=str(self._id), error=str(error))
        segment = await relist(segment)
        try:
            return await self._copy(segment, source, place)
        except SourceError as error:
            return replace(segment, is_gap=True, gap_reason=error.message)

    async def keep_beside(self, segment: Segment, source: Source) -> Segment:
        """The segment where it is, with its init and key as they are kept."""
        if segment.is_gap:
            return segment
        return replace(
            segment,
            init=await self._keep_init(segment, source),
            key=await self._keep_key(segment.key, segment.era, source),
        )

    async def _copy(self, segment: Segment, source: Source, place: "_Place") -> Segment:
        kept = replace(
            await self.keep_beside(segment, source),
            uri=staged(f"{self._prefix}{place.playlist}-{place.number:08d}"),
            byte_range=None,
        )
        async with self._depot.room(segment.size_bytes or self._largest or _EXPECTED_BYTES):
            is_clear = segment.key is None
            url = source.url(segment.uri)
            data = await self._patiently(url, segment.byte_range, is_media=is_clear)
            self._largest = max(self._largest, len(data))
            kept = replace(kept, size_bytes=len(data))
            waiting = Waiting(
                key=staged_key(kept.uri) or "",
                playlist=place.playlist,
                number=place.number,
                segment=kept,
            )
            path = await self._depot.put(self._id, waiting, data)
            del data
        if path is not None:
            await self._depot.put_waiting(waiting, path)
        return kept

    async def _patiently(self, url: str, byte_range: ByteRange | None, *, is_media: bool) -> bytes:
        for attempt in range(1, self._attempts + 1):
            try:
                async with self._room:
                    return await self._depot.fetch(url, byte_range, is_media=is_media)
            except SourceError as error:
                if not error.retry or attempt == self._attempts:
                    raise
            await asyncio.sleep(self._retry_delay_s)
        raise AssertionError("unreachable")

    async def _keep_init(self, segment: Segment, source: Source) -> InitSection | None:
        init = segment.init
        if init is None:
            return None
        ref = await self._keep_shared(init.uri, init.byte_range, segment.era, source)
        return InitSection(
            uri=ref,
            byte_range=init.byte_range if ref == init.uri else None,
            key=await self._keep_key(init.key, segment.era, source),
        )

    async def _keep_key(
        self, key: SegmentKey | None, era: int, source: Source
    ) -> SegmentKey | None:
        return key and replace(key, uri=await self._keep_shared(key.uri, None, era, source))

    async def _keep_shared(
        self, uri: str, byte_range: ByteRange | None, era: int, source: Source
    ) -> str:
        """The reference of a copy, or of the original where it cannot be had: whoever reads the
        segment says so. An encoder that starts anew may use the same name again for other bytes:
        so once in each era."""
        resource = (uri, byte_range, era)
        if resource not in self._shared:
            work = self._copy_shared(uri, byte_range, source)
            self._shared[resource] = asyncio.create_task(work)
        return await asyncio.shield(self._shared[resource])

    async def _copy_shared(self, uri: str, byte_range: ByteRange | None, source: Source) -> str:
        try:
            data = await self._patiently(source.url(uri), byte_range, is_media=False)
        except SourceError as error:
            log.warning("not_kept", recording=str(self._id), error=str(error))
            return uri
        name = hashlib.sha256(data).hexdigest()[:32]
        waiting = Waiting(key=f"{self._prefix}shared-{name}")
        path = await self._depot.put(self._id, waiting, data)
        if path is not None:
            await self._depot.put_waiting(waiting, path)
        return staged(waiting.key)


@dataclass(frozen=True, slots=True)
class _Place:
    playlist: int
    number: int
