"""``Catalog`` in PostgreSQL.

Every change of a recording is a fold (``folds``) over its locked row. The schema's trigger writes
the outbox and notifies, so that no change can forget to.
"""

import hashlib
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from pipeline.chunk_map import ChunkOutcome, ChunkOutline
from pipeline.errors import CatalogUnavailable, Conflict, RecordingNotFound
from pipeline.metrics import COUNTS, TASKS
from pipeline.model import (
    ChunkRecord,
    ChunkSpec,
    EndReason,
    Finding,
    Opened,
    Progress,
    Recording,
    SourceState,
    Status,
    StreamEvent,
    Upload,
)
from pipeline.stores import folds
from pipeline.stores.catalog import EVERYTHING, Accepted, Completion, StateChange, Tally, Wanted
from pipeline.stores.catalog_json import CHUNK, EVENT, FOUND, OPENED, REPORT, storable
from pipeline.stores.catalog_listener import ChangeListener
from pipeline.stores.catalog_rows import (
    COLUMNS,
    SQL,
    chunk_from,
    chunk_parameters,
    recording_from,
    recording_parameters,
    source_from,
    upload_from,
    upload_parameters,
)
from pipeline.stores.database import PATIENCE_S, Database
from pipeline.stores.listing import page_query
from pipeline.stores.migrations import migrate
from pipeline.stores.together import Together
from pipeline.tasks import (
    Attach,
    Create,
    Decision,
    LookAtSource,
    Wait,
    is_same_stream,
    resolve,
)

_KNOWN = 20
"""How many recordings of a stream an event is compared with, newest first."""
_PING_S = 3.0

Fold = Callable[[Recording], Recording]


class PostgresCatalog:
    """See ``Catalog``. Belongs to the event loop that opened it."""

    def __init__(
        self,
        dsn: str,
        *,
        reconnect_window: timedelta,
        profile: str,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._database = Database(dsn, patience_s)
        self._listener = ChangeListener(self._database)
        self._reconnect_window = reconnect_window
        self._profile = profile
        self._inbox = Together(self._accept_all, shared=CatalogUnavailable)

    @property
    def database(self) -> Database:
        return self._database

    async def open(self) -> None:
        await self._database.open(migrate)

    async def close(self) -> None:
        await self._inbox.close()
        await self._listener.close()
        await self._database.close()

    async def ping(self) -> None:
        await self._database.run(
            lambda connection: connection.fetchval("SELECT 1"), patience_s=_PING_S
        )

    # --- tasks ---------------------------------------------------------------------------------
    async def accept(self, event: StreamEvent) -> Accepted:
        accepted = await self._inbox.call(folds.checked(event, datetime.now(UTC)))
        COUNTS.count(TASKS, event.origin)
        return accepted

    async def _accept_all(self, events: Sequence[StreamEvent]) -> Sequence[Accepted]:
        """In one transaction, in their order."""
        # The same in every try: a lost COMMIT must not accept twice.
        requests = [event.request_id or uuid4() for event in events]

        async def work(connection: asyncpg.Connection) -> Sequence[Accepted]:
            dumped = [EVENT.dump(event) for event in events]
            keys = _lock_keys(events)
            tasks = await connection.fetch(SQL["add_tasks"], requests, dumped, keys)
            asked = dict(zip(requests, events, strict=True))
            settled = await self._settle(
                connection, [(task, asked[task["request_id"]]) for task in tasks], resolve
            )
            accepted = dict(zip((task["request_id"] for task in tasks), settled, strict=True))
            if before := asked.keys() - accepted.keys():
                for task in await connection.fetch(SQL["tasks_of_requests"], list(before)):
                    accepted[task["request_id"]] = _accepted(task)
            return [accepted[request] for request in requests]

        return await self._database.transact(work)

    async def undecided(self) -> tuple[tuple[int, StreamEvent], ...]:
        rows = await self._fetch("undecided_tasks")
        return tuple((row["id"], EVENT.load(row["event"])) for row in rows)

    async def decide(self, task_id: int, fingerprint: str | None) -> Accepted:
        async def work(connection: asyncpg.Connection) -> Accepted:
            task = await connection.fetchrow(SQL["task"], task_id)
            if task is None:
                raise Conflict(f"There is no task {task_id}")
            event = EVENT.load(task["event"])
            await connection.execute(SQL["lock_keys"], _lock_keys([event]))
            task = await connection.fetchrow(SQL["task"], task_id)
            if task["decided_at"] is not None:
                return _accepted(task)
            knowing = partial(resolve, looked=True, fingerprint=fingerprint)
            (accepted,) = await self._settle(connection, [(task, event)], knowing)
            return accepted

        return await self._database.transact(work)

    async def _settle(
        self,
        connection: asyncpg.Connection,
        tasks: Sequence[tuple[asyncpg.Record, StreamEvent]],
        decide: Callable[..., Decision],
    ) -> Sequence[Accepted]:
        """Decide one after the other, and carry it out. The events' keys are locked."""
        if not tasks:
            return ()
        ids = [event.stream_id for _, event in tasks]
        keys = [event.stream_key for _, event in tasks]
        rows = await connection.fetch(SQL["known_recordings"], ids, keys, _KNOWN)
        known = [recording_from(row) for row in rows]
        changed: list[Recording] = []
        settled: list[tuple[int, UUID | None, str, bool]] = []
        for task, event in tasks:
            same = [recording for recording in known if is_same_stream(event, recording)]
            decision = decide(event, same[:_KNOWN], reconnect_window=self._reconnect_window)
            recording_id: UUID | None = None
            match decision:
                case Attach():
                    recording_id = decision.recording_id
                    at = next(n for n, r in enumerate(known) if r.id == recording_id)
                    after = folds.attached(known[at], event, decision)
                    changed += [after] if after != known[at] else []
                    known[at] = after
                case Create():
                    recording_id = uuid4()
                    new = folds.created_from(
                        event, recording_id=recording_id, now=task["now"], profile=self._profile
                    )
                    changed.append(new)
                    known.insert(0, new)
            is_decided = not isinstance(decision, LookAtSource | Wait)
            settled.append((task["id"], recording_id, folds.in_words(decision), is_decided))
        if changed:
            # Each step, since each state that a recording was in is told to others.
            await connection.executemany(
                SQL["save_recording"], [recording_parameters(recording) for recording in changed]
            )
        await connection.execute(SQL["settle_tasks"], *map(list, zip(*settled, strict=True)))
        return [
            Accepted(task_id=task_id, recording_id=recording_id, outcome=outcome)
            for task_id, recording_id, outcome, _ in settled
        ]

    # --- recordings ----------------------------------------------------------------------------
    async def get(self, recording_id: UUID) -> Recording:
        rows = await self._fetch("recording", recording_id)
        return recording_from(_only(rows, recording_id))

    async def look_up(self, recording_id: UUID) -> Recording:
        rows = await self._fetch("any_recording", recording_id)
        return recording_from(_only(rows, recording_id))

    async def list(
        self,
        *,
        limit: int = 100,
        before: tuple[datetime, UUID] | None = None,
        wanted: Wanted = EVERYTHING,
    ) -> tuple[Recording, ...]:
        statement, parameters = page_query(COLUMNS, wanted, before, limit)
        rows = await self._database.run(lambda connection: connection.fetch(statement, *parameters))
        return tuple(map(recording_from, rows))

    async def unfinished(self) -> tuple[Recording, ...]:
        return tuple(map(recording_from, await self._fetch("unfinished_recordings")))

    async def tally(self) -> Mapping[Status, Tally]:
        rows = await self._database.run(
            lambda connection: connection.fetch(SQL["tally"]), patience_s=_PING_S
        )
        return {
            Status(row["status"]): Tally(
                recordings=row["recordings"],
                file_size=row["file_size"],
                unchanged_s=row["unchanged_s"],
            )
            for row in rows
        }

    async def to_supervise(self) -> tuple[Recording, ...]:
        return tuple(map(recording_from, await self._fetch("recordings_to_supervise")))

    async def set_source(self, recording_id: UUID, source: str, fingerprint: str | None) -> None:
        await self._change(recording_id, lambda r: folds.sourced(r, source, fingerprint))

    async def is_repeat(self, recording_id: UUID, fingerprint: str) -> bool:
        row = _only(await self._fetch("is_repeat", recording_id, fingerprint), recording_id)
        return bool(row["is_repeat"])

    async def claim_name(self, recording_id: UUID, names: Sequence[str]) -> str:
        async def work(connection: asyncpg.Connection) -> str:
            recording = await _locked(connection, recording_id)
            if recording.object_name is not None:
                return recording.object_name
            for name in names:
                if await connection.fetchval(SQL["claim_name"], name, recording_id) is not None:
                    await _save(connection, recording, folds.named(recording, name))
                    return name
            raise Conflict(f"None of these names is free: {', '.join(names)}")

        return await self._database.transact(work)

    async def report_progress(self, recording_id: UUID, duration: int, progress: Progress) -> None:
        await self._change(recording_id, lambda r: folds.progressed(r, duration, progress))

    async def mark_ended(self, recording_id: UUID, ended_at: datetime, reason: EndReason) -> None:
        await self._change(recording_id, lambda r: folds.ended(r, ended_at, reason))

    async def mark_processing(self, recording_id: UUID) -> None:
        await self._change(recording_id, folds.processing)

    async def mark_publishing(self, recording_id: UUID) -> None:
        await self._change(recording_id, folds.publishing)

    async def complete(
        self, recording_id: UUID, completion: Completion, report: Mapping[str, Any]
    ) -> Recording:
        resumable = bool(self._reconnect_window)
        return await self._change(
            recording_id, lambda r: folds.completed(r, completion, resumable=resumable), report
        )

    async def fail(
        self, recording_id: UUID, error: str, report: Mapping[str, Any] | None = None
    ) -> Recording:
        return await self._change(recording_id, lambda r: folds.failed(r, error), report)

    # --- changes by people ---------------------------------------------------------------------
    async def describe(
        self, recording_id: UUID, title: str | None, user_id: str | None
    ) -> Recording:
        return await self._change(recording_id, lambda r: folds.described(r, title, user_id))

    async def set_keep(self, recording_id: UUID, keep: bool) -> Recording:
        return await self._change(recording_id, lambda r: folds.kept(r, keep))

    async def link_video(self, recording_id: UUID, video_id: UUID | None) -> Recording:
        return await self._change(recording_id, lambda r: folds.linked(r, video_id))

    async def cancel(self, recording_id: UUID, reason: str) -> Recording:
        return await self._change(recording_id, lambda r: folds.cancelled(r, reason))

    async def retry(self, recording_id: UUID) -> Recording:
        async def work(connection: asyncpg.Connection) -> Recording:
            before = await _locked(connection, recording_id)
            has_ledger = await connection.fetchval(SQL["has_ledger"], recording_id)
            return await _save(connection, before, folds.retried(before, has_ledger=has_ledger))

        return await self._database.transact(work)

    async def delete(self, recording_id: UUID, *, spare_kept: bool = False) -> None:
        now = datetime.now(UTC)
        await self._change(recording_id, lambda r: folds.deleted(r, now, spare_kept=spare_kept))

    async def to_remove(self) -> tuple[Recording, ...]:
        return tuple(map(recording_from, await self._fetch("recordings_to_remove")))

    async def mark_removed(self, recording_id: UUID) -> None:
        async def work(connection: asyncpg.Connection) -> None:
            await connection.execute(SQL["forget_ledger"], recording_id)
            await connection.execute(SQL["mark_removed"], recording_id)

        await self._database.transact(work)

    async def report(self, recording_id: UUID) -> Mapping[str, Any] | None:
        row = _only(await self._fetch("report", recording_id), recording_id)
        return None if row["report"] is None else REPORT.load(row["report"])

    async def _change(
        self, recording_id: UUID, fold: Fold, report: Mapping[str, Any] | None = None
    ) -> Recording:
        """Apply ``fold``, and store the report where it made a difference."""

        async def work(connection: asyncpg.Connection) -> Recording:
            before = await _locked(connection, recording_id)
            after = await _save(connection, before, fold(before))
            if report is not None and after != before:
                await connection.execute(
                    SQL["save_report"], recording_id, REPORT.dump(dict(report))
                )
            return after

        return await self._database.transact(work)

    # --- source --------------------------------------------------------------------------------
    async def to_capture(self, among: Collection[UUID] | None = None) -> tuple[Recording, ...]:
        rows = await self._fetch("recordings_to_capture", None if among is None else list(among))
        return tuple(map(recording_from, rows))

    async def open_source(self, recording_id: UUID, opened: Opened) -> None:
        await self._write_source("open_source", recording_id, OPENED.dump(opened))

    async def close_source(
        self, recording_id: UUID, last_start_at: datetime | None, problem: str = ""
    ) -> None:
        await self._write_source("close_source", recording_id, last_start_at, storable(problem))

    async def source_state(self, recording_id: UUID) -> SourceState | None:
        rows = await self._fetch("source_state", recording_id)
        return source_from(rows[0]) if rows else None

    async def add_finding(self, recording_id: UUID, finding: Finding) -> None:
        segments = FOUND.dump(finding.segments)
        await self._write_source("add_finding", recording_id, finding.number, segments)

    async def findings(self, recording_id: UUID, first: int = 0) -> tuple[Finding, ...]:
        return tuple(
            Finding(number=row["number"], segments=FOUND.load(row["segments"]))
            for row in await self._fetch("findings", recording_id, first)
        )

    async def _write_source(self, query: str, recording_id: UUID, *arguments: object) -> None:
        if not await self._fetch(query, recording_id, *arguments):
            folds.refuse_final(await self.get(recording_id))
            raise Conflict("Somebody else captures the same source")

    # --- ledger --------------------------------------------------------------------------------
    async def add_uploads(self, recording_id: UUID, uploads: Sequence[Upload]) -> None:
        await self._write_ledger(
            recording_id, [("save_upload", upload_parameters(upload)) for upload in uploads]
        )

    async def uploads(self, recording_id: UUID) -> tuple[Upload, ...]:
        return tuple(map(upload_from, await self._fetch("uploads", recording_id)))

    async def plan_chunk(self, recording_id: UUID, chunk: ChunkSpec) -> None:
        row = (chunk.index, CHUNK.dump(chunk))
        await self._write_ledger(recording_id, [("plan_chunk", row)])

    async def finish_chunks(self, recording_id: UUID, records: Sequence[ChunkRecord]) -> None:
        await self._write_ledger(
            recording_id, [("finish_chunk", chunk_parameters(record)) for record in records]
        )

    async def forget_parts(self, recording_id: UUID) -> int:
        rows = await self._fetch("forget_parts", recording_id)
        return len({row["number"] for row in rows})

    async def planned(self, recording_id: UUID) -> tuple[ChunkSpec, ...]:
        rows = await self._fetch("planned_chunks", recording_id)
        return tuple(CHUNK.load(row["spec"]) for row in rows)

    async def finished(self, recording_id: UUID) -> tuple[ChunkRecord, ...]:
        return tuple(map(chunk_from, await self._fetch("finished_chunks", recording_id)))

    async def outlines(self, recording_id: UUID, first: int = 0) -> tuple[ChunkOutline, ...]:
        rows = await self._fetch("chunk_outlines", recording_id, first)
        return tuple(ChunkOutline(**row) for row in rows)

    async def outcomes(
        self, recording_id: UUID, numbers: Collection[int]
    ) -> tuple[ChunkOutcome, ...]:
        rows = await self._fetch("chunk_outcomes", recording_id, list(numbers))
        return tuple(ChunkOutcome(**{**row, "report": REPORT.load(row["report"])}) for row in rows)

    async def settleable(self) -> tuple[Recording, ...]:
        rows = await self._fetch("settleable_recordings", self._reconnect_window + folds.LATE)
        return tuple(map(recording_from, rows))

    async def forget_ledger(self, recording_id: UUID) -> None:
        async def work(connection: asyncpg.Connection) -> None:
            before = await _locked(connection, recording_id)
            await _save(connection, before, folds.settled(before))
            await connection.execute(SQL["forget_ledger"], recording_id)

        await self._database.transact(work)

    async def _write_ledger(
        self, recording_id: UUID, rows: Sequence[tuple[str, Sequence[object]]]
    ) -> None:
        """``(query, row)``: each statement answers with a row if the ledger took it."""

        async def work(connection: asyncpg.Connection) -> None:
            for query, row in rows:
                if not await connection.fetch(SQL[query], recording_id, *row):
                    raise Conflict("The chunk is not planned, or finished and planned otherwise")

        try:
            await self._database.transact(work)
        except Conflict:
            folds.refuse_final(await self.get(recording_id))
            raise

    # --- news ----------------------------------------------------------------------------------
    def changes(self) -> AsyncGenerator[UUID, None]:
        return self._listener.follow()

    async def unpublished(self, limit: int = 100) -> tuple[StateChange, ...]:
        return tuple(
            StateChange(
                id=row["change_id"],
                recording=recording_from(row),
                status=Status(row["new_status"]),
                changed_at=row["changed_at"],
            )
            for row in await self._fetch("unpublished_changes", limit)
        )

    async def mark_published(self, ids: Sequence[int]) -> None:
        await self._fetch("mark_published", ids)

    async def _fetch(self, query: str, *arguments: object) -> Sequence[asyncpg.Record]:
        rows: Sequence[asyncpg.Record] = await self._database.run(
            lambda connection: connection.fetch(SQL[query], *arguments)
        )
        return rows


async def _locked(connection: asyncpg.Connection, recording_id: UUID) -> Recording:
    """The recording; nobody else changes it until the transaction ends."""
    rows = await connection.fetch(SQL["recording_for_update"], recording_id)
    return recording_from(_only(rows, recording_id))


async def _save(
    connection: asyncpg.Connection, before: Recording | None, after: Recording
) -> Recording:
    """Write the recording if it differs; returns it as it is now."""
    if after == before:
        return after
    row = await connection.fetchrow(SQL["save_recording"], *recording_parameters(after))
    return folds.touched(after, row["updated_at"])


def _only(rows: Sequence[asyncpg.Record], recording_id: UUID) -> asyncpg.Record:
    if not rows:
        raise RecordingNotFound(f"There is no recording {recording_id}")
    return rows[0]


def _accepted(task: asyncpg.Record) -> Accepted:
    return Accepted(task_id=task["id"], recording_id=task["recording_id"], outcome=task["outcome"])


def _lock_keys(events: Iterable[StreamEvent]) -> list[int]:
    """Advisory locks that make events of one stream wait for each other; sorted, so that two
    transactions cannot each hold what the other one needs."""
    names = {f"stream_id:{event.stream_id}" for event in events}
    names |= {f"stream_key:{event.stream_key}" for event in events if event.stream_key is not None}
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return sorted(int.from_bytes(digest, signed=True) for digest in digests)
