"""Hears of changed recordings from PostgreSQL, on one connection for all readers."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from pipeline.stores.catalog_changes import Readers
from pipeline.stores.catalog_rows import SQL
from pipeline.stores.database import AWAY, Database, close_quietly

_CHANNEL = "recording_changes"
_HEARTBEAT_S = 15.0
_DELAY_S, _LONGEST_DELAY_S = 0.1, 5.0
_LOOK_BACK = timedelta(seconds=10)
"""Covers the time between a reader's wish to listen and LISTEN."""


class ChangeListener:
    """Listens to PostgreSQL as long as anybody reads; reconnects for ever."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._readers = Readers()
        self._task: asyncio.Task[None] | None = None
        self._seen_until: datetime | None = None

    async def follow(self) -> AsyncGenerator[UUID, None]:
        if self._task is None:
            self._seen_until = None
            self._task = asyncio.create_task(self._listen_for_ever())
        try:
            async with aclosing(self._readers.follow()) as news:
                async for recording_id in news:
                    yield recording_id
        finally:
            if not self._readers:
                await self._stop()

    async def close(self) -> None:
        self._readers.close()
        await self._stop()

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _listen_for_ever(self) -> None:
        delay_s = _DELAY_S
        while True:
            with suppress(asyncpg.PostgresError, *AWAY):
                connection = await self._database.connect()
                try:
                    delay_s = _DELAY_S
                    await self._listen(connection)
                finally:
                    await close_quietly(connection)
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    async def _listen(self, connection: asyncpg.Connection) -> None:
        """Publish until the connection is gone."""
        gone = asyncio.Event()
        connection.add_termination_listener(lambda _: gone.set())
        await connection.add_listener(
            _CHANNEL, lambda _connection, _pid, _channel, text: self._readers.publish(UUID(text))
        )
        await self._catch_up(connection)
        while not gone.is_set():
            self._seen_until = await connection.fetchval("SELECT clock_timestamp()")
            with suppress(TimeoutError):
                await asyncio.wait_for(gone.wait(), _HEARTBEAT_S)

    async def _catch_up(self, connection: asyncpg.Connection) -> None:
        """Publish what changed since we last listened."""
        since = self._seen_until or await connection.fetchval("SELECT clock_timestamp()")
        for row in await connection.fetch(SQL["changed_recordings"], since - _LOOK_BACK):
            self._readers.publish(row["id"])
