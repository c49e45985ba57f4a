"""Workers that only wait: each chunk takes a time that its number decides, some kill their worker.

A worker computes one chunk at a time, as the real ones do, and may have the next one in hand.
"""

import asyncio
import heapq
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from bench.made_up import Template
from bench.made_up_store import MadeUpStore
from pipeline.errors import WorkerLost
from pipeline.jobs import Answer, ChunkJob, FillJob, Job, JoinJob, LookJob, PosterJob, SheetJob
from pipeline.media.layout import MIN_PART_BYTES
from pipeline.model import ChunkRecord, Part

# As long as a worker of Ray takes to be back.
_RESTART_S = 1.5
_IMAGE_BYTES = 50_000

Chunk = tuple[int, int]
"""Number of the stream, index of the chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A moment, and the CPU time of this process until then."""

    at_s: float
    cpu_s: float

    @classmethod
    def now(cls) -> "Mark":
        return cls(at_s=time.perf_counter(), cpu_s=time.process_time())


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds that chunks take, log-normal: ``sigma`` is the deviation of their logarithms, of
    0.6 the longest of 10 000 is about eight times as long as the mean. ``deadly``: what share of
    chunks kills the worker that has it first, half way."""

    mean_s: float
    sigma: float = 0.6
    deadly: float = 0.005

    def of(self, chunk: Chunk) -> float:
        """The same in every run."""
        if not self.mean_s:
            return 0.0
        middle = math.log(self.mean_s) - self.sigma**2 / 2
        return self._dice(chunk, "cost").lognormvariate(middle, self.sigma)

    def is_deadly(self, chunk: Chunk) -> bool:
        return self._dice(chunk, "death").random() < self.deadly

    def _dice(self, chunk: Chunk, what: str) -> random.Random:
        return random.Random(f"{what} of {chunk}")


def list_schedule_s(costs: Iterable[float], workers: int) -> float:
    """Until all is done, where each worker takes the next one in this order as soon as it is free,
    and nothing else costs anything."""
    free_at = [0.0] * workers
    for cost in costs:
        heapq.heapreplace(free_at, free_at[0] + cost)
    return max(free_at)


@dataclass(slots=True)
class _Worker:
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)
    at_work: set["asyncio.Task[Answer]"] = field(default_factory=set)
    back_at: float = 0.0


class SimulatedWorkers:
    """See ``actors.assigner.Workers``. ``records``: what becomes of each chunk. ``deaths``: of
    workers; ``first``: when the first chunk was asked for."""

    def __init__(
        self,
        costs: Costs,
        template: Template,
        store: MadeUpStore,
        records: Mapping[int, ChunkRecord],
    ) -> None:
        self._costs, self._template, self._store, self._records = costs, template, store, records
        self._workers: dict[int, _Worker] = defaultdict(_Worker)
        self._died: set[Chunk] = set()
        self.made: Counter[Chunk] = Counter()
        self.deaths = 0
        self.first: Mark | None = None

    async def ask(self, number: int, job: Job, name: str) -> Answer:  # noqa: ARG002
        worker = self._workers[number]
        work = asyncio.create_task(self._do(worker, job))
        worker.at_work.add(work)
        try:
            return await work
        except asyncio.CancelledError:
            if not work.cancelled():
                work.cancel()
                raise
            raise WorkerLost(f"simulated worker {number} died") from None
        finally:
            worker.at_work.discard(work)

    async def wait_alive(self, number: int) -> None:
        await asyncio.sleep(self._workers[number].back_at - time.monotonic())

    async def _do(self, worker: _Worker, job: Job) -> Answer:
        match job:
            case LookJob():
                return self._template.look
            case ChunkJob():
                return await self._make(worker, job)
            case JoinJob():
                return self._join(job)
            case PosterJob():
                self._store.take(job.image_url, _IMAGE_BYTES)
            case SheetJob():
                self._store.take(job.sheet_url, _IMAGE_BYTES)
            case FillJob():
                raise AssertionError("nothing is missing")
        return _IMAGE_BYTES

    async def _make(self, worker: _Worker, job: ChunkJob) -> tuple[ChunkRecord, ...]:
        self.first = self.first or Mark.now()
        chunk = chunk_of(job)
        cost_s = self._costs.of(chunk)
        async with worker.gate:
            if self._costs.is_deadly(chunk) and chunk not in self._died:
                await asyncio.sleep(cost_s / 2)
                self._died.add(chunk)
                self._kill(worker)
            await asyncio.sleep(cost_s)
        self.made[chunk] += 1
        return (self._stored(self._records[job.chunk.index], job),)

    def _kill(self, worker: _Worker) -> None:
        """With all that it has in hand: who calls this, too."""
        self.deaths += 1
        worker.back_at = time.monotonic() + _RESTART_S
        for work in worker.at_work:
            work.cancel()

    def _stored(self, record: ChunkRecord, job: ChunkJob) -> ChunkRecord:
        (place,) = job.places
        if record.report["tiles"]["made"]:
            self._store.take(job.strip_url, _IMAGE_BYTES)
        part, staging_key = None, None
        if place.part_url is not None and record.size_bytes >= MIN_PART_BYTES:
            part = self._store.take_part(place.part_url, record.size_bytes)
        else:
            self._store.take(place.staging_url, record.size_bytes)
            staging_key = place.staging_key
        return replace(record, part=part, staging_key=staging_key)

    def _join(self, job: JoinJob) -> Part:
        size = len(job.head) + job.padding
        size += sum(self._store.size_of(address.url) for address in job.staged)
        if job.number == 0:
            self._store.take(job.part_url, size)
            return Part(number=0, etag="", size_bytes=size)
        return self._store.take_part(job.part_url, size)


def stream_ref(number: int) -> str:
    """Of the folder of a simulated stream."""
    return f"s3://hls-streams/scale/{number}"


def chunk_of(job: ChunkJob) -> Chunk:
    return int(job.chunk.main.segments[0].uri.split("/")[-2]), job.chunk.index
