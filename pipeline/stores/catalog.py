"""``Catalog``: the only truth about recordings, in PostgreSQL, or in memory (tests, ``convert``).

Errors: ``CatalogUnavailable`` when it cannot be reached within its bound, ``RecordingNotFound``,
``Conflict`` where the recording's state does not allow the call. Every call may be repeated: done
twice, it is as done once.
"""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from pipeline.chunk_map import ChunkOutcome, ChunkOutline
from pipeline.model import (
    ChunkRecord,
    ChunkSpec,
    EndReason,
    Finding,
    Gap,
    Opened,
    Progress,
    Recording,
    Rendition,
    SourceState,
    Status,
    StreamEvent,
    Upload,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What became of an event. ``recording_id`` is None while it waits for a look at the source,
    and for events that are ignored; ``outcome`` says which, in words."""

    task_id: int
    recording_id: UUID | None
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a finished recording is. ``duration`` in whole seconds, ``file_size`` in bytes."""

    file_path: str
    duration: int
    file_size: int
    completed_at: datetime
    thumbnail_path: str | None = None
    gaps: tuple[Gap, ...] = ()
    renditions: tuple[Rendition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """A change of a recording's status that ``recording.events`` has not been told of yet."""

    id: int
    recording: Recording
    status: Status
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Recordings of one status. ``file_size``: bytes of all their main objects; ``unchanged_s``:
    for how long nothing has changed of the one of which that is longest so."""

    recordings: int = 0
    file_size: int = 0
    unchanged_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which recordings a list is of: all of this has to hold, what is None or empty always does.

    ``text`` is somewhere in the title, the stream's id or the recording's own, in any case;
    ``since`` and ``until`` bound the start.
    """

    statuses: tuple[Status, ...] = ()
    text: str | None = None
    stream_id: str | None = None
    user_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def holds(self, recording: Recording) -> bool:
        searched = f"{recording.title or ''} {recording.stream_id} {recording.id}".lower()
        return (
            (not self.statuses or recording.status in self.statuses)
            and (not self.text or self.text.lower() in searched)
            and self.stream_id in (None, recording.stream_id)
            and self.user_id in (None, recording.user_id)
            and (self.since is None or recording.started_at >= self.since)
            and (self.until is None or recording.started_at < self.until)
        )


EVERYTHING = Wanted()


class Catalog(Protocol):
    """Recordings, the tasks that led to them, and the ledger of their chunks."""

    async def open(self) -> None:
        """Connect and migrate. Safe when several processes do it at once."""

    async def close(self) -> None: ...

    async def ping(self) -> None:
        """Raise ``CatalogUnavailable`` unless it answers."""

    # --- tasks ---------------------------------------------------------------------------------
    async def accept(self, event: StreamEvent) -> Accepted:
        """Write the event down and, where ``pipeline.tasks.resolve`` can tell without looking at
        the source, attach it to a recording or make one; all in one transaction.

        Raises ``InvalidTask`` for text or times that cannot be stored and compared.
        """

    async def undecided(self) -> tuple[tuple[int, StreamEvent], ...]:
        """Events that wait for a look at the source, oldest first."""

    async def decide(self, task_id: int, fingerprint: str | None) -> Accepted:
        """Resolve an undecided event, now knowing the fingerprint of what the source holds.

        ``fingerprint`` is None where the source holds nothing.
        """

    # --- recordings ----------------------------------------------------------------------------
    async def get(self, recording_id: UUID) -> Recording: ...

    async def look_up(self, recording_id: UUID) -> Recording:
        """As ``get``, also one that is deleted: see ``deleted_at``."""

    async def list(
        self,
        *,
        limit: int = 100,
        before: tuple[datetime, UUID] | None = None,
        wanted: Wanted = EVERYTHING,
    ) -> tuple[Recording, ...]:
        """Newest first by ``(created_at, id)``; ``before`` is the last one of the page before."""

    async def unfinished(self) -> tuple[Recording, ...]:
        """Those with status ``recording`` or ``processing``, oldest first."""

    async def tally(self) -> Mapping[Status, Tally]:
        """Of all that are not deleted, by status; without those that there are none of."""

    async def to_supervise(self) -> tuple[Recording, ...]:
        """Unfinished ones whose source was found, or will not be, oldest first."""

    async def set_source(self, recording_id: UUID, source: str, fingerprint: str | None) -> None:
        """Where the playlist was found. A fingerprint that is known stays when None is given."""

    async def is_repeat(self, recording_id: UUID, fingerprint: str) -> bool:
        """Whether an earlier recording of the same stream, one that has not failed, holds this
        content."""

    async def claim_name(self, recording_id: UUID, names: Sequence[str]) -> str:
        """Make the first of ``names`` that no other recording holds this one's object name.

        Returns the name that it already holds, if so. The last of ``names`` must be unique by
        itself (it carries the recording's id). The name stays taken for ever.
        """

    async def report_progress(self, recording_id: UUID, duration: int, progress: Progress) -> None:
        """``duration`` in whole seconds. Numbers never go back; a final recording stays as is."""

    async def mark_ended(self, recording_id: UUID, ended_at: datetime, reason: EndReason) -> None:
        """The source has ended (seen by us). An ``EVENT`` that said so before stays."""

    async def mark_processing(self, recording_id: UUID) -> None:
        """The end is known (by an event or ``mark_ended``) and what is left is being finished.

        Raises ``Conflict`` where it is not: when a stream comes back within the reconnect window,
        ``accept`` takes the end back and makes the recording ``recording`` again.
        """

    async def mark_publishing(self, recording_id: UUID) -> None:
        """The object gets its name now: a stream that comes back is another recording from here
        on. ``Conflict`` if it came back before and is ``recording`` again."""

    async def complete(
        self, recording_id: UUID, completion: Completion, report: Mapping[str, Any]
    ) -> Recording:
        """Only from ``processing``, else ``Conflict``: the stream may be back (``recording``).

        A recording that is completed stays as it is. It is ``resumable`` until its ledger is
        forgotten, unless there is no reconnect window.
        """

    async def fail(
        self, recording_id: UUID, error: str, report: Mapping[str, Any] | None = None
    ) -> Recording:
        """Raises ``Conflict`` for a completed one; a failed one stays as it is.

        One that was completed before its stream came back is so again, with the error beside it.
        """

    # --- changes by people: the rest of the product learns of them as of any other --------------
    async def describe(
        self, recording_id: UUID, title: str | None, user_id: str | None
    ) -> Recording:
        """Set both."""

    async def set_keep(self, recording_id: UUID, keep: bool) -> Recording:
        """Whether it is spared when others of its age are deleted."""

    async def link_video(self, recording_id: UUID, video_id: UUID | None) -> Recording: ...

    async def cancel(self, recording_id: UUID, reason: str) -> Recording:
        """It fails for that reason. Raises ``Conflict`` for one that is completed or is being
        published; one that has failed stays as it is."""

    async def retry(self, recording_id: UUID) -> Recording:
        """A failed one begins anew; others that are not completed go on. Raises ``Conflict`` for a
        completed one, and as long as what is left of the failed one is not removed."""

    async def delete(self, recording_id: UUID, *, spare_kept: bool = False) -> None:
        """Nobody sees it any more: from here on ``RecordingNotFound`` and in no list, but of
        ``to_remove``. Raises ``Conflict`` unless it is final, and for one that is kept if those
        are to be spared."""

    async def to_remove(self) -> tuple[Recording, ...]:
        """Deleted ones whose objects may still be there."""

    async def mark_removed(self, recording_id: UUID) -> None:
        """Its objects are gone."""

    async def report(self, recording_id: UUID) -> Mapping[str, Any] | None: ...

    # --- source --------------------------------------------------------------------------------
    async def to_capture(self, among: Collection[UUID] | None = None) -> tuple[Recording, ...]:
        """Unfinished recordings whose source may hold more than was captured, oldest first: all, or
        those among these."""

    async def open_source(self, recording_id: UUID, opened: Opened) -> None:
        """It was found, and is not complete."""

    async def close_source(
        self, recording_id: UUID, last_start_at: datetime | None, problem: str = ""
    ) -> None:
        """Nothing more comes: see ``SourceState``."""

    async def source_state(self, recording_id: UUID) -> SourceState | None:
        """None until ``open_source`` or ``close_source``."""

    async def add_finding(self, recording_id: UUID, finding: Finding) -> None:
        """Raises ``Conflict`` if that number is another finding's already: somebody else captures
        the same source."""

    async def findings(self, recording_id: UUID, first: int = 0) -> tuple[Finding, ...]:
        """From that number on."""

    # --- ledger: writing to that of a final recording is a ``Conflict`` --------------------------
    async def add_uploads(self, recording_id: UUID, uploads: Sequence[Upload]) -> None:
        """All or none. Replaces those of the same renditions, if there were any."""

    async def uploads(self, recording_id: UUID) -> tuple[Upload, ...]:
        """By number: the main output's first."""

    async def plan_chunk(self, recording_id: UUID, chunk: ChunkSpec) -> None:
        """Replaces the plan of that number unless it is finished: then ``Conflict``."""

    async def finish_chunks(self, recording_id: UUID, records: Sequence[ChunkRecord]) -> None:
        """All or none. Of planned chunks, else ``Conflict``; replaces what was there."""

    async def forget_parts(self, recording_id: UUID) -> int:
        """An upload is gone: chunks that are in parts of an object are not finished any more, in
        any output. Returns how many those are; none of a recording that is final."""

    async def planned(self, recording_id: UUID) -> tuple[ChunkSpec, ...]: ...

    async def finished(self, recording_id: UUID) -> tuple[ChunkRecord, ...]:
        """Of all outputs, by chunk."""

    async def outlines(self, recording_id: UUID, first: int = 0) -> tuple[ChunkOutline, ...]:
        """Planned chunks from that number on, in order."""

    async def outcomes(
        self, recording_id: UUID, numbers: Collection[int]
    ) -> tuple[ChunkOutcome, ...]:
        """Those of these chunks that are finished, in order."""

    async def settleable(self) -> tuple[Recording, ...]:
        """Final recordings that have a ledger and can no longer be resumed: failed, or completed
        longer ago than the reconnect window."""

    async def forget_ledger(self, recording_id: UUID) -> None:
        """Drop source, findings, uploads and chunks of a recording that is final."""

    # --- news ----------------------------------------------------------------------------------
    def changes(self) -> AsyncGenerator[UUID, None]:
        """Ids of recordings as they change (made, progressed, ended), from now on, until ``close``.

        An id may come more often than its recording changed, and once for several changes: readers
        look the row up. Leave it with ``contextlib.aclosing``.
        """

    async def unpublished(self, limit: int = 100) -> tuple[StateChange, ...]: ...

    async def mark_published(self, ids: Sequence[int]) -> None: ...
