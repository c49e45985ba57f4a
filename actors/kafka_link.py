"""Connections to Kafka: opened and closed within bounds, their errors mapped in one place."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from actors.loops import is_cancelled
from pipeline.errors import BrokerUnavailable
from pipeline.metrics import request

REQUEST_TIMEOUT_S = 5.0
# Joining a group waits until its other members have put down their work or are held for dead.
JOIN_TIMEOUT_S = 60.0
REBALANCE_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 2.0
RETRY_BACKOFF_S = 0.25
MAX_REPLICAS = 3
# Larger than what brokers take by default: they decide, not the client.
MAX_REQUEST_BYTES = 16 * 1024 * 1024
MAX_FETCH_BYTES = 16 * 1024 * 1024
# The catalogue may be away for longer than any limit on the time between two polls; heartbeats go
# on meanwhile, and every wait of ours has a bound of its own.
_NO_POLL_LIMIT_MS = 2**31 - 1

log = logging.getLogger(__name__)


@contextmanager
def broker_errors() -> Iterator[None]:
    """Raise ``BrokerUnavailable`` for whatever keeps Kafka from answering."""
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        cause = str(error) or type(error).__name__
        raise BrokerUnavailable(f"Kafka does not answer: {cause}") from error
    except asyncio.CancelledError as error:
        # aiokafka cancels the futures of a connection that breaks, and so whoever waits for them.
        if is_cancelled():
            raise
        raise BrokerUnavailable("Kafka does not answer: the connection broke") from error


async def ensure_topics(brokers: Sequence[str], partitions: Mapping[str, int]) -> None:
    """Create what is missing. Topics that exist keep their form; a refusal is only logged."""
    admin = AIOKafkaAdminClient(
        bootstrap_servers=list(brokers), request_timeout_ms=_ms(REQUEST_TIMEOUT_S)
    )
    try:
        with request("kafka", "connect"), broker_errors():
            async with asyncio.timeout(2 * REQUEST_TIMEOUT_S):
                await admin.start()
                await _create_missing(admin, partitions)
    finally:
        await _close(admin.close())


async def _create_missing(admin: AIOKafkaAdminClient, partitions: Mapping[str, int]) -> None:
    known = set(await admin.list_topics())
    missing = [name for name in partitions if name not in known]
    if not missing:
        return
    nodes = len((await admin.describe_cluster())["brokers"])
    replicas = max(1, min(MAX_REPLICAS, nodes))
    answer = await admin.create_topics(
        [NewTopic(name, partitions[name], replicas) for name in missing]
    )
    for name, code, *_ in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            log.warning("Kafka topic %s could not be created: %s", name, error.__name__)


@asynccontextmanager
async def open_producer(brokers: Sequence[str]) -> AsyncIterator[AIOKafkaProducer]:
    """A producer whose ``send_and_wait`` returns once all replicas have the message."""
    producer = AIOKafkaProducer(
        bootstrap_servers=list(brokers),
        acks="all",
        max_request_size=MAX_REQUEST_BYTES,
        request_timeout_ms=_ms(REQUEST_TIMEOUT_S),
        retry_backoff_ms=_ms(RETRY_BACKOFF_S),
    )
    try:
        with request("kafka", "connect"), broker_errors():
            async with asyncio.timeout(2 * REQUEST_TIMEOUT_S):
                await producer.start()
        yield producer
    finally:
        await _close(producer.stop())


def make_consumer(
    brokers: Sequence[str], group: str, session_timeout: timedelta
) -> AIOKafkaConsumer:
    """A consumer of ``group`` that commits nothing by itself and starts with the oldest message.

    ``session_timeout``: a member that is not heard of for this long is held for dead.
    """
    session_s = session_timeout.total_seconds()
    return AIOKafkaConsumer(
        bootstrap_servers=list(brokers),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        request_timeout_ms=_ms(JOIN_TIMEOUT_S),
        retry_backoff_ms=_ms(RETRY_BACKOFF_S),
        session_timeout_ms=_ms(session_s),
        heartbeat_interval_ms=_ms(session_s / 3),
        rebalance_timeout_ms=_ms(REBALANCE_TIMEOUT_S),
        max_poll_interval_ms=_NO_POLL_LIMIT_MS,
        fetch_max_bytes=MAX_FETCH_BYTES,
    )


@asynccontextmanager
async def started(consumer: AIOKafkaConsumer) -> AsyncIterator[None]:
    """The consumer at work, its subscription made before."""
    try:
        with request("kafka", "connect"), broker_errors():
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                await consumer.start()
        yield
    finally:
        await _close(consumer.stop())


async def _close(closing: Awaitable[None]) -> None:
    """Best effort: a broker that is away must not keep us from going."""
    try:
        with broker_errors():
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await closing
    except BrokerUnavailable as error:
        log.debug("a Kafka connection could not be closed: %s", error)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
