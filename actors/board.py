"""What each worker does now and did lately: kept by the pool in memory, for those who watch.

A few dictionary entries per job; nothing is computed until ``tell`` is called.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.activity import Activity, InFlight, Throughput, Tried, WorkerActivity
from pipeline.jobs import Answer, ChunkJob, Job

_WINDOW_S = 60.0
# Chunks that were tried last: of a dozen hours of stream.
_REMEMBERED = 4096


@dataclass(slots=True)
class Entry:
    """A job from when it was queued until it is answered."""

    recording: str
    kind: str
    chunk: int | None
    media_s: float
    since: float
    tries: int = 1
    worker: int | None = None


@dataclass(slots=True)
class _Totals:
    chunks: int = 0
    media_s: float = 0.0
    size_bytes: int = 0


class Board:
    """Told by ``Assigner``. ``clock``: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[int, Entry] = {}
        self._tried: OrderedDict[tuple[str, int], Tried] = OrderedDict()
        self._totals: dict[int, _Totals] = {}
        self._recent: deque[tuple[float, float, int]] = deque(maxlen=_REMEMBERED)

    # --- from the assigner -----------------------------------------------------------------------
    def queue(self, job: Job, recording: str) -> Entry:
        chunk = job.chunk if isinstance(job, ChunkJob) else None
        entry = Entry(
            recording=recording,
            kind=type(job).__name__.removesuffix("Job").lower(),
            chunk=None if chunk is None else chunk.index,
            media_s=chunk.main.duration_s if chunk else 0.0,
            since=self._clock(),
        )
        before = self._tried.get((recording, chunk.index)) if chunk else None
        if before is not None:
            entry.tries = before.tries + 1
        self._entries[id(entry)] = entry
        return entry

    def begin(self, entry: Entry, worker: int) -> None:
        entry.worker, entry.since = worker, self._clock()

    def again(self, entry: Entry) -> None:
        """Its worker died: it waits for another."""
        entry.worker, entry.since = None, self._clock()
        entry.tries += 1

    def end(self, entry: Entry, answer: Answer | None) -> None:
        """``answer``: None if there is none."""
        self._entries.pop(id(entry), None)
        if entry.chunk is None:
            return
        self._tried[entry.recording, entry.chunk] = Tried(
            chunk=entry.chunk, worker=entry.worker, tries=entry.tries
        )
        self._tried.move_to_end((entry.recording, entry.chunk))
        while len(self._tried) > _REMEMBERED:
            self._tried.popitem(last=False)
        if isinstance(answer, tuple) and entry.worker is not None:
            self._count(entry.worker, entry.media_s, sum(one.size_bytes for one in answer))

    def _count(self, worker: int, media_s: float, size_bytes: int) -> None:
        totals = self._totals.setdefault(worker, _Totals())
        totals.chunks += 1
        totals.media_s += media_s
        totals.size_bytes += size_bytes
        self._recent.append((self._clock(), media_s, size_bytes))

    # --- for those who watch ---------------------------------------------------------------------
    def tell(self, workers: Iterable[WorkerActivity], recording: str | None = None) -> Activity:
        """``workers``: number, name and node of each. See ``Activity``."""
        return Activity(
            workers=tuple(map(self._with_totals, workers)),
            jobs=tuple(
                self._in_flight(entry)
                for entry in self._entries.values()
                if (entry.worker is not None if recording is None else entry.recording == recording)
            ),
            tried=tuple(tried for (of, _), tried in self._tried.items() if of == recording),
            waiting=sum(entry.worker is None for entry in self._entries.values()),
            recent=self._throughput(),
        )

    def _in_flight(self, entry: Entry) -> InFlight:
        return InFlight(
            recording=entry.recording,
            kind=entry.kind,
            chunk=entry.chunk,
            worker=entry.worker,
            tries=entry.tries,
            since_s=self._clock() - entry.since,
        )

    def _with_totals(self, worker: WorkerActivity) -> WorkerActivity:
        totals = self._totals.get(worker.number, _Totals())
        return WorkerActivity(
            number=worker.number,
            name=worker.name,
            node=worker.node,
            chunks=totals.chunks,
            media_s=round(totals.media_s, 3),
            size_bytes=totals.size_bytes,
        )

    def _throughput(self) -> Throughput:
        since = self._clock() - _WINDOW_S
        recent = [(media_s, size) for at, media_s, size in self._recent if at >= since]
        return Throughput(
            window_s=_WINDOW_S,
            chunks=len(recent),
            media_s=round(sum(media_s for media_s, _ in recent), 3),
            size_bytes=sum(size for _, size in recent),
        )
