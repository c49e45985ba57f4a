"""The chunk map and the workers as they go over HTTP."""

from collections.abc import Iterable, Mapping
from typing import Self

from pydantic import BaseModel, Field, RootModel

from pipeline.activity import Activity, InFlight, WorkerActivity
from pipeline.chunk_map import ChunkState, ChunkView


class Chunk(BaseModel):
    """One planned chunk and what has become of it so far."""

    index: int
    state: ChunkState
    start: float | None = Field(description="Seconds on the recording's timeline")
    seconds: float | None = Field(description="Seconds of media")
    bytes: int = Field(description="As made, of all renditions; once completed, of the first")
    lost_seconds: float = Field(description="Seconds of media that are missing")
    reasons: list[str] = Field(description="Why they are")
    remedies: list[str] = Field(description="What was done to keep something of it")
    tries: int = Field(description="Tries with a worker, as far as the workers remember")
    worker: str | None = Field(description="Who has it, or had it last")
    node: str | None = Field(description="That worker's machine")
    since: float | None = Field(description="Seconds for which it has been waiting or working")
    stages: Mapping[str, float] = Field(description="Seconds of its worker by stage")

    @classmethod
    def of(cls, chunk: ChunkView) -> Self:
        return cls(
            index=chunk.index,
            state=chunk.state,
            start=chunk.start_s,
            seconds=chunk.media_s,
            bytes=chunk.size_bytes,
            lost_seconds=chunk.lost_s,
            reasons=list(chunk.reasons),
            remedies=list(chunk.remedies),
            tries=chunk.tries,
            worker=chunk.worker,
            node=chunk.node,
            since=chunk.since_s,
            stages=chunk.timings_s,
        )


class ChunkList(RootModel[list[Chunk]]):
    """In order of their numbers."""

    @classmethod
    def of(cls, chunks: Iterable[ChunkView]) -> Self:
        return cls(list(map(Chunk.of, chunks)))


class WorkerJob(BaseModel):
    """What a worker does now."""

    recording_id: str | None = Field(description="Null for callers who see only their own")
    kind: str = Field(description="`look`, `chunk`, `fill`, `join`, `poster` or `sheet`")
    chunk: int | None = Field(description="Its number, where it is one")
    tries: int
    seconds: float = Field(description="How long it has been at it")

    @classmethod
    def of(cls, job: InFlight, *, is_named: bool) -> Self:
        return cls(
            recording_id=job.recording if is_named else None,
            kind=job.kind,
            chunk=job.chunk,
            tries=job.tries,
            seconds=round(job.since_s, 1),
        )


class Worker(BaseModel):
    """One worker; its counts are since the pool began."""

    name: str
    node: str | None
    jobs: list[WorkerJob]
    chunks: int
    seconds: float = Field(description="Seconds of media made")
    bytes: int

    @classmethod
    def of(cls, worker: WorkerActivity, jobs: Iterable[InFlight], *, are_named: bool) -> Self:
        return cls(
            name=worker.name,
            node=worker.node,
            jobs=[
                WorkerJob.of(job, is_named=are_named) for job in jobs if job.worker == worker.number
            ],
            chunks=worker.chunks,
            seconds=worker.media_s,
            bytes=worker.size_bytes,
        )


class Recent(BaseModel):
    """What all workers made lately."""

    window_seconds: float
    chunks: int
    seconds: float = Field(description="Seconds of media")
    bytes: int


class Workers(BaseModel):
    """No workers: they do not answer."""

    workers: list[Worker]
    waiting: int = Field(description="Jobs that wait for a worker")
    recent: Recent

    @classmethod
    def of(cls, activity: Activity, *, are_named: bool) -> Self:
        recent = activity.recent
        return cls(
            workers=[
                Worker.of(worker, activity.jobs, are_named=are_named) for worker in activity.workers
            ],
            waiting=activity.waiting,
            recent=Recent(
                window_seconds=recent.window_s,
                chunks=recent.chunks,
                seconds=recent.media_s,
                bytes=recent.size_bytes,
            ),
        )
