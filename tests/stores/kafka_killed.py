"""An intake of a process of its own, that is killed once PostgreSQL has all that Kafka had."""

import asyncio
import os
import signal
from datetime import timedelta

from actors.kafka_intake import KafkaIntake
from pipeline.kafka_access import KafkaAccess
from pipeline.model import StreamEvent
from pipeline.stores.catalog import Accepted
from pipeline.stores.catalog_postgres import PostgresCatalog
from tests.stores.kafka_world import SESSION_TIMEOUT

TASKS = 50


def main(dsn: str, broker: str, topic: str, group: str) -> None:
    asyncio.run(_run(dsn, KafkaAccess(brokers=(broker,)), topic, group))


async def _run(dsn: str, access: KafkaAccess, topic: str, group: str) -> None:
    catalog = PostgresCatalog(dsn, reconnect_window=timedelta(seconds=60), profile="copy")
    await catalog.open()
    accepted = 0

    async def accept(event: StreamEvent) -> Accepted:
        nonlocal accepted
        answer = await catalog.accept(event)
        accepted += 1
        if accepted == TASKS:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    async def poke() -> None: ...

    await KafkaIntake(
        access=access,
        topic=topic,
        group=group,
        accept=accept,
        poke=poke,
        session_timeout=SESSION_TIMEOUT,
    ).run()
