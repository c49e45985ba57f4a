"""One run of the real supervisors, in a process of its own, over workers that only wait.

Real are plan, dispatch, fair queue, assignment, joiner, storyboard, stitch, checks, report, the
catalogue in PostgreSQL, presigning, and all requests of S3 but those about parts. Not there are Ray
(``bench.dispatching``), and the bytes.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from uuid import UUID

from actors.assigner import SLOTS, Assigner
from actors.recording import sources_of
from actors.submit import OUTAGE_S
from actors.supervisor import Supervisor
from bench.made_up import Template
from bench.made_up_store import MadeUpStore
from bench.simulated import Costs, Mark, SimulatedWorkers, stream_ref
from pipeline import logs, plan
from pipeline.errors import WorkerLost
from pipeline.model import (
    ChunkRecord,
    ChunkSpec,
    EventKind,
    Finding,
    Opened,
    Origin,
    Recording,
    Segment,
    Status,
    StreamEvent,
)
from pipeline.settings import Settings
from pipeline.stores.catalog_postgres import PostgresCatalog
from pipeline.storyboard import tile_size

# As in the actor of recordings.
_THREADS = 32
_BATCH_SEGMENTS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """``chunks``: of each of the ``streams``, which all have ended and begin at once."""

    workers: int
    chunks: int
    streams: int = 1
    costs: Costs

    @property
    def all_chunks(self) -> int:
        return self.streams * self.chunks

    def each_cost_s(self) -> Iterator[float]:
        """In the order in which a fair queue hands them out."""
        for index in range(self.chunks):
            yield from (self.costs.of((stream, index)) for stream in range(self.streams))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """``dispatch_s``: from the first chunk that a worker is asked for to the last one's place in
    the ledger; ``whole_s``: from the begin to the last completed recording. CPU: of this process,
    which holds all supervisors and the pool's queue. ``ends``: what each recording says of its end,
    in seconds. ``peak_rss_bytes``: of everything in it."""

    dispatch_s: float
    whole_s: float
    dispatch_cpu_s: float
    whole_cpu_s: float
    ends: tuple[dict[str, float], ...]
    deaths: int
    requests: int
    presigned: int
    segments: int
    index_bytes: int
    peak_rss_bytes: int
    idle_rss_bytes: int


def run_apart(point: Point, template: Template, settings: Settings, log: Path) -> Measured:
    """``simulate`` in a new process, which logs to ``log``. Raises ``WorkerLost`` where a recording
    is not whole."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        return processes.submit(_in_process, point, template, settings, log).result()


def _in_process(point: Point, template: Template, settings: Settings, log: Path) -> Measured:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    logs.configure(settings)
    return asyncio.run(simulate(point, template, settings))


async def simulate(point: Point, template: Template, settings: Settings) -> Measured:
    """Raises ``WorkerLost`` where a recording is not whole."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    segments, planned = plan_stream(template, point.chunks)
    records = {chunk.index: template.record(chunk) for chunk in planned}
    store = MadeUpStore(settings, OUTAGE_S)
    workers = SimulatedWorkers(point.costs, template, store, records)
    assigner = Assigner(workers)
    assigner.add(range(point.workers))
    async with _opened(settings) as catalog:
        ids = [await _announce(catalog, number, segments) for number in range(point.streams)]
        supervisors = [
            Supervisor(
                recording_id,
                catalog=catalog,
                results=store,
                bucket=settings.minio_bucket,
                sources=partial(sources_of, store=store, settings=settings),
                submit=assigner.submit,
                slots=point.workers * SLOTS,
                settings=settings,
            )
            for recording_id in ids
        ]
        idle_rss = _memory("VmRSS")
        begin = Mark.now()
        recordings = await asyncio.gather(*(supervisor.run() for supervisor in supervisors))
        end = Mark.now()
        reports = [dict(await catalog.report(recording_id) or {}) for recording_id in ids]
    _check(point, workers, recordings, reports, records)
    first, last = workers.first, catalog.last
    assert first is not None
    assert last is not None
    return Measured(
        dispatch_s=last.at_s - first.at_s,
        whole_s=end.at_s - begin.at_s,
        dispatch_cpu_s=last.cpu_s - first.cpu_s,
        whole_cpu_s=end.cpu_s - begin.cpu_s,
        ends=tuple(
            {name: s for name, s in report["timings_s"].items() if name != "in_workers"}
            for report in reports
        ),
        deaths=workers.deaths,
        requests=store.counts["requests"],
        presigned=store.counts["presigned"],
        segments=len(segments),
        index_bytes=sum(len(record.index) for record in records.values()),
        peak_rss_bytes=_memory("VmHWM"),
        idle_rss_bytes=idle_rss,
    )


def plan_stream(template: Template, chunks: int) -> tuple[tuple[Segment, ...], list[ChunkSpec]]:
    """So much of the stream that it is cut into ``chunks``, and how the first stream is."""
    look = template.look
    state = plan.begin(
        look.anchor_s, look.bytes_per_s, form=look.form, tile=tile_size(look.pictures)
    )
    segments, found = list[Segment](), list[ChunkSpec]()
    while len(found) < chunks:
        first = len(segments)
        more = template.stream(stream_ref(0), range(first, first + _BATCH_SEGMENTS))
        state, cut = plan.extend(state, [more], ended=False)
        segments += more
        found += cut
    found = found[:chunks]
    return tuple(segments[: sum(len(chunk.main.segments) for chunk in found)]), found


async def _announce(catalog: PostgresCatalog, number: int, segments: Sequence[Segment]) -> UUID:
    """An ended stream, captured already."""
    ref, own = stream_ref(number), stream_ref(0)
    accepted = await catalog.accept(
        StreamEvent(
            kind=EventKind.ENDED,
            stream_id=f"scale-{os.getpid()}-{number}",
            origin=Origin.COMMAND,
            occurred_at=datetime.now(UTC),
            hls_path=f"{ref}/stream.m3u8",
        )
    )
    assert accepted.recording_id is not None
    found = tuple(replace(s, uri=s.uri.replace(own, ref)) for s in segments)
    await catalog.open_source(accepted.recording_id, Opened(ref=f"{ref}/stream.m3u8"))
    await catalog.add_finding(accepted.recording_id, Finding(number=0, segments=(found,)))
    await catalog.close_source(accepted.recording_id, None)
    return accepted.recording_id


class _Catalog(PostgresCatalog):
    """``last``: when the ledger took the last chunk."""

    last: Mark | None = None

    async def finish_chunks(self, recording_id: UUID, records: Sequence[ChunkRecord]) -> None:
        await super().finish_chunks(recording_id, records)
        self.last = Mark.now()


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[_Catalog]:
    assert settings.database_dsn is not None
    catalog = _Catalog(
        settings.database_dsn,
        reconnect_window=settings.reconnect_window,
        profile=settings.profile,
        patience_s=OUTAGE_S,
    )
    await catalog.open()
    try:
        yield catalog
    finally:
        await catalog.close()


def _check(
    point: Point,
    workers: SimulatedWorkers,
    recordings: Sequence[Recording],
    reports: Sequence[Mapping[str, object]],
    records: Mapping[int, ChunkRecord],
) -> None:
    """Raise ``WorkerLost`` unless every chunk was made, and is in its recording."""
    made = {(stream, index) for stream in range(point.streams) for index in records}
    if set(workers.made) != made:
        raise WorkerLost(f"{len(made ^ set(workers.made))} chunks are not what was planned")
    samples = sum(record.report["samples_out"] for record in records.values())
    for recording, report in zip(recordings, reports, strict=True):
        if recording.status is not Status.COMPLETED or recording.gaps:
            raise WorkerLost(f"A recording failed: {recording.error or recording.gaps}")
        if report["frames_out"] != samples:
            raise WorkerLost(f"{report['frames_out']} of {samples} samples are in a recording")


def _memory(field: str) -> int:
    """Of this process, by its name in ``/proc/self/status``, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (found,) = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(found) * 1024
