"""``scale``: how busy many workers are kept, and what each chunk costs those that hand it out."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import dispatching, live_cost, world
from bench.catalog_cost import CatalogCost, measure_catalog
from bench.facts import machine_facts
from bench.made_up import Template, make_template
from bench.media import PLAIN, Content, high_rate, make_stream
from bench.result import Options
from bench.run import Contender, measure
from bench.scale_result import Real, ScaleResult, Servers, Simulated
from bench.servers import written
from bench.simulated import Costs
from bench.simulation import Point, run_apart
from bench.watch import Watch
from pipeline.media.layout import MAX_CHUNKS
from pipeline.settings import Settings, load_settings
from pipeline.stores.connect import make_store
from serve_app.embedded.postgres import PostgresServer
from serve_app.embedded.s3 import S3Server

Say = Callable[[str], object]

WORKERS = (1, 4, 16, 64, 256)
_STREAMS = 64
_FREE_CHUNKS = (1000, 4000)
# After so many seconds its sound and its pictures begin anew together.
_TEMPLATE_S = 32
_COSTS = Costs(mean_s=2.0)
_FREE = Costs(mean_s=0.0, deadly=0.0)
_REAL_S = 600
# One more takes all the rest of a stream.
_MOST_CHUNKS = MAX_CHUNKS - 1
# Of what the end of a recording holds for each second of it (25 pictures, 47 frames of sound).
_BYTES_BY_STREAM_S = 16_000
_MOST_MEMORY = 0.6

_NOTES = (
    "simulated chunks take a time that is log-normal, of mean 2 s, the logarithm's deviation 0.6; "
    "one in 200 kills its worker half way, with all that it has in hand, which is back after 1.5 s",
    "ideal: all costs by the workers; list scheduling: each takes the next one when it is free, "
    "nobody dies, and nothing else costs anything",
    "simulated are the workers, and what S3 would know of the parts that they send; real are plan, "
    "queue, ledger in PostgreSQL, stitch, checks, presigned addresses, and other requests of S3",
    "CPU ms: of one process with all supervisors, the pool's queue and the simulated workers; Ray "
    "comes on top",
    "wall ms is a figure of dispatch only where chunks cost nothing",
)


def run(options: Options, say: Say) -> ScaleResult:
    """``options.length_s``: how long the ideal would work on each simulated point."""
    facts = machine_facts(options.folder)
    content = high_rate("synthetic", 720)
    simulated, free, catalog = simulate(
        content, points(options.length_s, WORKERS, _STREAMS), _FREE_CHUNKS, options.folder, say
    )
    return ScaleResult(
        name="scale",
        title="Simulated workers kept busy, 1 to 256",
        facts=facts,
        stream=f"simulated streams: {content.title}; real ones: {PLAIN.title}",
        simulated=simulated,
        free=free,
        real=tuple(_real(options, say)),
        ray=dispatching.measure_ray(options.folder, say),
        live=live_cost.measure_live(options.folder, say),
        catalog=catalog,
        notes=_NOTES,
    )


def points(length_s: int, workers: Sequence[int], streams: int) -> list[Point]:
    """One stream for each number of workers, and the most of them for many streams."""

    def chunks(count: int) -> int:
        return max(1, round(count * length_s / _COSTS.mean_s))

    one = [Point(workers=n, chunks=min(chunks(n), _MOST_CHUNKS), costs=_COSTS) for n in workers]
    most = max(workers)
    shared = max(1, chunks(most) // streams)
    return [*one, Point(workers=most, chunks=shared, streams=streams, costs=_COSTS)]


def simulate(
    content: Content, wanted: Sequence[Point], free_chunks: Sequence[int], folder: Path, say: Say
) -> tuple[tuple[Simulated, ...], tuple[Simulated, ...], CatalogCost]:
    """What is ``wanted``, streams of so many chunks that cost nothing, and the catalogue."""
    template = make_template(make_stream(content, _TEMPLATE_S, folder / "media"))
    most = max(point.workers for point in wanted)
    free = [Point(workers=most, chunks=count, costs=_FREE) for count in free_chunks]
    with _services(folder) as services:
        found = [
            _simulated(point, template, services, say)
            for point in (*wanted, *free)
            if _has_room(point, template, say)
        ]
        catalog = measure_catalog(services.settings, services.pids)
    return (
        tuple(each for each in found if each.point.costs.mean_s),
        tuple(each for each in found if not each.point.costs.mean_s),
        catalog,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Services:
    folder: Path
    settings: Settings
    pids: tuple[int, ...]


@contextmanager
def _services(folder: Path) -> Iterator[_Services]:
    folder.mkdir(parents=True, exist_ok=True)
    data = Path(tempfile.mkdtemp(prefix="scale-", dir=folder))
    logs = data / "log"
    logs.mkdir()
    postgres = PostgresServer(data / "postgres", logs, "of no use to anybody")
    s3 = S3Server(data / "s3", logs, "bench", "of no use to anybody")
    try:
        postgres.start()
        s3.start()
        settings = load_settings(
            database_url=postgres.dsn,
            minio_endpoint=s3.endpoint,
            minio_access_key=s3.access_key,
            minio_secret_key=s3.secret_key,
            minio_use_ssl=False,
            log_format="json",
        )
        for bucket in (settings.minio_bucket, settings.minio_hls_bucket):
            make_store(settings).ensure_bucket(bucket)
        yield _Services(folder=data, settings=settings, pids=(postgres.pid, s3.pid))
    finally:
        s3.stop()
        postgres.stop()
        shutil.rmtree(data, ignore_errors=True)


def _has_room(point: Point, template: Template, say: Say) -> bool:
    """Its end holds all samples in memory, a few times."""
    seconds = point.all_chunks * 24 * 2**20 * (1 + point.chunks / 6000) / template.look.bytes_per_s
    needed = seconds * _BYTES_BY_STREAM_S
    if needed < _MOST_MEMORY * psutil.virtual_memory().available:
        return True
    say(f"left out: {point.all_chunks} chunks would need {needed / 2**30:.0f} GiB of memory")
    return False


def _simulated(point: Point, template: Template, services: _Services, say: Say) -> Simulated:
    dsn = services.settings.database_dsn
    assert dsn is not None
    before = asyncio.run(written(dsn))
    with Watch(services.pids) as watch:
        measured = run_apart(point, template, services.settings, services.folder / "log/sim.log")
    used = asyncio.run(written(dsn)) - before
    cpu_s = {usage.kind: usage.cpu_s for usage in watch.usage()}
    found = Simulated(
        point=point,
        measured=measured,
        servers=Servers(
            postgres_cpu_s=cpu_s.get("postgres", 0.0),
            written=used,
            s3_cpu_s=cpu_s.get("weed", 0.0),
        ),
    )
    said = f"{found.efficiency:.1%} of ideal, " if point.costs.mean_s else ""
    say(
        f"{point.workers} workers, {point.streams} streams of {point.chunks} chunks: {said}"
        f"{found.cpu_ms:.2f} ms of CPU each, {measured.whole_s:.1f} s"
    )
    return found


def _real(options: Options, say: Say) -> Iterator[Real]:
    """Copies by services with one worker, two, four and so on, up to one per core."""
    stream = make_stream(PLAIN, _REAL_S, options.folder / "media")
    cores = psutil.cpu_count() or 1
    counts = sorted({*(2**power for power in range(cores.bit_length())), cores})
    for workers in counts:
        with world.running(options.folder, workers=workers) as service:
            place = service.publish(stream.folder, "bench")
            ours = Contender(
                name=f"w{workers}",
                title="",
                run=lambda name: service.record(name, place.hls_path),  # noqa: B023
            )
            samples = []
            for number in range(options.rounds + 1):
                samples.append(measure(ours, number, (service.pid,)))
                service.check_result(stream.size_bytes)
                service.empty_results()
                say(f"real, {workers} workers: {samples[-1].wall_s:.2f} s")
        yield Real(
            workers=workers,
            # The first one warms up.
            wall_s=tuple(sample.wall_s for sample in samples[1:]),
            cpu_s=tuple(sample.cpu_s for sample in samples[1:]),
            stream_s=stream.seconds,
        )
