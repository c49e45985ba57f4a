"""State changes into a real broker: all of them, in order, through outages of either side."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from actors.kafka_events import EventPublisher
from pipeline.kafka_access import KafkaAccess
from pipeline.model import EndReason, EventKind, Origin, StreamEvent
from pipeline.stores.catalog import Completion
from pipeline.stores.catalog_memory import MemoryCatalog
from serve_app.embedded.kafka import KafkaBroker
from tests.stores.kafka_world import read_topic, until

NOON = datetime(2025, 10, 5, 12, tzinfo=UTC)


@pytest.fixture
def catalog() -> MemoryCatalog:
    return MemoryCatalog(reconnect_window=timedelta(seconds=60), profile="copy")


@pytest.fixture
def topic() -> str:
    return f"events-{uuid.uuid4().hex[:12]}"


@asynccontextmanager
async def at_work(publisher: EventPublisher) -> AsyncIterator[None]:
    run = asyncio.create_task(publisher.run())
    try:
        yield
    finally:
        began = time.monotonic()
        await publisher.stop()
        assert time.monotonic() - began < 5
        async with asyncio.timeout(1):
            await run


async def start(catalog: MemoryCatalog, stream_id: str) -> UUID:
    accepted = await catalog.accept(
        StreamEvent(
            kind=EventKind.STARTED, stream_id=stream_id, occurred_at=NOON, origin=Origin.WEBHOOK
        )
    )
    assert accepted.recording_id is not None
    return accepted.recording_id


async def complete(catalog: MemoryCatalog, recording_id: UUID) -> None:
    await catalog.mark_ended(recording_id, NOON, EndReason.ENDLIST)
    await catalog.mark_processing(recording_id)
    completion = Completion(
        file_path="recordings/k.mp4", duration=60, file_size=5000, completed_at=NOON
    )
    await catalog.complete(recording_id, completion, {})


async def read_events(access: KafkaAccess, topic: str, count: int) -> list[dict[str, Any]]:
    records = await read_topic(access, topic, count)
    events = [json.loads(record.value) for record in records]
    assert [e["stream_id"].encode() for e in events] == [record.key for record in records]
    return events


async def test_every_change_is_told_in_order(
    any_kafka: KafkaAccess, catalog: MemoryCatalog, topic: str
) -> None:
    names = [f"s{n}" for n in range(50)]
    ids = {name: await start(catalog, name) for name in names}
    for name in names[:25]:
        await complete(catalog, ids[name])
    async with at_work(EventPublisher(access=any_kafka, topic=topic, catalog=catalog)):
        await asyncio.sleep(0.2)
        for name in names[25:]:
            await complete(catalog, ids[name])
        events = await read_events(any_kafka, topic, 150)
        async with asyncio.timeout(5):
            while await catalog.unpublished():
                await asyncio.sleep(0.05)
    for name in names:
        mine = [event for event in events if event["stream_id"] == name]
        assert [e["status"] for e in mine] == ["recording", "processing", "completed"]
        assert {e["recording_id"] for e in mine} == {str(ids[name])}
        assert (mine[-1]["file_path"], mine[-1]["file_size"]) == ("recordings/k.mp4", 5000)


async def test_a_change_is_told_at_once(
    kafka: KafkaAccess, catalog: MemoryCatalog, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the catalogue's news: with polling alone this would not end in time."""
    monkeypatch.setattr("actors.kafka_events.POLL_S", 60.0)
    publisher = EventPublisher(access=kafka, topic=topic, catalog=catalog)
    async with at_work(publisher):
        await start(catalog, "first")
        await until(lambda: publisher.status()["published"] == 1)
        await start(catalog, "second")
        await until(lambda: publisher.status()["published"] == 2, seconds=2)


async def test_what_a_dead_process_left_is_told_by_the_next(
    kafka: KafkaAccess, catalog: MemoryCatalog, topic: str
) -> None:
    await start(catalog, "first")
    async with at_work(EventPublisher(access=kafka, topic=topic, catalog=catalog)):
        await read_events(kafka, topic, 1)
    await start(catalog, "second")
    async with at_work(EventPublisher(access=kafka, topic=topic, catalog=catalog)):
        events = await read_events(kafka, topic, 2)
    assert sorted(event["stream_id"] for event in events) == ["first", "second"]


async def test_changes_wait_for_a_broker_that_is_away(
    tmp_path: Path, catalog: MemoryCatalog, topic: str
) -> None:
    broker = KafkaBroker(tmp_path / "kafka", tmp_path)
    broker.start()
    access = KafkaAccess(brokers=(broker.broker,))
    publisher = EventPublisher(access=access, topic=topic, catalog=catalog)
    async with at_work(publisher):
        await start(catalog, "before")
        await until(lambda: publisher.status()["published"] == 1)
        broker.stop()
        await start(catalog, "meanwhile")
        await until(lambda: publisher.status()["error"] is not None)
        assert len(await catalog.unpublished()) == 1
        broker.start()
        try:
            events = await asyncio.wait_for(read_all(access, topic), 20)
        finally:
            broker.stop()
    assert [event["stream_id"] for event in events] == ["meanwhile"]


async def read_all(access: KafkaAccess, topic: str) -> list[dict[str, Any]]:
    while True:
        try:
            return await read_events(access, topic, 1)
        except TimeoutError:
            await asyncio.sleep(0.1)
