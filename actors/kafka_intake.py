"""Tasks from Kafka into the catalogue: nothing is lost, and no message holds up the next.

An offset is committed only after every message before it is durable, in the catalogue or as a dead
letter. So a message may be read twice, which the catalogue bears, but never skipped.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import chain
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from actors.dead_letters import dead_letter_topic
from actors.kafka_link import (
    broker_errors,
    ensure_topics,
    make_consumer,
    open_producer,
    started,
)
from actors.loops import RetryingLoop
from actors.progress_marks import ProgressMarks, fetched_end
from actors.rebalance import RebalanceGate
from actors.task_batch import Accept, Settler
from pipeline.errors import BrokerUnavailable
from pipeline.kafka_access import KafkaAccess

PARTITIONS = 4
BATCH_RECORDS = 200
POLL_S = 0.5
POKE_TIMEOUT_S = 2.0
# Without news for this long the broker is asked whether it and the topic are still there.
QUIET_S = 10.0
ASK_TIMEOUT_S = 5.0
LAG_TIMEOUT_S = 2.0
STOP_GRACE_S = 2.5
# The shortest that Kafka brokers allow by default: another member soon takes over from a dead one.
SESSION_TIMEOUT = timedelta(seconds=6)

log = logging.getLogger(__name__)

Batch = Mapping[TopicPartition, Sequence[ConsumerRecord]]


class KafkaIntake:
    """Reads the tasks topic. ``accept`` makes an event durable; ``poke`` wakes those who act on it.

    What ``accept`` may raise: see ``actors.task_batch.Settler``.
    """

    def __init__(
        self,
        *,
        access: KafkaAccess,
        topic: str,
        group: str,
        accept: Accept,
        poke: Callable[[], Awaitable[None]],
        session_timeout: timedelta = SESSION_TIMEOUT,
    ) -> None:
        self._access = access
        self._topic = topic
        self._group = group
        self._poke = poke
        self._session_timeout = session_timeout
        self._settler = Settler(accept)
        self._gate = RebalanceGate()
        self._loop = RetryingLoop("Kafka intake", self._session)
        self._consumer: AIOKafkaConsumer | None = None
        self._lag = 0

    async def run(self) -> None:
        """Read until ``stop``."""
        await self._loop.run()

    async def stop(self) -> None:
        """Finish the batch in hand if that is possible within 5 s; leave the group."""
        self._loop.stopping.set()
        self._gate.hurry.set()
        await self._loop.stop(STOP_GRACE_S)

    @property
    def is_running(self) -> bool:
        return self._loop.is_running

    @property
    def last_error(self) -> str | None:
        """Why it does not work now."""
        return self._settler.catalog_error or self._loop.last_error

    def status(self) -> dict[str, Any]:
        """``lag``: messages that were waiting when we last looked; counts are since the start."""
        return {
            "running": self._loop.is_running,
            "accepted": self._settler.accepted,
            "dead_letters": self._settler.dead_letters,
            "lag": self._lag,
            "error": self.last_error,
        }

    async def lag(self) -> int | None:
        """Messages that wait or are not durable yet, of the partitions that are ours, as the broker
        knows it now; None if it does not tell."""
        consumer = self._consumer
        if consumer is None:
            return None
        partitions = consumer.assignment()
        try:
            with broker_errors():
                async with asyncio.timeout(LAG_TIMEOUT_S):
                    # At once: each waits behind a fetch that waits for messages.
                    ends, begins, *done = await asyncio.gather(
                        consumer.end_offsets(partitions),
                        consumer.beginning_offsets(partitions),
                        *map(consumer.committed, partitions),
                    )
        except BrokerUnavailable as error:
            log.debug("the lag is not known: %s", error)
            return None
        # The embedded broker counts a last batch as one message; what was fetched tells more.
        behind = (max(ends[tp], fetched_end(consumer, tp)) for tp in partitions)
        first = (max(at or 0, begins[tp]) for tp, at in zip(partitions, done, strict=True))
        return sum(int(end - begin) for end, begin in zip(behind, first, strict=True))

    async def _session(self) -> None:
        await ensure_topics(
            self._access, {self._topic: PARTITIONS, dead_letter_topic(self._topic): 1}
        )
        self._gate = RebalanceGate()
        consumer = make_consumer(self._access, self._group, self._session_timeout)
        consumer.subscribe([self._topic], listener=self._gate)
        # A letter may be refused for its size, and the next one must be taken all the same.
        letters = open_producer(self._access, idempotent=False)
        async with letters as producer, started(consumer):
            self._loop.succeeded()
            self._consumer = consumer
            try:
                await self._read(consumer, producer)
            finally:
                self._consumer = None

    async def _read(self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
        clock = asyncio.get_running_loop().time
        heard_at = clock()
        marks = ProgressMarks(consumer, self._gate)
        while not self._loop.stopping.is_set():
            batch = await _next_batch(consumer)
            # No await since the batch was read: a rebalance cannot have come in between.
            async with self._gate.busy:
                accepted_before = self._settler.accepted
                if await self._is_settled(batch, producer):
                    await marks.commit()
                    self._lag = marks.lag()
                if self._settler.accepted > accepted_before:
                    await self._wake_others()
            if batch:
                heard_at = clock()
            elif clock() - heard_at >= QUIET_S:
                await self._ask_for_topic(consumer)
                heard_at = clock()

    async def _is_settled(self, batch: Batch, producer: AIOKafkaProducer) -> bool:
        """Whether all that was read is durable, and still ours to commit."""
        if not batch:
            return not self._gate.hurry.is_set()
        epoch = self._gate.epoch
        records = chain.from_iterable(batch.values())
        is_durable = await self._settler.settle(records, producer, give_up=self._gate.hurry)
        return is_durable and self._gate.epoch == epoch

    async def _ask_for_topic(self, consumer: AIOKafkaConsumer) -> None:
        """A broker that is away, or came back empty, looks like a topic without news."""
        with broker_errors():
            async with asyncio.timeout(ASK_TIMEOUT_S):
                topics = await consumer.topics()
        if self._topic not in topics:
            raise BrokerUnavailable(
                f"Kafka shows no topic {self._topic}: it is missing, or we may not describe it"
            )

    async def _wake_others(self) -> None:
        try:
            async with asyncio.timeout(POKE_TIMEOUT_S):
                await self._poke()
        except Exception as error:  # noqa: BLE001 - they look by themselves, only later
            log.warning("could not wake the supervisors: %r", error)


async def _next_batch(consumer: AIOKafkaConsumer) -> Batch:
    """What came within ``POLL_S``; empty after ``QUIET_S`` of waiting for a rebalance to end."""
    batch: Batch = {}
    with broker_errors(), suppress(TimeoutError):
        async with asyncio.timeout(QUIET_S):
            batch = await consumer.getmany(timeout_ms=int(POLL_S * 1000), max_records=BATCH_RECORDS)
    return batch
