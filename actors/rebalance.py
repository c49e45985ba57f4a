"""Holds a group's rebalance back until the batch in hand is done, and no longer than that."""

import asyncio
import logging
from collections.abc import Collection

from aiokafka import ConsumerRebalanceListener, TopicPartition

# Below the rebalance timeout, so that the group does not hold this member for dead meanwhile.
FINISH_S = 10.0

log = logging.getLogger(__name__)


class RebalanceGate(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Shared by a consumer's coordination, which calls the listener, and the loop that reads.

    The loop holds ``busy`` from the moment it has a batch until that is committed or given up.
    ``hurry`` is set while somebody waits for this: then nothing may wait for a service that is
    away. ``epoch`` changes whenever partitions were taken away: what was read before must not be
    committed after.
    """

    def __init__(self) -> None:
        self.busy = asyncio.Lock()
        self.hurry = asyncio.Event()
        self.epoch = 0

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        log.debug("giving up %d partitions", len(revoked))
        self.hurry.set()
        try:
            async with asyncio.timeout(FINISH_S), self.busy:
                pass
        except TimeoutError:
            log.warning("a batch of tasks is not done after %s s; it will be read again", FINISH_S)
        self.epoch += 1

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self.hurry.clear()
        if assigned:
            log.info("reading %s", ", ".join(f"{p.topic}/{p.partition}" for p in sorted(assigned)))
