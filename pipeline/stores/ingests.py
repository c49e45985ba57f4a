"""Streams that are taken in, in PostgreSQL: written by one process, found again by the next.

Every call may be repeated. Errors: ``CatalogUnavailable``; ``Conflict`` for a stream key that
another stream has.
"""

from dataclasses import fields
from typing import Any

import asyncpg

from pipeline.errors import Conflict
from pipeline.ingest.playlist import Entry
from pipeline.ingest.state import Ingest, Phase
from pipeline.model import StreamEvent
from pipeline.stores.catalog_json import EVENT
from pipeline.stores.catalog_rows import SQL
from pipeline.stores.database import PATIENCE_S, Database
from pipeline.stores.migrations import migrate


class Ingests:
    """Belongs to the event loop that opened it. ``patience_s``: how long calls try."""

    def __init__(self, dsn: str, patience_s: float = PATIENCE_S) -> None:
        self._database = Database(dsn, patience_s)

    async def open(self) -> None:
        await self._database.open(migrate)

    async def close(self) -> None:
        await self._database.close()

    async def all(self) -> tuple[Ingest, ...]:
        rows = await self._database.run(lambda connection: connection.fetch(SQL["ingests"]))
        return tuple(_ingest_from(row) for row in rows)

    async def save(self, state: Ingest) -> None:
        """Segments of an earlier broadcast are forgotten."""
        values = [getattr(state, field.name) for field in fields(state)]

        async def work(connection: asyncpg.Connection) -> None:
            try:
                await connection.execute(SQL["save_ingest"], *values)
            except asyncpg.UniqueViolationError as error:
                raise Conflict(f"Another stream has the stream key {state.stream_key}") from error
            await connection.execute(
                SQL["forget_earlier_segments"], state.stream_id, state.broadcast
            )

        await self._database.transact(work)

    async def forget(self, stream_id: str) -> None:
        await self._execute("forget_ingest", stream_id)

    async def add_segment(self, state: Ingest, entry: Entry) -> None:
        await self._execute(
            "add_ingest_segment",
            *(state.stream_id, state.broadcast, entry.run, entry.number),
            *(entry.duration_s, entry.began_at, entry.is_gap),
        )

    async def segments(self, state: Ingest) -> list[Entry]:
        """Those of its broadcast, in order."""
        rows = await self._database.run(
            lambda connection: connection.fetch(
                SQL["ingest_segments"], state.stream_id, state.broadcast
            )
        )
        return [Entry(**row) for row in rows]

    async def was_told(self, event: StreamEvent) -> bool:
        """Whether just this event was accepted already, by a process that died then."""
        told: bool = await self._database.run(
            lambda connection: connection.fetchval(SQL["has_task"], EVENT.dump(event))
        )
        return told

    async def _execute(self, query: str, *values: Any) -> None:
        await self._database.run(lambda connection: connection.execute(SQL[query], *values))


def _ingest_from(row: asyncpg.Record) -> Ingest:
    return Ingest(**dict(row) | {"phase": Phase(row["phase"])})
