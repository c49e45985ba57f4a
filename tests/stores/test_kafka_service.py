"""All that speaks Kafka over PostgreSQL: a task in, its recording's first state out."""

import asyncio
import json
import time
import uuid
from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

import pytest

from actors.kafka_service import KafkaService
from pipeline.kafka_access import KafkaAccess
from pipeline.settings import Settings
from pipeline.stores.catalog_postgres import PostgresCatalog
from tests.stores.kafka_world import World, read_topic, task, until


def make_catalog(dsn: str) -> PostgresCatalog:
    return PostgresCatalog(dsn, reconnect_window=timedelta(seconds=60), profile="copy")


@pytest.fixture
def settings(kafka: KafkaAccess) -> Settings:
    name = uuid.uuid4().hex[:12]
    return Settings(
        kafka_brokers=kafka.brokers,
        kafka_topic=f"tasks-{name}",
        kafka_group=f"group-{name}",
        kafka_events_topic=f"events-{name}",
    )


async def test_tasks_in_and_states_out(settings: Settings, database: str) -> None:
    pokes = asyncio.Event()

    async def poke(_recordings: Collection[UUID]) -> None:
        pokes.set()

    world = World(settings.kafka_access, settings.kafka_topic)
    service = KafkaService(settings, lambda: make_catalog(database), poke)
    run = asyncio.create_task(service.run())
    try:
        await world.send(task("warm"), b"bad")
        async with asyncio.timeout(15):
            await pokes.wait()
        began = time.monotonic()
        names = [f"s{n}" for n in range(1000)]
        await world.send(*map(task, names))
        await until(lambda: service.intake.status()["accepted"] == 1001)
        print(f"{1000 / (time.monotonic() - began):.0f} durable tasks/s in PostgreSQL")
        events = [
            json.loads(record.value)
            for record in await read_topic(settings.kafka_access, settings.kafka_events_topic, 1001)
        ]
        assert (await service.status())["error"] is None
    finally:
        began = time.monotonic()
        await service.stop()
        assert time.monotonic() - began < 5
        await asyncio.wait_for(run, 1)
    assert {e["stream_id"] for e in events} == {"warm", *names}
    assert {e["status"] for e in events} == {"recording"}
    catalog = make_catalog(database)
    await catalog.open()
    assert len(await catalog.unfinished()) == 1001
    await catalog.close()
