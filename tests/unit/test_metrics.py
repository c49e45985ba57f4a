"""Counting, and ``/metrics`` over it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from pipeline.errors import (
    CatalogUnavailable,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from pipeline.measured import CaptureMeasure, KafkaMeasure, Measured, PoolMeasure, Waiting
from pipeline.metrics import (
    COUNTS,
    FAMILIES,
    FINISHED,
    GAPS,
    REQUEST_ERRORS,
    REQUEST_SECONDS,
    STAGE_SECONDS,
    TIME_TO_VOD,
    Counts,
    request,
)
from serve_app.access.caller import Scope
from serve_app.access.tokens import mint
from serve_app.metrics import GAUGES
from tests.unit.api_server import Product, in_process

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


# --- counting ---------------------------------------------------------------------------------


def test_what_is_taken_is_counted_no_more() -> None:
    counts = Counts()
    counts.count(GAPS, "window")
    counts.count(GAPS, "window", amount=2)
    assert counts.take() == {("vodray_gaps", ("window",)): [3]}
    assert counts.take() == {}


def test_totals_are_the_sum_of_what_all_processes_have_handed_on() -> None:
    total, first, second = Counts(), Counts(), Counts()
    for counts, value in ((first, 1.5), (second, 4000.0), (second, 1.0)):
        counts.observe(TIME_TO_VOD, value=value)
    for counts in (first, second):
        total.add(counts.take())
    ((key, values),) = total.all().items()
    assert key == ("vodray_time_to_vod_seconds", ())
    within = dict(zip((*TIME_TO_VOD.buckets, "more"), values[1:], strict=True))
    assert values[0] == 4002.5
    assert {bound: count for bound, count in within.items() if count} == {1: 1, 2: 1, "more": 1}


def test_labels_from_outside_make_no_series() -> None:
    counts = Counts()
    for number in range(1000):
        counts.count(STAGE_SECONDS, f"http://host/{number}")
    assert counts.all() == {("vodray_stage_seconds", ("other",)): (1000,)}


def test_nothing_is_no_count() -> None:
    counts = Counts()
    counts.count(GAPS, "window", amount=0)
    assert counts.all() == {}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StoreUnavailable("away"), "unavailable"),
        (CatalogUnavailable("away"), "unavailable"),
        (OSError("away"), "unavailable"),
        (StoreDenied("no"), "denied"),
        (StoreError("what?"), "other"),
        (ObjectMissing("not there"), None),
        (KeyError("ours"), None),
    ],
)
def test_requests_that_fail(error: Exception, kind: str | None) -> None:
    COUNTS.take()
    with pytest.raises(type(error)), request("s3", "get", away=(OSError,)):
        raise error
    counted = COUNTS.take()
    errors = {labels for name, labels in counted if name == REQUEST_ERRORS.name}
    assert errors == ({("s3", "get", kind)} if kind else set())
    assert (REQUEST_SECONDS.name, ("s3", "get")) in counted


# --- telling ----------------------------------------------------------------------------------


def pool(counts: Counts) -> PoolMeasure:
    return PoolMeasure(
        workers=4,
        busy=3,
        running=5,
        waiting={"finish": Waiting(), "live": Waiting(jobs=2, oldest_s=7.5), "backlog": Waiting()},
        counted=counts.all(),
    )


def all_well(counts: Counts) -> Measured:
    return Measured(
        pool=pool(counts),
        capture=CaptureMeasure(
            lags_s=tuple(float(lag) for lag in range(100, 0, -1)),
            used_percent={"spool": 42.0, "ingest": 81.0},
        ),
        supervised=3,
        kafka=KafkaMeasure(is_well=True, lag=12),
        taken_in=1,
    )


def answering(measured: Measured) -> Callable[[], Awaitable[Measured]]:
    async def measure() -> Measured:
        return measured

    return measure


async def read(product: Product, **headers: str) -> Series:
    async with in_process(product) as client:
        answer = await client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_everything_is_told() -> None:
    counts = Counts()
    counts.count(FINISHED, "completed", amount=2)
    for value in (0.5, 3.0, 9000.0):
        counts.observe(TIME_TO_VOD, value=value)
    product = Product(
        measure=answering(all_well(counts)), settings={"kafka_brokers": "broker:9092"}
    )
    for stream in "ab":
        await product.record(stream)
    await product.complete(await product.record("c"))
    told = await read(product)
    for name, labels, value in (
        ("vodray_recordings", {"status": "recording"}, 2),
        ("vodray_recordings", {"status": "completed"}, 1),
        ("vodray_recordings", {"status": "failed"}, 0),
        ("vodray_result_bytes", {}, 524288000),
        ("vodray_live_streams", {}, 100),
        ("vodray_live_lag_seconds", {"quantile": "0.5"}, 50),
        ("vodray_live_lag_seconds", {"quantile": "0.9"}, 90),
        ("vodray_live_lag_seconds", {"quantile": "1"}, 100),
        ("vodray_workers", {}, 4),
        ("vodray_workers_busy", {}, 3),
        ("vodray_queue_jobs", {"urgency": "live"}, 2),
        ("vodray_queue_oldest_seconds", {"urgency": "live"}, 7.5),
        ("vodray_kafka_lag_messages", {}, 12),
        ("vodray_disk_used_ratio", {"folder": "ingest"}, 0.81),
        ("vodray_disk_alert_ratio", {}, 0.8),
        ("vodray_recordings_finished_total", {"outcome": "completed"}, 2),
        ("vodray_recordings_finished_total", {"outcome": "failed"}, 0),
        ("vodray_time_to_vod_seconds_bucket", {"le": "1.0"}, 1),
        ("vodray_time_to_vod_seconds_bucket", {"le": "5.0"}, 2),
        ("vodray_time_to_vod_seconds_bucket", {"le": "3600.0"}, 2),
        ("vodray_time_to_vod_seconds_bucket", {"le": "+Inf"}, 3),
        ("vodray_time_to_vod_seconds_sum", {}, 9003.5),
        ("vodray_dead_letters_total", {}, 0),
        *(
            ("vodray_up", {"component": part}, 1)
            for part in ("postgres", "s3", "workers", "capture", "reconciler", "kafka")
        ),
    ):
        assert told[name, tuple(sorted(labels.items()))] == pytest.approx(value), name
    names = {name for name, _ in told}
    counted = {family.name + ("_count" if family.buckets else "_total") for family in FAMILIES}
    assert (set(GAUGES) | counted) - names == set()


async def test_the_same_series_are_there_before_anything_was_counted() -> None:
    counts = Counts()
    before = await read(Product(measure=answering(all_well(counts))))
    for family in FAMILIES:
        for labels in family.series:
            if family.buckets:
                counts.observe(family, *labels, value=1.0)
            else:
                counts.count(family, *labels)
    after = await read(Product(measure=answering(all_well(counts))))
    assert before.keys() == after.keys()


async def test_what_is_away_is_left_out_and_named() -> None:
    async def away() -> None:
        raise StoreUnavailable("s3 is away")

    told = await read(Product(check_store=away, settings={"kafka_brokers": "broker:9092"}))
    up = {labels[0][1]: value for (name, labels), value in told.items() if name == "vodray_up"}
    assert {part for part, value in up.items() if value} == {"postgres", "workers"}
    assert {"s3", "capture", "reconciler", "kafka"} <= up.keys()
    # A counter that was not asked for is none that is 0.
    assert ("vodray_dead_letters_total", ()) not in told
    assert ("vodray_workers", ()) not in told
    assert ("vodray_recordings", (("status", "completed"),)) in told


async def test_it_answers_without_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    product = Product(measure=answering(all_well(Counts())))

    async def away() -> Any:
        raise CatalogUnavailable("PostgreSQL is away")

    monkeypatch.setattr(product.catalog, "ping", away)
    monkeypatch.setattr(product.catalog, "tally", away)
    told = await read(product)
    assert told["vodray_up", (("component", "postgres"),)] == 0
    assert told["vodray_workers", ()] == 4
    assert not [name for name, _ in told if name == "vodray_recordings"]


async def test_a_broker_that_is_not_well_is_down_though_its_actor_answers() -> None:
    measured = Measured(kafka=KafkaMeasure(is_well=False, lag=None))
    told = await read(
        Product(measure=answering(measured), settings={"kafka_brokers": "broker:9092"})
    )
    assert told["vodray_up", (("component", "kafka"),)] == 0
    assert ("vodray_kafka_lag_messages", ()) not in told


async def test_what_is_not_installed_or_named_is_not_down() -> None:
    told = await read(Product())
    assert ("vodray_up", (("component", "kafka"),)) not in told


async def test_however_many_ask_the_parts_are_asked_once() -> None:
    asked = 0

    async def measure() -> Measured:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.05)
        return Measured()

    async with in_process(Product(measure=measure)) as client:
        answers = await asyncio.gather(*(client.get("/metrics") for _ in range(20)))
        answers.append(await client.get("/metrics"))
    assert asked == 1
    assert len({answer.content for answer in answers}) == 1


async def test_open_metrics_for_those_who_ask_for_it() -> None:
    accept = "application/openmetrics-text; version=1.0.0"
    async with in_process(Product()) as client:
        answer = await client.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_with_access_control_it_needs_a_token_that_reads() -> None:
    secret = SecretStr("x" * 40)
    product = Product(settings={"auth_secret": secret})
    settings = product.app().state.services.settings
    async with in_process(product) as client:
        answers = [
            await client.get("/metrics", headers=headers)
            for headers in (
                {},
                {"Authorization": f"Bearer {mint(settings, [Scope.WRITE], None, 1)}"},
                {"Authorization": f"Bearer {mint(settings, [Scope.READ], None, 1)}"},
            )
        ]
    assert [answer.status_code for answer in answers] == [401, 403, 200]
