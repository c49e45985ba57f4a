"""All that speaks Kafka, in one process: tasks in, state changes out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any
from uuid import UUID

import ray

from actors.counting import hand_on, hand_on_for_ever
from actors.kafka_events import EventPublisher
from actors.kafka_intake import KafkaIntake
from actors.loops import RetryingLoop
from pipeline import logs, tracing
from pipeline.measured import KafkaMeasure
from pipeline.model import StreamEvent
from pipeline.profiles import find_profile
from pipeline.settings import Settings
from pipeline.stores.catalog import Accepted, Catalog

STOP_GRACE_S = 5.0


class KafkaService:
    """``make_catalog`` is called in this process; ``poke`` wakes those who act on new
    tasks, and is told which recordings they are about.

    ``run`` goes on until ``stop``, through every outage; a further call while it runs returns at
    once, so whoever watches this actor may simply call it again.
    """

    def __init__(
        self,
        settings: Settings,
        make_catalog: Callable[[], Catalog],
        poke: Callable[[Collection[UUID]], Awaitable[None]],
    ) -> None:
        # While a broker is away aiokafka logs errors by the hundred a minute; ours says it once.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        self._catalog, self._poke = make_catalog(), poke
        self._profiles = settings.profiles
        self._touched: set[UUID] = set()
        self.intake = KafkaIntake(
            access=settings.kafka_access,
            topic=settings.kafka_topic,
            group=settings.kafka_group,
            accept=self._accept,
            poke=self._tell,
        )
        self.publisher = EventPublisher(
            access=settings.kafka_access,
            topic=settings.kafka_events_topic,
            catalog=self._catalog,
        )
        self._loop = RetryingLoop("Kafka", self._session)

    async def run(self) -> None:
        await self._loop.run()

    async def stop(self) -> None:
        """What is in hand is finished if that is possible within 5 s."""
        self._loop.stopping.set()
        await asyncio.gather(self.intake.stop(), self.publisher.stop())
        await self._loop.stop(STOP_GRACE_S)

    async def status(self) -> dict[str, Any]:
        return {
            "running": self._loop.is_running,
            "error": self._loop.last_error,
            "intake": self.intake.status(),
            "events": self.publisher.status(),
        }

    async def measure(self) -> KafkaMeasure:
        """Asks the broker."""
        parts = (self._loop, self.intake, self.publisher)
        return KafkaMeasure(
            is_well=all(part.is_running and part.last_error is None for part in parts),
            lag=await self.intake.lag(),
        )

    async def _accept(self, event: StreamEvent) -> Accepted:
        if event.profile is not None:
            find_profile(event.profile, self._profiles)
        accepted = await self._catalog.accept(event)
        if accepted.recording_id is not None:
            self._touched.add(accepted.recording_id)
        return accepted

    async def _tell(self) -> None:
        touched, self._touched = self._touched, set()
        await self._poke(touched)

    async def _session(self) -> None:
        try:
            await self._catalog.open()
            self._loop.succeeded()
            async with asyncio.TaskGroup() as group:
                group.create_task(self.intake.run())
                group.create_task(self.publisher.run())
        finally:
            await self._catalog.close()


class KafkaProcess(KafkaService):
    """The service as an actor: Ray restarts the process, not a call that ran in it, so it runs
    from its start on."""

    def __init__(
        self,
        settings: Settings,
        make_catalog: Callable[[], Catalog],
        poke: Callable[[Collection[UUID]], Awaitable[None]],
    ) -> None:
        logs.configure(settings)
        tracing.configure(settings)
        super().__init__(settings, make_catalog, poke)
        self._running = asyncio.get_running_loop().create_task(self.run())
        self._counting = asyncio.get_running_loop().create_task(hand_on_for_ever())

    async def stop(self) -> None:
        await super().stop()
        await hand_on()


KafkaActor = ray.remote(KafkaProcess)
