"""What the Kafka tests share: tasks sent to a real broker, an intake at work, what came of it."""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from actors.kafka_intake import PARTITIONS, KafkaIntake
from pipeline.errors import CatalogUnavailable
from pipeline.kafka_access import KafkaAccess
from pipeline.model import StreamEvent
from pipeline.stores.catalog import Accepted

# Shorter than brokers usually allow: joining a group takes half of it.
SESSION_TIMEOUT = timedelta(seconds=1)

# Of a broker that is away it says so hundreds of times.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


@dataclass(slots=True)
class Desk:
    """Takes events down as a catalogue would; ``away`` is an outage of it."""

    away: bool = False
    delay_s: float = 0.0
    refusals: dict[str, Exception] = field(default_factory=dict)
    events: list[StreamEvent] = field(default_factory=list)
    attempts: int = 0
    pokes: int = 0
    at_once: int = 0
    most_at_once: int = 0

    async def accept(self, event: StreamEvent) -> Accepted:
        self.attempts += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            self.at_once -= 1
        if self.away:
            raise CatalogUnavailable("PostgreSQL is away")
        if event.stream_id in self.refusals:
            raise self.refusals[event.stream_id]
        self.events.append(event)
        return Accepted(task_id=len(self.events), recording_id=None, outcome="written down")

    async def poke(self) -> None:
        self.pokes += 1

    @property
    def stream_ids(self) -> list[str]:
        return [event.stream_id for event in self.events]


@dataclass(frozen=True, slots=True)
class World:
    """One topic with its group on a broker, of one test's own."""

    access: KafkaAccess
    topic: str = field(default_factory=lambda: f"tasks-{uuid.uuid4().hex[:12]}")
    session_timeout: timedelta = SESSION_TIMEOUT

    @property
    def group(self) -> str:
        return f"{self.topic}-group"

    def intake(self, desk: Desk) -> KafkaIntake:
        return KafkaIntake(
            access=self.access,
            topic=self.topic,
            group=self.group,
            accept=desk.accept,
            poke=desk.poke,
            session_timeout=self.session_timeout,
        )

    async def send(
        self, *values: bytes | None, partition: int | None = None, key: bytes = b"k"
    ) -> None:
        async with AIOKafkaProducer(
            **self.access.client_options(), max_request_size=64 * 2**20
        ) as producer:
            sent = [
                await producer.send(self.topic, value, key=key, partition=partition)
                for value in values
            ]
            await asyncio.gather(*sent)

    async def committed(self) -> int:
        """The sum of the group's committed offsets: how many messages it has done with."""
        async with admin_of(self.access) as admin:
            offsets = await admin.list_consumer_group_offsets(
                self.group, partitions=[TopicPartition(self.topic, n) for n in range(PARTITIONS)]
            )
        return sum(max(0, position.offset) for position in offsets.values())

    async def members(self) -> int:
        """How many the broker holds for alive."""
        async with admin_of(self.access) as admin:
            (answer,) = await admin.describe_consumer_groups([self.group])
        ((_error, _group, _state, _type, _protocol, members, *_),) = answer.groups
        return len(members)

    async def until_committed(self, count: int, seconds: float = 5) -> None:
        async with asyncio.timeout(seconds):
            while await self._committed_by_now() != count:
                await asyncio.sleep(0.05)

    async def _committed_by_now(self) -> int:
        """A broker that has never had a group makes its topic for them first."""
        try:
            return await self.committed()
        except GroupCoordinatorNotAvailableError:
            return 0

    async def dead_letters(self, count: int) -> list[ConsumerRecord]:
        return await read_topic(self.access, f"{self.topic}.dlq", count)


@asynccontextmanager
async def admin_of(access: KafkaAccess) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**access.client_options())
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def read_topic(access: KafkaAccess, topic: str, count: int) -> list[ConsumerRecord]:
    """The first ``count`` messages of a topic and whatever else is there; fails after 10 s."""
    records: list[ConsumerRecord] = []
    async with AIOKafkaConsumer(
        topic, **access.client_options(), auto_offset_reset="earliest"
    ) as consumer:
        async with asyncio.timeout(10):
            while len(records) < count:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    records += batch
        for batch in (await consumer.getmany(timeout_ms=200)).values():
            records += batch
    return records


def task(stream_id: str, **changes: Any) -> bytes:
    body = {"stream_id": stream_id, "action": "start", "timestamp": "2025-10-05T18:00:00Z"}
    return json.dumps({**body, **changes}).encode()


@asynccontextmanager
async def at_work(*intakes: KafkaIntake) -> AsyncIterator[None]:
    """The intakes run meanwhile, and stop within the 5 s that they promise."""
    runs = [asyncio.create_task(intake.run()) for intake in intakes]
    try:
        yield
    finally:
        began = time.monotonic()
        await asyncio.gather(*(intake.stop() for intake in intakes))
        assert time.monotonic() - began < 5
        async with asyncio.timeout(1):
            await asyncio.gather(*runs)


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
