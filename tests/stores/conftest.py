"""Brokers for the Kafka tests: the embedded one, and Apache Kafka or what ``KAFKA_BROKERS`` is."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.kafka_intake import SESSION_TIMEOUT
from pipeline.kafka_access import KafkaAccess
from pipeline.settings import load_settings
from tests.apache_kafka.server import ApacheKafka
from tests.faults.relay import Relay
from tests.stores.kafka_world import World


@pytest.fixture(scope="session")
def apache(tmp_path_factory: pytest.TempPathFactory, logs: Path) -> Iterator[ApacheKafka]:
    """Whoever stops it starts it again. Always one of our own: tests need its listeners."""
    server = ApacheKafka(tmp_path_factory.mktemp("apache-kafka"), logs)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def relay(apache: ApacheKafka) -> Iterator[Relay]:
    """The way to Apache Kafka's listener RELAYED."""
    with Relay(apache.address("RELAYED"), apache.relay_port) as relay:
        yield relay


@pytest.fixture(scope="session")
def kafka(kafka_brokers: list[str]) -> KafkaAccess:
    return KafkaAccess(brokers=tuple(kafka_brokers))


@pytest.fixture(params=["embedded", "apache"])
def any_kafka(request: pytest.FixtureRequest) -> KafkaAccess:
    """For what concerns brokers: both kinds."""
    if request.param == "embedded":
        return request.getfixturevalue("kafka")
    if os.environ.get("KAFKA_BROKERS"):
        return load_settings().kafka_access
    return request.getfixturevalue("apache").plain


@pytest.fixture
def world(kafka: KafkaAccess) -> World:
    return World(kafka)


@pytest.fixture
def any_world(any_kafka: KafkaAccess) -> World:
    if os.environ.get("KAFKA_BROKERS"):
        return World(any_kafka, session_timeout=SESSION_TIMEOUT)
    return World(any_kafka)
