"""State changes out of the catalogue into Kafka: in order, each at least once."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer

from actors.kafka_link import broker_errors, ensure_topics, open_producer, send
from actors.loops import RetryingLoop, pause
from pipeline.errors import CatalogUnavailable
from pipeline.kafka_access import KafkaAccess
from pipeline.messages import state_event
from pipeline.metrics import request
from pipeline.stores.catalog import Catalog, StateChange

PARTITIONS = 4
BATCH_CHANGES = 100
# The catalogue's news may miss some; then a change is published this much later.
POLL_S = 2.0
STOP_GRACE_S = 2.5
_TOGETHER_S = 0.05

log = logging.getLogger(__name__)


class EventPublisher:
    """Publishes what ``catalog.unpublished()`` lists, keyed by stream id."""

    def __init__(self, *, access: KafkaAccess, topic: str, catalog: Catalog) -> None:
        self._access = access
        self._topic = topic
        self._catalog = catalog
        self._loop = RetryingLoop("Kafka events", self._session)
        self._wake = asyncio.Event()
        self._published = 0

    async def run(self) -> None:
        """Publish until ``stop``."""
        await self._loop.run()

    async def stop(self) -> None:
        """Publish what is in hand if that is possible within 5 s."""
        self._loop.stopping.set()
        self._wake.set()
        await self._loop.stop(STOP_GRACE_S)

    @property
    def is_running(self) -> bool:
        return self._loop.is_running

    @property
    def last_error(self) -> str | None:
        """Why it does not work now."""
        return self._loop.last_error

    def status(self) -> dict[str, Any]:
        return {
            "running": self._loop.is_running,
            "published": self._published,
            "error": self._loop.last_error,
        }

    async def _session(self) -> None:
        await ensure_topics(self._access, {self._topic: PARTITIONS})
        async with open_producer(self._access, idempotent=True) as producer, self._listening():
            while not self._loop.stopping.is_set():
                self._wake.clear()
                await self._drain(producer)
                self._loop.succeeded()
                # What comes close behind goes out together.
                await pause(self._loop.stopping, _TOGETHER_S)
                if not self._loop.stopping.is_set():
                    await pause(self._wake, POLL_S)

    async def _drain(self, producer: AIOKafkaProducer) -> None:
        while changes := await self._catalog.unpublished(BATCH_CHANGES):
            sent: list[int] = []
            try:
                for change in changes:
                    await self._publish(change, producer)
                    sent.append(change.id)
            finally:
                if sent:
                    await self._catalog.mark_published(sent)
                    self._published += len(sent)
            # There is news of those that came meanwhile.
            if self._loop.stopping.is_set() or len(changes) < BATCH_CHANGES:
                return

    async def _publish(self, change: StateChange, producer: AIOKafkaProducer) -> None:
        """One at a time: a retry must not let a later change of the stream overtake it."""
        key = change.recording.stream_id.encode()
        with request("kafka", "send"), broker_errors():
            await send(producer, self._topic, state_event(change), key=key)

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        listener = asyncio.create_task(self._listen(), name="Kafka events: news")
        try:
            yield
        finally:
            listener.cancel()
            await asyncio.wait({listener})

    async def _listen(self) -> None:
        while True:
            try:
                async for _ in self._catalog.changes():
                    self._wake.set()
            except CatalogUnavailable as error:
                log.debug("no news from the catalogue, polling instead: %s", error)
            await asyncio.sleep(POLL_S)
