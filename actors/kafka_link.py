"""Connections to Kafka: opened and closed within bounds, their errors mapped in one place."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    ProducerClosed,
    SaslAuthenticationFailed,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownError,
    UnsupportedSaslMechanismError,
    for_code,
)

from actors.loops import is_cancelled
from pipeline.errors import BrokerUnavailable
from pipeline.kafka_access import KafkaAccess
from pipeline.metrics import request

REQUEST_TIMEOUT_S = 5.0
# A message that no broker has taken for this long waits for another connection. Long enough for an
# election of leaders.
SEND_TIMEOUT_S = 15.0
# Joining a group waits until its other members have put down their work or are held for dead.
JOIN_TIMEOUT_S = 60.0
REBALANCE_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 2.0
RETRY_BACKOFF_S = 0.25
# Partitions that were added, and a topic that is made anew, are seen this late.
METADATA_AGE_S = 30.0
MAX_REPLICAS = 3
# Larger than what brokers take by default: they decide, not the client.
MAX_REQUEST_BYTES = 16 * 1024 * 1024
MAX_FETCH_BYTES = 16 * 1024 * 1024
# The catalogue may be away for longer than any limit on the time between two polls; heartbeats go
# on meanwhile, and every wait of ours has a bound of its own.
_NO_POLL_LIMIT_MS = 2**31 - 1

_OF_CONNECTIONS = (
    "client_id",
    "security_protocol",
    "ssl_context",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
)
_REFUSALS = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
    ssl.SSLCertVerificationError,
)

log = logging.getLogger(__name__)


@contextmanager
def broker_errors() -> Iterator[None]:
    """Raise ``BrokerUnavailable`` for whatever keeps Kafka from answering."""
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerUnavailable(_words(error)) from error
    except asyncio.CancelledError as error:
        # aiokafka cancels the futures of a connection that breaks, and so whoever waits for them.
        if is_cancelled():
            raise
        raise BrokerUnavailable("Kafka does not answer: the connection broke") from error


def _words(error: BaseException) -> str:
    cause = str(error) or type(error).__name__
    verb = "refuses us" if isinstance(error, _REFUSALS) else "does not answer"
    return f"Kafka {verb}: {cause}"


async def ensure_topics(access: KafkaAccess, partitions: Mapping[str, int]) -> None:
    """Create what is missing. Topics that exist keep their form; a refusal is only logged.

    Raises ``BrokerUnavailable``, which says why no broker lets us in: first in a session.
    """
    options = _options(access)
    admin = AIOKafkaAdminClient(**options, request_timeout_ms=_ms(REQUEST_TIMEOUT_S))
    try:
        with request("kafka", "connect"), broker_errors():
            async with asyncio.timeout(2 * REQUEST_TIMEOUT_S):
                try:
                    await admin.start()
                except KafkaConnectionError as error:
                    raise await _cause(options) or error from error
                await _create_missing(admin, partitions)
    finally:
        await _close(admin.close())


async def _cause(options: Mapping[str, Any]) -> Exception | None:
    """Why no broker lets us in, which aiokafka only logs: a refusal rather than an outage."""
    ways = {name: value for name, value in options.items() if name in _OF_CONNECTIONS}
    ways["request_timeout_ms"] = _ms(REQUEST_TIMEOUT_S / 2)
    tried = await asyncio.gather(
        *(
            create_conn(host, port, **ways)
            for host, port, _ in collect_hosts(options["bootstrap_servers"])
        ),
        return_exceptions=True,
    )
    for answer in tried:
        if not isinstance(answer, BaseException):
            answer.close()
    causes = [answer for answer in tried if isinstance(answer, (KafkaError, OSError))]
    return min(causes, key=lambda error: not isinstance(error, _REFUSALS), default=None)


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
    for name, code, *words in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            reason = next(filter(None, words), "no reason given")
            log.warning("Kafka topic %s could not be created: %s: %s", name, error.__name__, reason)


@asynccontextmanager
async def open_producer(
    access: KafkaAccess, *, idempotent: bool
) -> AsyncIterator[AIOKafkaProducer]:
    """A producer for ``send``.

    Of an ``idempotent`` one brokers keep once what it sends again, because an answer was lost or a
    leader has changed. But a message that they refuse leaves a hole in its numbers, behind which
    they take nothing more from it. A broker that knows of no such producers (the embedded one, as
    aiokafka asks it) gets a plain one.
    """
    producer = _make_producer(access, idempotent=idempotent)
    try:
        with request("kafka", "connect"), broker_errors():
            async with asyncio.timeout(2 * REQUEST_TIMEOUT_S):
                try:
                    await producer.start()
                except UnknownError:
                    if not idempotent:
                        raise
                    log.info("the broker gives us no producer id: a message may come twice")
                    await producer.stop()
                    producer = _make_producer(access, idempotent=False)
                    await producer.start()
        yield producer
    finally:
        await _end(producer)


def _make_producer(access: KafkaAccess, *, idempotent: bool) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        **_options(access),
        acks="all",
        enable_idempotence=idempotent,
        max_request_size=MAX_REQUEST_BYTES,
        request_timeout_ms=_ms(REQUEST_TIMEOUT_S),
        retry_backoff_ms=_ms(RETRY_BACKOFF_S),
    )


async def send(
    producer: AIOKafkaProducer,
    topic: str,
    value: bytes,
    *,
    key: bytes | None,
    headers: Sequence[tuple[str, bytes]] = (),
) -> None:
    """Return once all replicas in sync have the message.

    Raises ``TimeoutError`` and aiokafka's errors; then the producer must not be used any more,
    since it may still be trying.
    """
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await producer.send_and_wait(topic, value, key=key, headers=headers)


async def _end(producer: AIOKafkaProducer) -> None:
    """Without waiting for what was given up. An idempotent producer tries for ever, also in the
    background of a ``stop`` that was cut off, and once the broker is back its message would come
    behind those that the next producer has sent."""
    sender, waiting = producer._sender, producer._message_accumulator  # noqa: SLF001
    try:
        if sender.sender_task is not None:
            await _close(sender.close())
            for queue in waiting._batches.values():  # noqa: SLF001
                for batch in queue:
                    batch.drain_ready()
                    waiting._pending_batches.add(batch)  # noqa: SLF001
            waiting._batches.clear()  # noqa: SLF001
            waiting.fail_all(ProducerClosed())
    finally:
        # Also when whoever waits for this is told to hurry.
        await _close(producer.stop())


def make_consumer(access: KafkaAccess, group: str, session_timeout: timedelta) -> AIOKafkaConsumer:
    """A consumer of ``group`` that commits nothing by itself and starts with the oldest message.

    ``session_timeout``: a member that is not heard of for this long is held for dead.
    """
    session_s = session_timeout.total_seconds()
    return AIOKafkaConsumer(
        **_options(access),
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


def _options(access: KafkaAccess) -> dict[str, Any]:
    """Raises ``BrokerUnavailable`` for a file of ours that is not there any more."""
    try:
        return {**access.client_options(), "metadata_max_age_ms": _ms(METADATA_AGE_S)}
    except ValueError as error:
        raise BrokerUnavailable(str(error)) from error


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
