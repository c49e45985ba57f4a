"""How far a consumer has come: committed offsets, and what lies behind them.

The consumer's position counts, not the last message: behind that may lie what is no message, the
markers of other producers' transactions, aborted messages and gaps that compaction left. Only so
does a topic that was read to its end show no lag, to us and to those who watch the group.
"""

import asyncio
import logging

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from actors.kafka_link import broker_errors
from actors.rebalance import RebalanceGate
from pipeline.metrics import request

COMMIT_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class ProgressMarks:
    """Of one consumer. To be called only while everything that it returned is durable."""

    def __init__(self, consumer: AIOKafkaConsumer, gate: RebalanceGate) -> None:
        self._consumer = consumer
        self._gate = gate
        self._epoch = gate.epoch
        self._committed: dict[TopicPartition, int] = {}

    async def commit(self) -> None:
        """Commit what has moved since the last call. Raises ``BrokerUnavailable``."""
        if self._epoch != self._gate.epoch:
            self._epoch, self._committed = self._gate.epoch, {}
        with broker_errors():
            try:
                async with asyncio.timeout(COMMIT_TIMEOUT_S):
                    positions = await self._positions()
                    moved = dict(positions.items() - self._committed.items())
                    if moved:
                        with request("kafka", "commit", away=(KafkaError,)):
                            await self._consumer.commit(moved)
                    self._committed = positions
            except (CommitFailedError, IllegalStateError) as error:
                # The group gave the partitions to another member, which reads these messages again.
                log.info("partitions were taken away before a commit: %r", error)

    def lag(self) -> int:
        """Messages that were waiting when we last looked, up to the first open transaction."""
        assigned = self._consumer.assignment()
        return sum(
            max(0, fetched_end(self._consumer, partition) - position)
            for partition, position in self._committed.items()
            if partition in assigned
        )

    async def _positions(self) -> dict[TopicPartition, int]:
        """Of the partitions that have answered since they were assigned: of others, a broker that
        is away may keep us waiting."""
        known = [p for p in self._consumer.assignment() if self._consumer.highwater(p) is not None]
        return {partition: await self._consumer.position(partition) for partition in known}


def fetched_end(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int:
    """Behind the last message that may be read, as the last fetch told it."""
    stable = consumer.last_stable_offset(partition)
    if stable is None or stable < 0:
        return consumer.highwater(partition) or 0
    return int(stable)
