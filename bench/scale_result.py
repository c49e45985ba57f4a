"""What ``scale`` found: simulated points, real ones, what Ray costs."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.catalog_cost import CatalogCost
from bench.dispatching import RayCost
from bench.live_cost import LiveCost
from bench.result import SCHEMA, Figures
from bench.servers import Written
from bench.simulated import list_schedule_s
from bench.simulation import Measured, Point
from bench.tabled import Chart, Line

_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """What PostgreSQL and S3 did meanwhile. ``s3_cpu_s``: without what the bytes of chunks would
    have cost."""

    postgres_cpu_s: float
    written: Written
    s3_cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A point, and what came of it."""

    point: Point
    measured: Measured
    servers: Servers

    @property
    def ideal_s(self) -> float:
        return sum(self.point.each_cost_s()) / self.point.workers

    @property
    def list_s(self) -> float:
        """No order of work that does not know the costs before could be relied on to do better."""
        return list_schedule_s(self.point.each_cost_s(), self.point.workers)

    @property
    def efficiency(self) -> float:
        """While there are chunks."""
        return self.ideal_s / self.measured.dispatch_s

    @property
    def whole_efficiency(self) -> float:
        """From announcement to completed recordings."""
        return self.ideal_s / self.measured.whole_s

    @property
    def cpu_ms(self) -> float:
        """Of the supervisors' process, for each chunk."""
        return 1000 * self.measured.dispatch_cpu_s / self.point.all_chunks

    @property
    def end_s(self) -> dict[str, float]:
        """The longest of each kind, of all recordings."""
        return {
            name: max(end[name] for end in self.measured.ends) for name in self.measured.ends[0]
        }

    def as_json(self) -> dict[str, Any]:
        return {
            "point": asdict(self.point),
            "measured": asdict(self.measured),
            "servers": asdict(self.servers),
            "ideal_s": self.ideal_s,
            "list_schedule_s": self.list_s,
            "efficiency": self.efficiency,
            "whole_efficiency": self.whole_efficiency,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Real:
    """A copy by the real service with so many workers. CPU: of all its processes, S3's too."""

    workers: int
    wall_s: tuple[float, ...]
    stream_s: int
    cpu_s: tuple[float, ...]

    @property
    def best_rate(self) -> float:
        """Seconds of stream a second."""
        return self.stream_s / min(self.wall_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleResult:
    """A ``Tabled``. ``simulated``: chunks that cost something; ``free``: that cost nothing."""

    name: str
    title: str
    facts: dict[str, Any]
    stream: str
    simulated: tuple[Simulated, ...]
    free: tuple[Simulated, ...]
    real: tuple[Real, ...]
    ray: RayCost | None
    live: LiveCost | None
    catalog: CatalogCost
    notes: tuple[str, ...]

    def about(self) -> str:
        return self.stream

    def figures(self) -> Sequence[Figures]:
        tables = [
            _efficiency(self.simulated),
            _costs((*self.simulated, *self.free)),
            _catalog(self.catalog),
        ]
        if self.real:
            tables.append(_real(self.real))
        if self.ray:
            tables.append(_ray(self.ray))
        if self.live:
            tables.append(_live(self.live))
        return tables

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "bench": self.name,
            "title": self.title,
            "facts": self.facts,
            "input": {"title": self.stream},
            "simulated": [each.as_json() for each in self.simulated],
            "free": [each.as_json() for each in self.free],
            "real": [asdict(each) for each in self.real],
            "ray": asdict(self.ray) if self.ray else None,
            "live": asdict(self.live) if self.live else None,
            "catalog": asdict(self.catalog),
            "notes": list(self.notes),
        }

    def chart(self) -> Chart:
        one = [each for each in self.simulated if each.point.streams == 1]
        many = [each for each in self.simulated if each.point.streams > 1]
        return Chart(
            across="workers",
            up="work done: how many workers' worth, of chunks of 2 s on average; higher is better",
            is_log_across=True,
            is_log_up=True,
            lines=[
                _throughput("one stream, while there are chunks", one, lambda e: e.efficiency),
                Line(
                    name="ideal: nothing but the chunks costs anything",
                    points=[(each.point.workers, each.point.workers) for each in one],
                    is_bound=True,
                ),
                _throughput("one stream, whole recording", one, lambda e: e.whole_efficiency),
                *(
                    _throughput(f"{each.point.streams} streams", [each], lambda e: e.efficiency)
                    for each in many
                ),
            ],
        )


def _throughput(
    name: str, points: Sequence[Simulated], efficiency: Callable[[Simulated], float]
) -> Line:
    """In workers that never wait."""
    return Line(
        name=name,
        points=[(each.point.workers, each.point.workers * efficiency(each)) for each in points],
        labels=[f"{efficiency(each):.0%}" for each in points],
    )


def _efficiency(points: Sequence[Simulated]) -> Figures:
    return Figures(
        title="simulated: chunks that cost something",
        heads=(
            "workers, streams", "chunks", "ideal s", "list scheduling s", "chunks done s",
            "of ideal", "of list scheduling", "whole of ideal", "workers died",
        ),
        rows=tuple(
            (
                f"{p.point.workers}, {p.point.streams}",
                str(p.point.all_chunks),
                f"{p.ideal_s:.1f}",
                f"{p.list_s:.1f}",
                f"{p.measured.dispatch_s:.1f}",
                f"{p.efficiency:.1%}",
                f"{p.list_s / p.measured.dispatch_s:.1%}",
                f"{p.whole_efficiency:.1%}",
                str(p.measured.deaths),
            )
            for p in points
        ),
    )  # fmt: skip


def _costs(points: Sequence[Simulated]) -> Figures:
    return Figures(
        title="for each chunk, while there are some; for each recording, at its end",
        heads=(
            "workers, streams, chunks of each", "cost s", "wall ms", "CPU ms", "PostgreSQL CPU ms",
            "transactions", "WAL KiB", "S3 requests", "presigned", "stitch s", "check s",
            "the rest s", "peak MiB",
        ),
        rows=tuple(_cost(p) for p in points),
    )  # fmt: skip


def _cost(each: Simulated) -> tuple[str, ...]:
    point, measured, servers = each.point, each.measured, each.servers
    chunks, end = point.all_chunks, each.end_s
    return (
        f"{point.workers}, {point.streams}, {point.chunks}",
        f"{point.costs.mean_s:g}",
        f"{1000 * measured.dispatch_s / chunks:.2f}",
        f"{each.cpu_ms:.2f}",
        f"{1000 * servers.postgres_cpu_s / chunks:.2f}",
        f"{servers.written.transactions / chunks:.1f}",
        f"{servers.written.wal_bytes / chunks / 1024:.1f}",
        f"{measured.requests / chunks:.2f}",
        f"{measured.presigned / chunks:.1f}",
        f"{end['stitch']:.2f}",
        f"{end['verify_and_complete']:.2f}",
        f"{end['playlists_and_poster']:.2f}",
        f"{measured.peak_rss_bytes / _MIB:.0f}",
    )


def _real(points: Sequence[Real]) -> Figures:
    first = points[0].best_rate
    return Figures(
        title="real: an ended stream copied by the service; the fastest of its rounds",
        heads=("workers", "wall s", "hours of stream an hour", "over one worker", "CPU s"),
        rows=tuple(
            (
                str(p.workers),
                " ".join(f"{wall:.2f}" for wall in p.wall_s),
                f"{p.best_rate:.0f}",
                f"{p.best_rate / first:.2f}",
                f"{min(p.cpu_s):.1f}",
            )
            for p in points
        ),
    )


def _ray(cost: RayCost) -> Figures:
    kinds = list(cost.cpu_ms)
    return Figures(
        title=f"Ray: {cost.jobs} jobs of {cost.job_bytes} bytes that do next to nothing",
        heads=("", "one at a time ms", "many at once ms", *(f"{kind} CPU ms" for kind in kinds)),
        rows=(
            (
                "for each",
                f"{cost.alone_ms:.2f}",
                f"{cost.wall_ms:.2f}",
                *(f"{cost.cpu_ms[kind]:.2f}" for kind in kinds),
            ),
        ),
    )


def _live(cost: LiveCost) -> Figures:
    kinds = sorted(cost.cpu_ms, key=lambda kind: -cost.cpu_ms[kind])
    rows = [
        (
            f"CPU ms: {kind}",
            f"{cost.idle_cpu_ms.get(kind, 0.0):.1f}",
            f"{cost.cpu_ms[kind]:.2f}",
        )
        for kind in kinds
        if kind != "bench"
    ]
    rows += [
        ("transactions of PostgreSQL", f"{cost.idle_transactions:.1f}", f"{cost.transactions:.2f}"),
        ("KiB of its log", f"{cost.idle_wal_bytes / 1024:.1f}", f"{cost.wal_bytes / 1024:.2f}"),
    ]
    return Figures(
        title=f"{cost.streams} live streams for {cost.seconds:.0f} s, segments of "
        f"{cost.segment_s} s: what a second costs",
        heads=("", "without any stream", "each stream more"),
        rows=tuple(rows),
    )


def _catalog(cost: CatalogCost) -> Figures:
    return Figures(
        title=f"the catalogue with {cost.live} live recordings",
        heads=("", "wall ms", "CPU ms", "PostgreSQL CPU ms"),
        rows=(
            (
                "accept an event",
                f"{cost.accept_wall_ms:.2f}",
                f"{cost.accept_cpu_ms:.2f}",
                f"{cost.accept_postgres_ms:.2f}",
            ),
            (
                "look over all of them",
                f"{cost.look_wall_ms:.1f}",
                f"{cost.look_cpu_ms:.1f}",
                f"{cost.look_postgres_ms:.1f}",
            ),
        ),
    )
