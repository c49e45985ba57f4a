"""``Catalog`` in memory, for tests and ``convert``: the same decisions and folds, gone at exit."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any
from uuid import UUID, uuid4

from pipeline.chunk_map import ChunkOutcome, ChunkOutline
from pipeline.errors import Conflict, RecordingNotFound
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
from pipeline.stores.catalog_changes import Readers
from pipeline.tasks import Attach, Create, Decision, LookAtSource, Wait, is_same_stream, resolve

Fold = Callable[[Recording], Recording]


@dataclass(slots=True)
class _Ledger:
    source: SourceState | None = None
    findings: list[Finding] = field(default_factory=list)
    uploads: dict[str, Upload] = field(default_factory=dict)
    planned: dict[int, ChunkSpec] = field(default_factory=dict)
    finished: dict[tuple[int, str], ChunkRecord] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Task:
    event: StreamEvent
    accepted: Accepted
    is_decided: bool


class MemoryCatalog:
    """See ``Catalog``. No method waits in its middle, so each is atomic."""

    def __init__(self, *, reconnect_window: timedelta, profile: str) -> None:
        self._reconnect_window = reconnect_window
        self._profile = profile
        self._recordings: dict[UUID, Recording] = {}
        self._reports: dict[UUID, Mapping[str, Any]] = {}
        self._ledgers: dict[UUID, _Ledger] = {}
        self._names: set[str] = set()
        self._tasks: dict[int, _Task] = {}
        self._unpublished: dict[int, StateChange] = {}
        self._change_count = 0
        self._to_remove: set[UUID] = set()
        self._readers = Readers()

    async def open(self) -> None: ...

    async def close(self) -> None:
        self._readers.close()

    async def ping(self) -> None: ...

    # --- tasks ---------------------------------------------------------------------------------
    async def accept(self, event: StreamEvent) -> Accepted:
        event = folds.checked(event, datetime.now(UTC))
        for task in self._tasks.values():
            if event.request_id is not None and task.event.request_id == event.request_id:
                return task.accepted
        return self._settle(len(self._tasks) + 1, event, resolve)

    async def undecided(self) -> tuple[tuple[int, StreamEvent], ...]:
        return tuple((id_, task.event) for id_, task in self._tasks.items() if not task.is_decided)

    async def decide(self, task_id: int, fingerprint: str | None) -> Accepted:
        task = self._tasks.get(task_id)
        if task is None:
            raise Conflict(f"There is no task {task_id}")
        if task.is_decided:
            return task.accepted
        knowing = partial(resolve, looked=True, fingerprint=fingerprint)
        return self._settle(task_id, task.event, knowing)

    def _settle(
        self, task_id: int, event: StreamEvent, decide: Callable[..., Decision]
    ) -> Accepted:
        known = [r for r in self._newest_first() if is_same_stream(event, r)]
        decision = decide(event, known, reconnect_window=self._reconnect_window)
        recording_id: UUID | None = None
        match decision:
            case Attach():
                recording_id = decision.recording_id
                before = self._recordings[recording_id]
                self._save(before, folds.attached(before, event, decision))
            case Create():
                recording_id = uuid4()
                now = datetime.now(UTC)
                new = folds.created_from(
                    event, recording_id=recording_id, now=now, profile=self._profile
                )
                self._ledgers[recording_id] = _Ledger()
                self._save(None, new)
        outcome = folds.in_words(decision)
        accepted = Accepted(task_id=task_id, recording_id=recording_id, outcome=outcome)
        is_decided = not isinstance(decision, LookAtSource | Wait)
        self._tasks[task_id] = _Task(event, accepted, is_decided)
        return accepted

    # --- recordings ----------------------------------------------------------------------------
    async def get(self, recording_id: UUID) -> Recording:
        return self._get(recording_id)

    async def look_up(self, recording_id: UUID) -> Recording:
        deleted = self._recordings.get(recording_id)
        return deleted or self._get(recording_id)

    async def list(
        self,
        *,
        limit: int = 100,
        before: tuple[datetime, UUID] | None = None,
        wanted: Wanted = EVERYTHING,
    ) -> tuple[Recording, ...]:
        found = [r for r in self._newest_first() if wanted.holds(r) and not r.deleted_at]
        if before is not None:
            found = [r for r in found if (r.created_at, r.id) < before]
        return tuple(found[:limit])

    async def unfinished(self) -> tuple[Recording, ...]:
        return tuple(r for r in reversed(self._newest_first()) if not r.status.is_final)

    async def tally(self) -> Mapping[Status, Tally]:
        now = datetime.now(UTC)
        of_status: dict[Status, list[Recording]] = {}
        for recording in self._newest_first():
            if recording.deleted_at is None:
                of_status.setdefault(recording.status, []).append(recording)
        return {
            status: Tally(
                recordings=len(those),
                file_size=sum(one.file_size for one in those),
                unchanged_s=(now - min(one.updated_at for one in those)).total_seconds(),
            )
            for status, those in of_status.items()
        }

    async def to_supervise(self) -> tuple[Recording, ...]:
        return tuple(r for r in await self.unfinished() if self._ledger(r.id).source)

    async def set_source(self, recording_id: UUID, source: str, fingerprint: str | None) -> None:
        self._change(recording_id, lambda r: folds.sourced(r, source, fingerprint))

    async def is_repeat(self, recording_id: UUID, fingerprint: str) -> bool:
        mine = self._get(recording_id)
        return any(
            other.fingerprint == fingerprint
            and other.status is not Status.FAILED
            and (other.created_at, other.id) < (mine.created_at, mine.id)
            and is_same_stream(mine, other)
            for other in self._recordings.values()
        )

    async def claim_name(self, recording_id: UUID, names: Sequence[str]) -> str:
        recording = self._get(recording_id)
        if recording.object_name is not None:
            return recording.object_name
        for name in names:
            if name not in self._names:
                self._names.add(name)
                self._save(recording, folds.named(recording, name))
                return name
        raise Conflict(f"None of these names is free: {', '.join(names)}")

    async def report_progress(self, recording_id: UUID, duration: int, progress: Progress) -> None:
        self._change(recording_id, lambda r: folds.progressed(r, duration, progress))

    async def mark_ended(self, recording_id: UUID, ended_at: datetime, reason: EndReason) -> None:
        self._change(recording_id, lambda r: folds.ended(r, ended_at, reason))

    async def mark_processing(self, recording_id: UUID) -> None:
        self._change(recording_id, folds.processing)

    async def mark_publishing(self, recording_id: UUID) -> None:
        self._change(recording_id, folds.publishing)

    async def complete(
        self, recording_id: UUID, completion: Completion, report: Mapping[str, Any]
    ) -> Recording:
        resumable = bool(self._reconnect_window)
        return self._change(
            recording_id, lambda r: folds.completed(r, completion, resumable=resumable), report
        )

    async def fail(
        self, recording_id: UUID, error: str, report: Mapping[str, Any] | None = None
    ) -> Recording:
        return self._change(recording_id, lambda r: folds.failed(r, error), report)

    # --- changes by people ---------------------------------------------------------------------
    async def describe(
        self, recording_id: UUID, title: str | None, user_id: str | None
    ) -> Recording:
        return self._change(recording_id, lambda r: folds.described(r, title, user_id))

    async def set_keep(self, recording_id: UUID, keep: bool) -> Recording:
        return self._change(recording_id, lambda r: folds.kept(r, keep))

    async def link_video(self, recording_id: UUID, video_id: UUID | None) -> Recording:
        return self._change(recording_id, lambda r: folds.linked(r, video_id))

    async def cancel(self, recording_id: UUID, reason: str) -> Recording:
        return self._change(recording_id, lambda r: folds.cancelled(r, reason))

    async def retry(self, recording_id: UUID) -> Recording:
        has_ledger = self._ledger(recording_id) != _Ledger()
        return self._change(recording_id, lambda r: folds.retried(r, has_ledger=has_ledger))

    async def delete(self, recording_id: UUID, *, spare_kept: bool = False) -> None:
        now = datetime.now(UTC)
        self._change(recording_id, lambda r: folds.deleted(r, now, spare_kept=spare_kept))
        self._to_remove.add(recording_id)

    async def to_remove(self) -> tuple[Recording, ...]:
        return tuple(self._recordings[recording_id] for recording_id in self._to_remove)

    async def mark_removed(self, recording_id: UUID) -> None:
        self._to_remove.discard(recording_id)
        self._ledgers[recording_id] = _Ledger()

    async def report(self, recording_id: UUID) -> Mapping[str, Any] | None:
        self._get(recording_id)
        return self._reports.get(recording_id)

    def _change(
        self, recording_id: UUID, fold: Fold, report: Mapping[str, Any] | None = None
    ) -> Recording:
        before = self._get(recording_id)
        after = self._save(before, fold(before))
        if report is not None and after != before:
            self._reports[recording_id] = dict(report)
        return after

    # --- source --------------------------------------------------------------------------------
    async def to_capture(self, among: Collection[UUID] | None = None) -> tuple[Recording, ...]:
        def is_due(recording: Recording) -> bool:
            if among is not None and recording.id not in among:
                return False
            state = self._ledger(recording.id).source
            return not recording.publishing and not (state and state.is_final_for(recording))

        return tuple(filter(is_due, await self.unfinished()))

    async def open_source(self, recording_id: UUID, opened: Opened) -> None:
        self._open_ledger(recording_id).source = SourceState(opened=opened)

    async def close_source(
        self, recording_id: UUID, last_start_at: datetime | None, problem: str = ""
    ) -> None:
        ledger = self._open_ledger(recording_id)
        ledger.source = SourceState(
            opened=ledger.source.opened if ledger.source else None,
            is_complete=True,
            last_start_at=last_start_at,
            problem=problem,
        )

    async def source_state(self, recording_id: UUID) -> SourceState | None:
        return self._ledger(recording_id).source

    async def add_finding(self, recording_id: UUID, finding: Finding) -> None:
        findings = self._open_ledger(recording_id).findings
        if finding.number == len(findings):
            findings.append(finding)
        elif findings[finding.number : finding.number + 1] != [finding]:
            raise Conflict(f"There is another finding {finding.number}")

    async def findings(self, recording_id: UUID, first: int = 0) -> tuple[Finding, ...]:
        return tuple(self._ledger(recording_id).findings[first:])

    # --- ledger --------------------------------------------------------------------------------
    async def add_uploads(self, recording_id: UUID, uploads: Sequence[Upload]) -> None:
        ledger = self._open_ledger(recording_id)
        ledger.uploads.update({upload.rendition: upload for upload in uploads})

    async def uploads(self, recording_id: UUID) -> tuple[Upload, ...]:
        uploads = self._ledger(recording_id).uploads
        return tuple(sorted(uploads.values(), key=lambda upload: upload.number))

    async def plan_chunk(self, recording_id: UUID, chunk: ChunkSpec) -> None:
        ledger = self._open_ledger(recording_id)
        is_finished = any(number == chunk.index for number, _ in ledger.finished)
        if is_finished and ledger.planned[chunk.index] != chunk:
            raise Conflict(f"Chunk {chunk.index} is finished and was planned otherwise")
        ledger.planned[chunk.index] = chunk

    async def finish_chunks(self, recording_id: UUID, records: Sequence[ChunkRecord]) -> None:
        ledger = self._open_ledger(recording_id)
        for record in records:
            if record.index_number not in ledger.planned:
                raise Conflict(f"Chunk {record.index_number} is not planned")
        ledger.finished.update({(r.index_number, r.rendition): r for r in records})

    async def forget_parts(self, recording_id: UUID) -> int:
        if (await self.get(recording_id)).status.is_final:
            return 0
        ledger = self._ledger(recording_id)
        lost = {r.index_number for r in ledger.finished.values() if r.part is not None}
        ledger.finished = {k: r for k, r in ledger.finished.items() if r.index_number not in lost}
        return len(lost)

    async def planned(self, recording_id: UUID) -> tuple[ChunkSpec, ...]:
        return tuple(chunk for _, chunk in sorted(self._ledger(recording_id).planned.items()))

    async def finished(self, recording_id: UUID) -> tuple[ChunkRecord, ...]:
        finished = self._ledger(recording_id).finished
        return tuple(finished[key] for key in sorted(finished))

    async def outlines(self, recording_id: UUID, first: int = 0) -> tuple[ChunkOutline, ...]:
        return tuple(
            ChunkOutline(index=one.index, start_s=one.main.start_s, media_s=one.main.duration_s)
            for one in await self.planned(recording_id)
            if one.index >= first
        )

    async def outcomes(
        self, recording_id: UUID, numbers: Collection[int]
    ) -> tuple[ChunkOutcome, ...]:
        records = await self.finished(recording_id)
        return tuple(
            _outcome(index, list(of_one))
            for index, of_one in groupby(records, lambda record: record.index_number)
            if index in numbers
        )

    async def settleable(self) -> tuple[Recording, ...]:
        before = datetime.now(UTC) - self._reconnect_window - folds.LATE
        return tuple(
            recording
            for recording in self._recordings.values()
            if recording.status.is_final
            and recording.deleted_at is None
            and self._ledger(recording.id) != _Ledger()
            and (not recording.resumable or recording.updated_at < before)
        )

    async def forget_ledger(self, recording_id: UUID) -> None:
        self._change(recording_id, folds.settled)
        self._ledgers[recording_id] = _Ledger()

    # --- news ----------------------------------------------------------------------------------
    def changes(self) -> AsyncGenerator[UUID, None]:
        return self._readers.follow()

    async def unpublished(self, limit: int = 100) -> tuple[StateChange, ...]:
        return tuple(
            replace(change, recording=self._recordings[change.recording.id])
            for change in [*self._unpublished.values()][:limit]
        )

    async def mark_published(self, ids: Sequence[int]) -> None:
        for id_ in ids:
            self._unpublished.pop(id_, None)

    def _get(self, recording_id: UUID) -> Recording:
        found = self._recordings.get(recording_id)
        if found is None or found.deleted_at is not None:
            raise RecordingNotFound(f"There is no recording {recording_id}")
        return found

    def _save(self, before: Recording | None, after: Recording) -> Recording:
        if after == before:
            return after
        after = folds.touched(after, datetime.now(UTC))
        self._recordings[after.id] = after
        if before is None or before.status is not after.status:
            self._change_count += 1
            self._unpublished[self._change_count] = StateChange(
                id=self._change_count,
                recording=after,
                status=after.status,
                changed_at=after.updated_at,
            )
        self._readers.publish(after.id)
        return after

    def _newest_first(self) -> Sequence[Recording]:
        return sorted(self._recordings.values(), key=lambda r: (r.created_at, r.id), reverse=True)

    def _ledger(self, recording_id: UUID) -> _Ledger:
        return self._ledgers.get(recording_id, _Ledger())

    def _open_ledger(self, recording_id: UUID) -> _Ledger:
        folds.refuse_final(self._get(recording_id))
        return self._ledgers[recording_id]


def _outcome(index: int, records: Sequence[ChunkRecord]) -> ChunkOutcome:
    main = next((record for record in records if "lost" in record.report), None)
    return ChunkOutcome(
        index=index,
        size_bytes=sum(record.size_bytes for record in records),
        report={k: v for k, v in main.report.items() if k != "tiles"} if main else {},
    )
