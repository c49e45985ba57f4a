"""SASL, TLS and ACLs of Apache Kafka: by the settings alone, and refused in clear words."""

import asyncio
import json
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from aiokafka.admin import NewTopic
from aiokafka.protocol.admin import CreateAclsRequest
from pydantic import SecretStr

from actors.kafka_events import EventPublisher
from actors.kafka_service import KafkaService
from pipeline.kafka_access import KafkaAccess, SaslMechanism
from pipeline.settings import Settings
from pipeline.stores.catalog_memory import MemoryCatalog
from tests.apache_kafka.certificates import Authority
from tests.apache_kafka.server import PASSWORD, ApacheKafka
from tests.stores.kafka_world import Desk, World, admin_of, at_work, read_topic, task, until

SASL = {
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_username": "vodray",
    "kafka_sasl_password": SecretStr(PASSWORD),
}


def make_catalog() -> MemoryCatalog:
    return MemoryCatalog(reconnect_window=timedelta(seconds=60), profile="copy")


async def passes_through(settings: Settings) -> None:
    """A task in, its recording's first state out, a dead letter: all that we do with brokers."""

    async def poke(_recordings: Collection[UUID]) -> None: ...

    service = KafkaService(settings, make_catalog, poke)
    run = asyncio.create_task(service.run())
    world = World(settings.kafka_access, settings.kafka_topic)
    try:
        await until(lambda: service.intake.status()["running"])
        await asyncio.sleep(0.5)
        await world.send(task("good"), b"bad")
        (letter,) = await world.dead_letters(1)
        (event,) = await read_topic(settings.kafka_access, settings.kafka_events_topic, 1)
    finally:
        await service.stop()
        await asyncio.wait_for(run, 1)
    assert letter.value == b"bad"
    assert json.loads(event.value)["stream_id"] == "good"


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_sasl_over_tls(apache: ApacheKafka, mechanism: SaslMechanism) -> None:
    """SCRAM-SHA-256 is the one of the test of ACLs."""
    topic = f"tasks-{mechanism.lower()}"
    await passes_through(
        Settings(
            kafka_brokers=apache.sasl().brokers,
            kafka_sasl_mechanism=mechanism,
            kafka_ssl_cafile=apache.authority.cafile,
            kafka_topic=topic,
            kafka_group=f"{topic}-group",
            kafka_events_topic=f"{topic}-events",
            **SASL,
        )
    )


async def test_a_certificate_of_our_own(apache: ApacheKafka) -> None:
    ours = apache.authority.sign("vodray", key_password=b"locked")
    await passes_through(
        Settings(
            kafka_brokers=(apache.address("TLS"),),
            kafka_security_protocol="SSL",
            kafka_ssl_cafile=apache.authority.cafile,
            kafka_ssl_certfile=ours.certfile,
            kafka_ssl_keyfile=ours.keyfile,
            kafka_ssl_key_password=SecretStr("locked"),
            kafka_topic="tasks-tls",
            kafka_group="tasks-tls-group",
            kafka_events_topic="tasks-tls-events",
        )
    )


async def told(access: KafkaAccess) -> str:
    """The error that an operator sees, of the intake and of the events."""
    world = World(access)
    intake = world.intake(Desk())
    publisher = EventPublisher(access=access, topic="events", catalog=make_catalog())
    run = asyncio.create_task(publisher.run())
    try:
        async with at_work(intake):
            await until(lambda: bool(intake.status()["error"] and publisher.status()["error"]))
            error = str(intake.status()["error"])
            assert publisher.status()["error"] == error
            return error
    finally:
        await publisher.stop()
        await run


async def test_who_is_refused_is_told_why(apache: ApacheKafka, tmp_path: Path) -> None:
    stranger = replace(apache.sasl("PLAIN"), password=SecretStr("hunter2"))
    error = await told(stranger)
    assert error.startswith("Kafka refuses us: ")
    assert "Invalid username or password" in error
    assert "hunter2" not in error
    assert "hunter2" not in repr(stranger)

    impostor = replace(apache.sasl(), cafile=Authority(tmp_path).cafile)
    error = await told(impostor)
    assert error.startswith("Kafka refuses us: ")
    assert "certificate verify failed" in error

    in_the_clear = KafkaAccess(brokers=apache.sasl().brokers)
    assert "Kafka does not answer" in await told(in_the_clear)


ALLOW, LITERAL, ANY_HOST = 3, 3, "*"
TOPIC, GROUP = 2, 3
READ, WRITE = 3, 4


async def allow(apache: ApacheKafka, *acls: tuple[int, str, int]) -> None:
    """(resource type, its name, operation) for the user ``limited``."""
    async with admin_of(apache.plain) as admin:
        for kind, name, operation in acls:
            acl = CreateAclsRequest(kind, name, LITERAL, "User:limited", ANY_HOST, operation, ALLOW)
            answer = await admin._send_request(acl)
            assert [code for code, _ in answer.creation_responses] == [0]


async def test_the_acls_of_the_manual_are_enough_and_a_missing_one_is_named(
    apache: ApacheKafka,
) -> None:
    """docs/operations.md, Kafka: topics made beforehand."""
    tasks, events, group = "limited-tasks", "limited-events", "limited-group"
    everybody = World(apache.plain, tasks)
    async with admin_of(apache.plain) as admin:
        await admin.create_topics(
            [NewTopic(name, 2, 1) for name in (tasks, f"{tasks}.dlq", events)]
        )
    settings = Settings(
        kafka_brokers=apache.sasl().brokers,
        kafka_sasl_mechanism="SCRAM-SHA-256",
        kafka_ssl_cafile=apache.authority.cafile,
        kafka_topic=tasks,
        kafka_group=group,
        kafka_events_topic=events,
        **{**SASL, "kafka_sasl_username": "limited"},
    )

    async def poke(_recordings: Collection[UUID]) -> None: ...

    service = KafkaService(settings, make_catalog, poke)
    run = asyncio.create_task(service.run())
    try:
        await until(lambda: "refuses us" in str(service.intake.status()["error"]))
        await allow(apache, (TOPIC, tasks, READ), (TOPIC, events, WRITE), (GROUP, group, READ))
        await everybody.send(task("good"), b"bad")
        await until(lambda: service.publisher.status()["published"] == 1, seconds=30)
        await until(lambda: ".dlq" in str(service.intake.status()["error"]), seconds=30)
        assert "refuses us" in str(service.intake.status()["error"])
        await allow(apache, (TOPIC, f"{tasks}.dlq", WRITE))
        await until(lambda: service.intake.status()["dead_letters"] == 1, seconds=30)
        assert service.intake.status()["error"] is None
    finally:
        await service.stop()
        await asyncio.wait_for(run, 1)
