"""The bench ``scale``: its arithmetic, what its simulated workers make, and one small real run."""

import json
import math
import re
import tracemalloc
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from bench import scale
from bench.catalog_cost import CatalogCost
from bench.dispatching import RayCost
from bench.live_cost import LiveCost
from bench.made_up import Template, make_template
from bench.media import high_rate, make_stream
from bench.plot import draw
from bench.report import print_outcome
from bench.scale_result import Real, ScaleResult, Servers, Simulated
from bench.servers import Written
from bench.simulated import Costs, list_schedule_s
from bench.simulation import Measured, Point, plan_stream
from pipeline.assemble import Chunks, arrange, assemble, assemble_all, check
from pipeline.media.samples import SampleIndex
from pipeline.model import Part

SMALL = high_rate("synthetic", 180)
COSTS = Costs(mean_s=0.05, deadly=0.1)
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def template(cache: Path) -> Template:
    return make_template(make_stream(SMALL, 32, cache / "media"))


# --- arithmetic -----------------------------------------------------------------------------------


def test_a_list_schedule_gives_the_next_one_to_who_is_free_first() -> None:
    assert list_schedule_s([3.0, 1.0, 1.0, 1.0], 2) == 3.0
    assert list_schedule_s([1.0, 1.0, 1.0, 3.0], 2) == 4.0
    assert list_schedule_s([1.0, 2.0], 8) == 2.0


def test_costs_are_the_same_in_every_run_and_heavy_tailed() -> None:
    costs = Costs(mean_s=2.0)
    drawn = [costs.of((0, index)) for index in range(10_000)]
    assert drawn[:5] == [Costs(mean_s=2.0).of((0, index)) for index in range(5)]
    assert sum(drawn) / len(drawn) == pytest.approx(2.0, rel=0.02)
    assert 10.0 < max(drawn) < 40.0
    deadly = sum(costs.is_deadly((0, index)) for index in range(10_000))
    assert 30 < deadly < 70
    assert costs.of((1, 0)) != costs.of((0, 0))
    assert Costs(mean_s=0.0).of((0, 0)) == 0.0


def test_chunks_of_many_streams_are_handed_out_in_turns() -> None:
    point = Point(workers=2, streams=2, chunks=3, costs=COSTS)
    inner = [COSTS.of(chunk) for chunk in ((0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2))]
    assert list(point.each_cost_s()) == inner


def test_points_have_work_for_the_same_time() -> None:
    points = scale.points(80, (1, 4, 256), streams=64)
    assert [(p.workers, p.streams, p.chunks) for p in points] == [
        (1, 1, 40),
        (4, 1, 160),
        (256, 1, 9_997),
        (256, 64, 160),
    ]


# --- what is made up ------------------------------------------------------------------------------


def test_made_up_chunks_are_one_whole_stream(template: Template) -> None:
    """More than the real half minute is long: it begins anew without a seam."""
    segments, planned = plan_stream(template, 5)
    assert len(planned) == 5
    assert sum(len(chunk.main.segments) for chunk in planned) == len(segments) > 24
    records = [template.record(chunk) for chunk in planned]
    stored = [
        replace(record, part=Part(number=n + 2, etag="", size_bytes=record.size_bytes))
        for n, record in enumerate(records)
    ]
    assembly = assemble(arrange(stored))
    assert assembly.gaps == ()
    assert assembly.duration_s == pytest.approx(4 * len(segments), abs=0.05)
    assert check(assembly, stored)["samples_out"] == sum(r.report["samples_out"] for r in records)
    pictures = next(lane for lane in assembly.tracks if lane.form.kind == "video")
    assert pictures.samples == 100 * len(segments)


def test_an_end_needs_little_memory_for_each_sample(template: Template) -> None:
    """12 h are three million samples, and a supervisor is to need no more than 300 MB."""
    _, planned = plan_stream(template, 30)
    records = [template.record(chunk) for chunk in planned]
    samples = sum(record.report["samples_out"] for record in records)
    tracemalloc.start()
    try:
        arrangement = arrange(records)
        (assembly,) = assemble_all(arrangement, (), [Chunks(records)])
        assert assembly is not None
        assert check(assembly, records)["samples_out"] == samples
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes / samples < 80


def test_the_same_fragments_are_what_was_read(template: Template) -> None:
    """As many segments as the template has are the template."""
    _, planned = plan_stream(template, 1)
    stretch = replace(planned[0].main, segments=template.stream("s3://b/scale/0", range(8)))
    record = template.record(replace(planned[0], main=stretch))
    (span,) = SampleIndex.unpack(record.index).spans
    for ours, real in zip(span.tracks, template.span.tracks, strict=True):
        for name in ("dts", "cts", "duration", "size", "key", "run_offset", "run_count"):
            assert (getattr(ours, name) == getattr(real, name)).all(), name


# --- small and real -------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_a_small_simulation(cache: Path) -> None:
    """Raises by itself unless every recording has every sample."""
    wanted = [
        Point(workers=2, chunks=20, costs=COSTS),
        Point(workers=8, chunks=10, streams=4, costs=COSTS),
    ]
    said: list[str] = []
    simulated, free, catalog = scale.simulate(SMALL, wanted, [10], cache, said.append)
    assert [each.point for each in simulated] == wanted
    assert [each.point.chunks for each in free] == [10]
    assert len(said) == 3
    for each in simulated:
        assert each.measured.deaths > 0
        assert each.ideal_s == pytest.approx(sum(each.point.each_cost_s()) / each.point.workers)
        assert 0 < each.whole_efficiency < each.efficiency < 1
        assert each.measured.presigned > 3 * each.point.all_chunks
        # Planned, finished, and some of them once more when they are joined.
        assert each.servers.written.transactions > 2 * each.point.all_chunks
        assert each.servers.written.wal_bytes > each.measured.index_bytes
        assert len(each.measured.ends) == each.point.streams
        assert each.measured.peak_rss_bytes >= each.measured.idle_rss_bytes > 2**25
    assert free[0].measured.deaths == 0
    assert catalog.look_cpu_ms > catalog.accept_cpu_ms > 0
    assert not list(cache.glob("scale-*")), "the services' data is left behind"


def simulated(workers: int, streams: int, dispatch_s: float) -> Simulated:
    measured = Measured(
        dispatch_s=dispatch_s, whole_s=2 * dispatch_s, dispatch_cpu_s=1.0, whole_cpu_s=2.0,
        ends=({"stitch": 1.0, "verify_and_complete": 2.0, "playlists_and_poster": 3.0},),
        deaths=1, requests=10, presigned=20, segments=30, index_bytes=40,
        peak_rss_bytes=2**30, idle_rss_bytes=2**27,
    )  # fmt: skip
    servers = Servers(
        postgres_cpu_s=1.0, written=Written(transactions=30, wal_bytes=2**20), s3_cpu_s=0.1
    )
    point = Point(workers=workers, chunks=10, streams=streams, costs=Costs(mean_s=1.0))
    return Simulated(point=point, measured=measured, servers=servers)


@pytest.fixture
def result() -> ScaleResult:
    return ScaleResult(
        name="scale", title="workers <kept> busy",
        facts={
            "cpu": "a & b", "cores": 2, "commit": "abc", "memory_bytes": 2**34,
            "load_average_1m": 0.5,
        },
        stream="a stream", simulated=(simulated(1, 1, 10.0), simulated(256, 64, 5.0)),
        free=(simulated(256, 1, 1.0),),
        real=(
            Real(workers=1, wall_s=(8.0, 9.0), stream_s=600, cpu_s=(9.0, 9.0)),
            Real(workers=2, wall_s=(5.0,), stream_s=600, cpu_s=(9.0,)),
        ),
        ray=RayCost(
            jobs=10, job_bytes=8, alone_ms=1.0, wall_ms=2.0, cpu_ms={"pool": 0.5}
        ),
        live=LiveCost(
            title="", streams=16, segment_s=4, seconds=40.0, cpu_ms={"capture": 4.5},
            idle_cpu_ms={"capture": 1.0}, transactions=2.0, idle_transactions=1.0,
            wal_bytes=2048.0, idle_wal_bytes=1024.0,
        ),
        catalog=CatalogCost(
            live=2000, accept_wall_ms=1.0, accept_cpu_ms=1.0, accept_postgres_ms=1.0,
            look_wall_ms=1.0, look_cpu_ms=1.0, look_postgres_ms=1.0,
        ),
        notes=("a note",),
    )  # fmt: skip


def test_all_of_it_is_told(result: ScaleResult, capsys: pytest.CaptureFixture[str]) -> None:
    print_outcome(result, Console(width=250))
    said = capsys.readouterr().out
    for words in (
        "256, 64",
        "hours of stream an hour",
        "1.60",
        "a note",
        "load 0.5",
        "CPU ms: capture",
    ):
        assert words in said
    figures = json.loads(json.dumps(result.as_json()))
    assert figures["simulated"][0]["point"]["workers"] == 1
    ideal_s = (
        sum(figures["simulated"][0]["point"]["costs"].values()) and result.simulated[0].ideal_s
    )
    assert figures["simulated"][0]["efficiency"] == pytest.approx(ideal_s / 10.0)
    assert figures["ray"]["cpu_ms"] == {"pool": 0.5}


def test_the_lines_are_to_scale(result: ScaleResult) -> None:
    """Twice the work is as far up as twice the ideal."""
    ours = [replace(each, point=replace(each.point, streams=1)) for each in result.simulated]
    root = ET.fromstring(draw(replace(result, simulated=tuple(ours), real=())))
    groups = {group.get("id"): group for group in root.iter(f"{SVG}g")}

    def heights(name: str) -> list[float]:
        path = groups[name].find(f"{SVG}path")
        assert path is not None
        return [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", path.get("d", ""))]

    drawn = heights("one stream, while there are chunks")
    ideal = heights("ideal: nothing but the chunks costs anything")
    first, second = (each.efficiency for each in ours)
    assert (drawn[0] - drawn[1]) / (ideal[0] - ideal[1]) == pytest.approx(
        math.log2(256 * second / first) / 8, rel=0.01
    )
    words = " ".join(t.text or "" for t in root.iter(f"{SVG}text"))
    for said in ("workers <kept> busy", "one stream, whole recording", f"{second:.0%}"):
        assert said in words
