"""How often recordings are watched, and how much of them goes through this process."""

import asyncio
from collections import Counter
from uuid import UUID

import structlog

from pipeline.errors import CatalogUnavailable
from pipeline.stores.platform import Platform

_EVERY_S = 5.0

_log = structlog.get_logger(__name__)


class Served:
    """Counts in memory, and tells the catalogue now and then: a player asks for hundreds of ranges.
    What a crash loses are seconds of it."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._views: Counter[UUID] = Counter()
        self._bytes: Counter[UUID] = Counter()

    def view(self, recording_id: UUID) -> None:
        self._views[recording_id] += 1

    def sent(self, recording_id: UUID, size: int) -> None:
        self._bytes[recording_id] += size

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        views, self._views = self._views, Counter()
        sent, self._bytes = self._bytes, Counter()
        for recording_id in views.keys() | sent.keys():
            try:
                await self._platform.count_served(
                    recording_id, views[recording_id], sent[recording_id]
                )
            except CatalogUnavailable as error:
                _log.warning("views_lost", reason=str(error))
                return
