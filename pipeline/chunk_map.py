"""The chunk map: each planned chunk of a recording, and what has become of it so far.

Truth is the ledger, afterwards the report; what is on its way adds who has it. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from pipeline.activity import Activity, InFlight, Tried


class ChunkState(StrEnum):
    """``waiting``: for a worker; ``lost``: done, and nothing of it could be kept."""

    PLANNED = "planned"
    WAITING = "waiting"
    WORKING = "working"
    DONE = "done"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkOutline:
    """A planned chunk without its segments; ``start_s``, ``media_s`` as the playlist claims."""

    index: int
    start_s: float
    media_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkOutcome:
    """A finished chunk. ``size_bytes``: of all outputs; ``report``: the main one's."""

    index: int
    size_bytes: int
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkView:
    """One square of the map. ``lost_s``: seconds of media that are missing; ``since_s``: how long
    it has been waiting or working; ``timings_s``: seconds by stage of its worker."""

    index: int
    state: ChunkState
    start_s: float | None = None
    media_s: float | None = None
    size_bytes: int = 0
    lost_s: float = 0.0
    reasons: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    tries: int = 1
    worker: str | None = None
    node: str | None = None
    since_s: float | None = None
    timings_s: Mapping[str, float] = field(default_factory=dict)


def from_outline(outline: ChunkOutline) -> ChunkView:
    return ChunkView(
        index=outline.index,
        state=ChunkState.PLANNED,
        start_s=round(outline.start_s, 3),
        media_s=round(outline.media_s, 3),
    )


def finish(planned: ChunkView, outcome: ChunkOutcome) -> ChunkView:
    """``planned`` as its record in the ledger says it ended."""
    report = outcome.report
    lost = report.get("lost", ())
    is_lost = bool(lost) and not outcome.size_bytes
    return replace(
        planned,
        state=ChunkState.LOST if is_lost else ChunkState.DONE,
        size_bytes=outcome.size_bytes,
        lost_s=round(sum(each["duration_s"] for each in lost), 3),
        reasons=tuple(dict.fromkeys(each["reason"] for each in lost)),
        remedies=tuple(dict.fromkeys(each["remedy"] for each in report.get("remedies", ()))),
        timings_s=dict(report.get("timings_s", {})),
    )


def from_report(report: Mapping[str, Any]) -> tuple[ChunkView, ...]:
    """Of a completed recording: bytes are those of the main output. Reports of earlier versions do
    not tell where chunks begin."""
    return tuple(
        finish(
            ChunkView(
                index=told["chunk"],
                state=ChunkState.DONE,
                start_s=told.get("start_s"),
                media_s=told.get("media_s"),
            ),
            ChunkOutcome(index=told["chunk"], size_bytes=told.get("bytes_out", 0), report=told),
        )
        for told in report.get("chunks", ())
    )


def with_activity(chunks: Iterable[ChunkView], activity: Activity) -> tuple[ChunkView, ...]:
    """And who has them now, or had them last."""
    jobs = {job.chunk: job for job in activity.jobs if job.chunk is not None}
    tried = {each.chunk: each for each in activity.tried}
    workers = {worker.number: worker for worker in activity.workers}

    def told(chunk: ChunkView) -> ChunkView:
        known: InFlight | Tried | None = tried.get(chunk.index)
        job = jobs.get(chunk.index)
        if job is not None and chunk.state is ChunkState.PLANNED:
            state = ChunkState.WAITING if job.worker is None else ChunkState.WORKING
            chunk, known = replace(chunk, state=state, since_s=round(job.since_s, 1)), job
        if known is None:
            return chunk
        worker = None if known.worker is None else workers.get(known.worker)
        return replace(
            chunk,
            tries=known.tries,
            worker=None if worker is None else worker.name,
            node=None if worker is None else worker.node,
        )

    return tuple(map(told, chunks))
