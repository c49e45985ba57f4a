"""Asks the platform's stream service what is live, and tells the catalogue what was missed."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID

import httpx
import structlog

from pipeline.errors import InvalidTask, VodrayError
from pipeline.settings import Settings
from pipeline.stores.catalog import Catalog
from pipeline.stream_status import Watched, advance, parse_status

_TIMEOUT_S = 5.0
_MAX_BYTES = 16 * 2**20

log = structlog.get_logger()


class StreamStatus:
    """``on_news`` is called with the recordings that an event was about."""

    def __init__(
        self, settings: Settings, catalog: Catalog, on_news: Callable[[list[UUID]], Awaitable[None]]
    ) -> None:
        self._url = f"{(settings.stream_service_url or '').rstrip('/')}/stream/status"
        self._every_s = settings.monitor_interval.total_seconds()
        self._catalog, self._on_news = catalog, on_news
        self._watched = Watched()

    async def run(self) -> None:
        """For ever. A service that does not answer says nothing about its streams."""
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
            while True:
                try:
                    async with asyncio.timeout(2 * _TIMEOUT_S):
                        await self._ask(client)
                except (httpx.HTTPError, TimeoutError, VodrayError) as error:
                    log.warning("stream_service_away", error=str(error) or type(error).__name__)
                await asyncio.sleep(self._every_s)

    async def _ask(self, client: httpx.AsyncClient) -> None:
        body = bytearray()
        async with client.stream("GET", self._url) as answer:
            answer.raise_for_status()
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > _MAX_BYTES:
                    raise InvalidTask("The stream service's answer is too large")
        now = datetime.now(UTC)
        live = parse_status(bytes(body), now)
        unfinished = await self._catalog.unfinished()
        watched, events = advance(self._watched, live, unfinished, now)
        touched = []
        for event in events:
            accepted = await self._catalog.accept(event)
            log.info("status_told", stream=event.stream_id, kind=event.kind, did=accepted.outcome)
            touched += [accepted.recording_id] if accepted.recording_id else []
        # Only now: what could not be written down is told again.
        self._watched = watched
        if events:
            await self._on_news(touched)
