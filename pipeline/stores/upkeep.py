"""What keeps the catalogue and the buckets from growing for ever, in PostgreSQL: which recordings
are too old, whose source may go, which names are nobody's any more, which rows nobody needs.

Every call may be repeated. Errors: ``CatalogUnavailable``.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from pipeline.errors import Conflict
from pipeline.model import Recording
from pipeline.stores.catalog_json import ETAGS, RENDITIONS, REPORT
from pipeline.stores.catalog_rows import SQL, recording_from, recording_parameters
from pipeline.stores.database import Database

TASKS_KEPT = timedelta(days=90)
"""An event that is sent again within it does nothing more. Also of deleted recordings' rows: late
word of their streams makes no new one."""
CHANGES_KEPT = timedelta(days=7)
"""Of changes that were published; others wait as long as tasks are kept."""
AUDIT_KEPT = timedelta(days=400)

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who has a name of results. ``is_gone``: a recording that has nothing in the bucket any more;
    ``renditions``: names of those that it had, as far as they are known."""

    is_gone: bool
    renditions: tuple[str, ...] = ()


class Upkeep:
    """On the catalogue's database, which must be open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def expired(self, before: datetime, limit: int | None = None) -> tuple[Recording, ...]:
        """Final recordings, oldest first, that were completed before then, or failed and were
        begun before, and are not to be kept."""
        rows = await self._fetch("expired_recordings", before, limit)
        return tuple(map(recording_from, rows))

    # --- what the bucket says of its recordings ------------------------------------------------
    async def to_note(self, limit: int) -> tuple[Recording, ...]:
        """Completed recordings that have changed since the bucket was told of them."""
        return tuple(map(recording_from, await self._fetch("recordings_to_note", limit)))

    async def mark_noted(self, recording: Recording) -> None:
        """It was told of the recording as it is here."""
        await self._fetch("mark_noted", recording.id, recording.updated_at)

    async def knows(self, recording_id: UUID) -> bool:
        """Whether there is a row of it, be it deleted."""
        return bool(await self._fetch("has_recording", recording_id))

    async def add(self, recording: Recording, report: Mapping[str, Any]) -> None:
        """A row for a completed recording of which there is none; nobody is told of it anew.

        Raises ``Conflict`` where another recording has its name.
        """

        async def work(connection: asyncpg.Connection) -> None:
            name = recording.object_name
            claimed = await connection.fetchval(SQL["claim_name"], name, recording.id)
            if claimed is None:
                owner = await connection.fetchval(SQL["owner_of_name"], name)
                if owner != recording.id:
                    raise Conflict(f"{name} is the recording {owner} already")
            await connection.execute(SQL["save_recording"], *recording_parameters(recording))
            await connection.execute(SQL["save_report"], recording.id, REPORT.dump(dict(report)))
            await connection.execute(SQL["tell_nobody"], recording.id)

        await self._database.transact(work)

    # --- sources that may go -------------------------------------------------------------------
    async def save_source(self, recording_id: UUID, etags: Mapping[str, str]) -> None:
        """``etags``: of the objects that its playlists named, by key."""
        await self._fetch("save_source_objects", recording_id, ETAGS.dump(dict(etags)))

    async def sources_due(
        self, before: datetime, limit: int
    ) -> tuple[tuple[Recording, Mapping[str, str]], ...]:
        """Recordings that were completed before then, with the objects of their sources; but those
        whose stream, or whose playlist, is being recorded again, or may be about to be."""
        rows = await self._fetch("source_objects_due", before, limit)
        return tuple((recording_from(row), ETAGS.load(row["objects"])) for row in rows)

    async def forget_source(self, recording_id: UUID) -> None:
        await self._fetch("forget_source_objects", recording_id)

    # --- what is nobody's any more -------------------------------------------------------------
    async def owners(
        self, names: Collection[str], failed_before: datetime | None = None
    ) -> dict[str, Owner]:
        """Of those of ``names`` that were ever claimed. One that has failed is gone if it has not
        changed since ``failed_before``."""
        rows = await self._fetch("owners_of_names", list(names), failed_before)
        return {
            row["name"]: Owner(
                is_gone=row["is_gone"],
                renditions=tuple(r.name for r in RENDITIONS.load(row["renditions"] or "[]")),
            )
            for row in rows
        }

    async def prune(self, now: datetime) -> dict[str, int]:
        """Delete rows that are older than anybody needs them; how many of each table, of so many
        at a time that nobody waits for it."""
        old = now - TASKS_KEPT
        pruned = {
            "tasks": await self._prune("prune_tasks", old),
            "state_changes": await self._prune("prune_changes", now - CHANGES_KEPT, old),
            "audit": await self._prune("prune_audit", now - AUDIT_KEPT),
            "recordings": await self._prune("prune_recordings", old),
        }
        return {table: count for table, count in pruned.items() if count}

    async def _prune(self, query: str, *cutoffs: datetime) -> int:
        count = 0
        while True:
            deleted = len(await self._fetch(query, *cutoffs, _AT_ONCE))
            count += deleted
            if deleted < _AT_ONCE:
                return count

    async def _fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._database.run(lambda connection: connection.fetch(SQL[query], *arguments))
