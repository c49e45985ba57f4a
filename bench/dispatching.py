"""What Ray costs: jobs that do next to nothing, over the pool's actor to real workers and back."""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from actors import client
from actors.fair_queue import Urgency
from actors.recording import submit_to_pool
from actors.submit import store_limits
from bench.watch import Watch
from pipeline.jobs import JoinJob
from pipeline.settings import Settings, load_settings

_ALONE, _MANY = 200, 3000
# About what a chunk of 17 segments is, addresses and all.
_JOB_BYTES = 8000
_IN_FLIGHT = 64
_KINDS = ("bench", "pool", "worker", "raylet", "ray gcs")


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCost:
    """Jobs that do next to nothing, from this process over the pool's actor to real workers.
    ``cpu_ms``: of each kind of process, for each job."""

    jobs: int
    job_bytes: int
    alone_ms: float
    wall_ms: float
    cpu_ms: Mapping[str, float]


def measure_ray(
    folder: Path, say: Callable[[str], object], alone: int = _ALONE, many: int = _MANY
) -> RayCost:
    """In a process of its own, with a Ray of its own and a worker per core."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        cost = processes.submit(_in_process, folder, alone, many).result()
    say(f"Ray: {cost.alone_ms:.2f} ms for a job alone, {cost.wall_ms:.2f} ms for each of many")
    return cost


def _in_process(folder: Path, alone: int, many: int) -> RayCost:
    from serve_app.local_ray import local_ray

    settings = load_settings(ray_address=None)
    with tempfile.TemporaryDirectory(dir=folder) as scratch, local_ray(settings):
        return asyncio.run(_measure(settings, Path(scratch), alone, many))


async def _measure(settings: Settings, scratch: Path, alone: int, many: int) -> RayCost:
    room = asyncio.Semaphore(_IN_FLIGHT)
    target = scratch / "part"

    async def ask() -> None:
        job = JoinJob(
            number=1,
            head=os.urandom(_JOB_BYTES),
            staged=(),
            padding=0,
            limits=store_limits(),
            part_url=target.as_uri(),
        )
        async with room:
            await submit_to_pool(job, "bench", Urgency.BACKLOG)

    async with client.workers_only(settings):
        await asyncio.gather(*(ask() for _ in range(alone)))
        alone_s = await _took(_one_by_one(ask() for _ in range(alone)))
        with Watch([os.getpid()]) as watch:
            many_s = await _took(asyncio.gather(*(ask() for _ in range(many))))
    cpu_s = {usage.kind: usage.cpu_s for usage in watch.usage()}
    return RayCost(
        jobs=many,
        job_bytes=_JOB_BYTES,
        alone_ms=1000 * alone_s / alone,
        wall_ms=1000 * many_s / many,
        cpu_ms={kind: 1000 * cpu_s.get(kind, 0.0) / many for kind in _KINDS},
    )


async def _one_by_one(calls: Iterable[Awaitable[None]]) -> None:
    for call in calls:
        await call


async def _took(work: Awaitable[object]) -> float:
    """Seconds."""
    begin = time.perf_counter()
    await work
    return time.perf_counter() - begin
