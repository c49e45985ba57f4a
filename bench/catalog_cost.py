"""What it costs to look over all live streams, as reconciler and capture do at any news."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from bench.watch import Watch
from pipeline.model import EventKind, Origin, StreamEvent
from pipeline.settings import Settings
from pipeline.stores.catalog import Catalog
from pipeline.stores.connect import make_catalog

_AT_ONCE = 8
_LOOKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogCost:
    """CPU of this process and of PostgreSQL, ms. ``accept``: for an event that begins a recording;
    ``look``: at ``live`` recordings, ``unfinished`` and ``to_capture`` each."""

    live: int
    accept_wall_ms: float
    accept_cpu_ms: float
    accept_postgres_ms: float
    look_wall_ms: float
    look_cpu_ms: float
    look_postgres_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spent:
    wall_ms: float
    cpu_ms: float
    postgres_ms: float


def measure_catalog(settings: Settings, pids: Sequence[int], live: int = 2000) -> CatalogCost:
    """``pids``: of the servers. Leaves the recordings there."""
    return asyncio.run(_measure(settings, pids, live))


async def _measure(settings: Settings, pids: Sequence[int], live: int) -> CatalogCost:
    catalog = make_catalog(settings)
    await catalog.open()
    try:
        accepted = await _spent(lambda: _announce(catalog, live), pids, live)
        looked = await _spent(lambda: _look(catalog), pids, 2 * _LOOKS)
    finally:
        await catalog.close()
    return CatalogCost(
        live=live,
        accept_wall_ms=accepted.wall_ms,
        accept_cpu_ms=accepted.cpu_ms,
        accept_postgres_ms=accepted.postgres_ms,
        look_wall_ms=looked.wall_ms,
        look_cpu_ms=looked.cpu_ms,
        look_postgres_ms=looked.postgres_ms,
    )


async def _announce(catalog: Catalog, live: int) -> None:
    room = asyncio.Semaphore(_AT_ONCE)

    async def one() -> None:
        name = uuid4().hex
        async with room:
            await catalog.accept(
                StreamEvent(
                    kind=EventKind.STARTED,
                    stream_id=name,
                    stream_key=name,
                    origin=Origin.WEBHOOK,
                    occurred_at=datetime.now(UTC),
                )
            )

    await asyncio.gather(*(one() for _ in range(live)))


async def _look(catalog: Catalog) -> None:
    for _ in range(_LOOKS):
        await catalog.unfinished()
        await catalog.to_capture()


async def _spent(work: Callable[[], Awaitable[None]], pids: Sequence[int], count: int) -> _Spent:
    """For each of ``count``."""
    begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
    with Watch(pids) as watch:
        await work()
        # What watches costs some, too.
        cpu_s = time.process_time() - begin_cpu_s
        wall_s = time.perf_counter() - begin_s
    postgres_s = sum(usage.cpu_s for usage in watch.usage() if usage.kind == "postgres")
    per_ms = 1000 / count
    return _Spent(wall_ms=wall_s * per_ms, cpu_ms=cpu_s * per_ms, postgres_ms=postgres_s * per_ms)
