"""Real PostgreSQL, S3 and Kafka for all tests: the embedded services, one of each per session
(with several workers: one of each per worker).

Hooks that concern the session as a whole are here, since the process that prints loads no
``conftest.py`` of sub folders."""

import itertools
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import hypothesis
import pytest

from serve_app.embedded.kafka import KafkaBroker
from serve_app.embedded.postgres import PostgresServer
from serve_app.embedded.s3 import S3Server
from tests.corpus.table import pytest_terminal_summary
from tests.sharing import pytest_collection_modifyitems, pytest_xdist_make_scheduler

__all__ = [
    "pytest_collection_modifyitems",
    "pytest_terminal_summary",
    "pytest_xdist_make_scheduler",
]

# A busy machine is no failure; pytest has a timeout for what hangs.
hypothesis.settings.register_profile("busy", deadline=None)
hypothesis.settings.load_profile("busy")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3:
    """A running S3 server. Not for tests that stop it: those start their own."""

    endpoint: str
    access_key: str
    secret_key: str


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="session")
def postgres_dsn(tmp_path_factory: pytest.TempPathFactory, logs: Path) -> Iterator[str]:
    server = PostgresServer(tmp_path_factory.mktemp("postgres"), logs, "a password: %/@?")
    server.start()
    yield server.dsn
    server.stop()


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[str]:
    """The DSN of an empty database of this test's own."""
    name = f"test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(postgres_dsn, timeout=10)
    try:
        await connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        yield postgres_dsn.rpartition("/")[0] + f"/{name}"
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close(timeout=10)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory, logs: Path) -> Iterator[S3]:
    server = S3Server(tmp_path_factory.mktemp("s3"), logs, "test-access", "test-secret-key")
    server.start()
    yield S3(endpoint=server.endpoint, access_key=server.access_key, secret_key=server.secret_key)
    server.stop()


@pytest.fixture
def new_bucket_name() -> Callable[[], str]:
    """Names that no other test of the session uses. The bucket itself is the test's to make."""
    prefix, numbers = f"test-{uuid.uuid4().hex[:12]}", itertools.count(1)
    return lambda: f"{prefix}-{next(numbers)}"


@pytest.fixture(scope="session")
def kafka_brokers(tmp_path_factory: pytest.TempPathFactory, logs: Path) -> Iterator[list[str]]:
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"), logs)
    broker.start()
    yield [broker.broker]
    broker.stop()
