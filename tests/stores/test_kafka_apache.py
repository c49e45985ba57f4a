"""What Apache Kafka does and the embedded broker does not: it keeps messages, moves groups, runs
other producers' transactions, compacts topics, and refuses."""

import asyncio
import json
import random
import sys
import uuid
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import NewPartitions, NewTopic

from actors.kafka_events import EventPublisher
from actors.kafka_intake import KafkaIntake
from actors.kafka_link import open_producer, send
from actors.kafka_service import KafkaService
from pipeline.kafka_access import KafkaAccess
from pipeline.messages import parse_task
from pipeline.settings import Settings
from pipeline.stores.catalog_memory import MemoryCatalog
from pipeline.stores.catalog_postgres import PostgresCatalog
from tests.apache_kafka.server import ApacheKafka
from tests.faults.relay import Relay
from tests.stores.kafka_world import (
    Desk,
    World,
    admin_of,
    at_work,
    read_topic,
    task,
    until,
)

ROOT = Path(__file__).resolve().parents[2]
NOON = datetime(2025, 10, 5, 12, tzinfo=UTC)


@pytest.fixture
def world(apache: ApacheKafka) -> World:
    return World(apache.plain)


def make_catalog(dsn: str) -> PostgresCatalog:
    return PostgresCatalog(dsn, reconnect_window=timedelta(seconds=60), profile="copy")


async def make_topic(world: World, partitions: int = 4, **configs: str) -> None:
    topic = NewTopic(world.topic, partitions, 1, topic_configs=configs)
    async with admin_of(world.access) as admin:
        answer = await admin.create_topics([topic])
    assert [code for _, code, *_ in answer.topic_errors] == [0]


@asynccontextmanager
async def serving(settings: Settings, dsn: str):
    """All of ours that speaks Kafka, over PostgreSQL."""

    async def poke(_recordings: Collection[uuid.UUID]) -> None: ...

    service = KafkaService(settings, lambda: make_catalog(dsn), poke)
    run = asyncio.create_task(service.run())
    try:
        yield service
    finally:
        await service.stop()
        await asyncio.wait_for(run, 1)


async def recorded_streams(dsn: str) -> list[str]:
    catalog = make_catalog(dsn)
    await catalog.open()
    try:
        return [recording.stream_id for recording in await catalog.unfinished()]
    finally:
        await catalog.close()


async def make_sure_of(world: World) -> None:
    """The topic is there: the intake makes it."""
    async with admin_of(world.access) as admin, asyncio.timeout(20):
        while world.topic not in await admin.list_topics():
            await asyncio.sleep(0.1)


async def test_a_process_that_dies_between_durable_and_committed(
    world: World, database: str
) -> None:
    """SIGKILL once PostgreSQL has the tasks: they are read again, and change nothing."""
    await make_topic(world)
    names = [f"s{n}" for n in range(50)]
    await world.send(*map(task, names))
    code = "import sys; from tests.stores.kafka_killed import main; main(*sys.argv[1:])"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, database, world.access.brokers[0], world.topic, world.group),
        cwd=ROOT,
    )
    async with asyncio.timeout(30):
        assert await process.wait() == -9
    assert sorted(await recorded_streams(database)) == sorted(names)
    assert await world.committed() == 0
    catalog = make_catalog(database)
    await catalog.open()

    async def poke() -> None: ...

    again = KafkaIntake(
        access=world.access,
        topic=world.topic,
        group=world.group,
        accept=catalog.accept,
        poke=poke,
        session_timeout=world.session_timeout,
    )
    try:
        async with at_work(again):
            await world.until_committed(50, seconds=20)
            assert again.status()["accepted"] == 50
    finally:
        await catalog.close()
    assert sorted(await recorded_streams(database)) == sorted(names)


async def test_transactions_of_other_producers(world: World) -> None:
    await make_topic(world, partitions=1)
    desk = Desk()
    intake = world.intake(desk)
    producer = AIOKafkaProducer(
        **world.access.client_options(), transactional_id=f"{world.topic}-sender"
    )
    async with producer, at_work(intake):
        async with producer.transaction():
            await producer.send_and_wait(world.topic, task("kept"))
        await producer.begin_transaction()
        await producer.send_and_wait(world.topic, task("aborted"))
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(world.topic, task("kept, too"))
            await world.send(task("behind an open transaction"))
            await until(lambda: desk.stream_ids == ["kept"])
            await asyncio.sleep(0.3)
            assert desk.stream_ids == ["kept"]
        await until(lambda: len(desk.events) == 3)
        # Three markers and the aborted message have offsets, too.
        await world.until_committed(7)
        await producer.begin_transaction()
        await producer.send_and_wait(world.topic, task("aborted at the end"))
        await producer.abort_transaction()
        await world.until_committed(9)
        assert intake.status()["lag"] == 0
    assert desk.stream_ids == ["kept", "kept, too", "behind an open transaction"]
    assert intake.status()["dead_letters"] == 0


async def test_a_compacted_topic(world: World) -> None:
    """Offsets have holes; a tombstone is no task, and a letter says so."""
    await make_topic(
        world,
        partitions=1,
        **{
            "cleanup.policy": "compact",
            "segment.ms": "50",
            "min.cleanable.dirty.ratio": "0.01",
            "max.compaction.lag.ms": "100",
            "delete.retention.ms": "60000",
        },
    )
    await world.send(*(task(f"s{n}") for n in range(20)), None, key=b"deleted")
    async with asyncio.timeout(20):
        while (await all_of(world))[0].offset < 20:
            # The segment that is written to is never compacted; a message begins the next one.
            await asyncio.sleep(0.2)
            await world.send(task("kept"))
    left = await all_of(world)
    desk = Desk()
    intake = world.intake(desk)
    async with at_work(intake):
        await world.until_committed(left[-1].offset + 1, seconds=20)
        assert intake.status()["lag"] == 0
    assert left[0].value is None
    assert left[0].offset == 20
    assert set(desk.stream_ids) == {"kept"}
    (letter,) = await world.dead_letters(1)
    assert dict(letter.headers)["reason"] == b"the message has no value"


async def all_of(world: World) -> list[ConsumerRecord]:
    """The topic's one partition from end to end."""
    partition = TopicPartition(world.topic, 0)
    async with AIOKafkaConsumer(
        **world.access.client_options(), auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        records: list[ConsumerRecord] = []
        while await consumer.position(partition) < end:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += batch
    return records


async def test_partitions_that_are_there_and_that_are_added(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.kafka_link.METADATA_AGE_S", 0.5)
    await make_topic(world, partitions=12)
    desk = Desk()
    async with at_work(world.intake(desk)):
        for partition in range(12):
            await world.send(task(f"s{partition}"), partition=partition)
        await until(lambda: len(desk.events) == 12)
        async with admin_of(world.access) as admin:
            await admin.create_partitions({world.topic: NewPartitions(13)})
        await asyncio.sleep(0.2)
        await world.send(task("s12"), partition=12)
        await until(lambda: len(desk.events) == 13)
    assert sorted(desk.stream_ids) == sorted(f"s{n}" for n in range(13))


async def test_a_topic_that_is_deleted_is_made_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.kafka_intake.QUIET_S", 1.0)
    desk = Desk()
    intake = world.intake(desk)
    async with at_work(intake):
        await make_sure_of(world)
        await world.send(task("before"))
        await until(lambda: desk.stream_ids == ["before"])
        async with admin_of(world.access) as admin:
            await admin.delete_topics([world.topic])
        await asyncio.sleep(0.5)
        await make_sure_of(world)
        await world.send(task("after"), partition=3)
        await until(lambda: "after" in desk.stream_ids)


async def test_a_member_that_was_held_for_dead_reads_again(world: World) -> None:
    """Its commit is refused; nothing is lost, and the group goes on."""

    async def until_nobody_is_there() -> None:
        async with asyncio.timeout(20):
            while await world.members():
                await asyncio.sleep(0.1)

    class Sleepy(Desk):
        async def accept(self, event):
            if not self.attempts:
                self.attempts = 1
                # In a loop of its own: this one stands, and no heartbeat goes out meanwhile.
                with ThreadPoolExecutor(1) as elsewhere:
                    elsewhere.submit(asyncio.run, until_nobody_is_there()).result()
            return await Desk.accept(self, event)

    await make_topic(world)
    desk = Sleepy()
    intake = world.intake(desk)
    async with at_work(intake):
        await world.send(*(task(f"s{n}") for n in range(10)))
        await until(lambda: len(desk.events) >= 10)
        await world.until_committed(10)
        await world.send(task("later"))
        await until(lambda: "later" in desk.stream_ids)
        assert intake.status()["error"] is None
    assert set(desk.stream_ids) == {*(f"s{n}" for n in range(10)), "later"}
    assert len(desk.events) > 11, "no commit was refused"


async def test_a_letter_that_the_broker_refuses_is_cut_and_the_next_one_is_not(
    world: World,
) -> None:
    """The topic takes 4 MiB, that of the letters what brokers take by default."""
    await make_topic(world, partitions=1, **{"max.message.bytes": str(4 * 2**20)})
    desk = Desk()
    async with at_work(world.intake(desk)):
        await world.send(b"x" * (2 * 2**20), b"bad", task("good"))
        await until(lambda: desk.stream_ids == ["good"])
        letters = await world.dead_letters(2)
        await world.until_committed(3)
    assert sorted(len(letter.value) for letter in letters) == [3, 1024]


async def test_what_is_sent_again_is_kept_once(apache: ApacheKafka, relay: Relay) -> None:
    """Connections break so soon that often the message has come and its answer has not: without
    idempotence 60 became 67."""
    world = World(apache.plain)
    await make_topic(world, partitions=1)
    lives = random.Random(7)

    async def break_on() -> None:
        while True:
            relay.reset_each(lives.randint(1000, 2500))
            await asyncio.sleep(0.02)

    breaking = asyncio.create_task(break_on())
    access = KafkaAccess(brokers=(relay.address,))
    async with open_producer(access, idempotent=True) as producer:
        for n in range(60):
            await send(producer, world.topic, task(f"s{n}"), key=b"k")
        breaking.cancel()
    assert relay.connections > 10
    relay.up()
    found = await read_topic(apache.plain, world.topic, 60)
    assert [json.loads(record.value)["stream_id"] for record in found] == [
        f"s{n}" for n in range(60)
    ]


async def test_what_was_given_up_is_not_sent_later(
    apache: ApacheKafka, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would come behind what the next producer has sent."""
    monkeypatch.setattr("actors.kafka_link.SEND_TIMEOUT_S", 1.0)
    world = World(apache.plain)
    await make_topic(world, partitions=1)
    access = KafkaAccess(brokers=(relay.address,))
    async with open_producer(access, idempotent=True) as producer:
        await send(producer, world.topic, b"first", key=b"k")
        relay.down()
        with pytest.raises(TimeoutError):
            await send(producer, world.topic, b"given up", key=b"k")
    relay.up()
    async with open_producer(access, idempotent=True) as producer:
        await send(producer, world.topic, b"next", key=b"k")
    await asyncio.sleep(2)
    found = await read_topic(apache.plain, world.topic, 2)
    assert [record.value for record in found] == [b"first", b"next"]


async def test_events_stop_in_time_while_the_broker_hangs(
    apache: ApacheKafka, relay: Relay
) -> None:
    catalog = MemoryCatalog(reconnect_window=timedelta(seconds=60), profile="copy")
    publisher = EventPublisher(
        access=KafkaAccess(brokers=(relay.address,)), topic="hanging-events", catalog=catalog
    )
    async with at_work(publisher):
        await catalog.accept(parse_task(task("first"), sent_at=NOON, now=NOON))
        await until(lambda: publisher.status()["published"] == 1)
        relay.hang()
        await catalog.accept(parse_task(task("second"), sent_at=NOON, now=NOON))
        await asyncio.sleep(0.5)
        assert publisher.status()["published"] == 1


async def test_a_restart_in_the_middle_loses_nothing_and_doubles_nothing(
    apache: ApacheKafka, world: World, database: str
) -> None:
    settings = Settings(
        kafka_brokers=apache.plain.brokers,
        kafka_topic=world.topic,
        kafka_group=world.group,
        kafka_events_topic=f"{world.topic}-events",
    )
    names: list[str] = []

    async def send_on(enough: asyncio.Event) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=list(apache.plain.brokers), acks="all", enable_idempotence=True
        )
        async with producer:
            while not enough.is_set():
                name = f"s{len(names)}"
                await producer.send_and_wait(world.topic, task(name), key=name.encode())
                names.append(name)

    async with serving(settings, database) as service:
        await until(lambda: service.intake.status()["error"] is None)
        enough = asyncio.Event()
        await make_sure_of(world)
        sending = asyncio.create_task(send_on(enough))
        await until(lambda: len(names) > 100)
        await asyncio.to_thread(apache.stop)
        await asyncio.sleep(1)
        before = len(names)
        await asyncio.to_thread(apache.start)
        await until(lambda: len(names) > before + 100, seconds=40)
        enough.set()
        await sending
        await until(lambda: service.intake.status()["accepted"] >= len(names), seconds=30)
        await world.until_committed(len(names), seconds=20)
        await until(lambda: service.publisher.status()["published"] >= len(names), seconds=30)
    events = await read_topic(apache.plain, settings.kafka_events_topic, len(names))
    assert sorted(await recorded_streams(database)) == sorted(names)
    assert {json.loads(event.value)["stream_id"] for event in events} == set(names)
