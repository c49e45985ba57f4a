"""What ``/metrics`` says: the state of the whole cluster, whichever replica answers.

Counts come from the pool, where every process hands on its own; what recordings there are, from the
catalogue; the rest from the actors that know it. What does not answer is left out, but for
``vodray_up``, so that no outage looks like a counter that began anew.
"""

import asyncio
import math
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version as installed
from typing import Protocol

import structlog
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from pipeline.errors import CatalogUnavailable, NotInstalled
from pipeline.ingest.commands import check_installed
from pipeline.measured import CaptureMeasure, KafkaMeasure, Measured, PoolMeasure
from pipeline.metrics import FAMILIES, Counted, Family
from pipeline.model import Status
from pipeline.settings import Settings
from pipeline.stores.catalog import Tally
from serve_app.services import Services
from serve_app.version import version

# However many ask, and however often.
_KEPT_S = 5.0
_QUANTILES = (0.5, 0.9, 0.99, 1.0)
_PACKAGES = ("ray", "av")

GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "vodray_build_info": ("Always 1: which versions run", ("version", "python", *_PACKAGES)),
    "vodray_up": ("Whether a part of the service answers and is well", ("component",)),
    "vodray_recordings": ("Recordings that there are", ("status",)),
    "vodray_result_bytes": ("Bytes of the main objects of all recordings", ()),
    "vodray_unchanged_seconds": (
        "Of the unfinished recording of which that is longest so: since nothing has changed of it",
        ("status",),
    ),
    "vodray_supervised_recordings": ("Recordings that have a supervisor", ()),
    "vodray_live_streams": ("Live streams that are followed", ()),
    "vodray_live_lag_seconds": (
        "Since something of a live stream was captured last: this share of them has less",
        ("quantile",),
    ),
    "vodray_ingest_streams": ("Streams that are published to us", ()),
    "vodray_workers": ("Workers that there are", ()),
    "vodray_workers_busy": ("Workers with a job", ()),
    "vodray_jobs_running": ("Jobs that workers have", ()),
    "vodray_queue_jobs": ("Jobs that wait for a worker", ("urgency",)),
    "vodray_queue_oldest_seconds": ("For how long the first of them has waited", ("urgency",)),
    "vodray_kafka_lag_messages": ("Tasks in Kafka that are not durable in PostgreSQL yet", ()),
    "vodray_disk_used_ratio": ("Of the disk that a folder of ours is on, 0 to 1", ("folder",)),
    "vodray_disk_alert_ratio": ("DISK_ALERT_PERCENT, 0 to 1", ()),
    "vodray_stall_timeout_seconds": ("STALL_TIMEOUT", ()),
}

_log = structlog.get_logger(__name__)


class AsksPart(Protocol):
    """See ``serve_app.routes.health.Check``."""

    async def __call__(self) -> str: ...


class Families(Collector):
    """What was read, as the client's encoders take it."""

    def __init__(self, families: Iterable[Metric] = ()) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


class Metrics:
    """Of one application. ``checks``: of parts, by name."""

    def __init__(self, services: Services, checks: Mapping[str, AsksPart]) -> None:
        self._services, self._checks = services, checks
        self._reading: asyncio.Task[Families] | None = None
        self._read_at = -math.inf

    async def read(self) -> Families:
        """At most some seconds old. Answers within 4 s, whatever is away."""
        is_old = time.monotonic() - self._read_at >= _KEPT_S
        if self._reading is None or (self._reading.done() and is_old):
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(self._reading)

    async def _read(self) -> Families:
        measured, tally, answers = await asyncio.gather(
            self._services.measure(),
            self._tally(),
            asyncio.gather(*(check() for check in self._checks.values())),
        )
        self._read_at = time.monotonic()
        settings = self._services.settings
        well = {part: answer == "ok" for part, answer in zip(self._checks, answers, strict=True)}
        up: dict[tuple[str, ...], float] = {
            (p,): is_up for p, is_up in _up(well, measured, settings)
        }
        return Families(
            [
                *_fixed(settings),
                _gauge("vodray_up", up),
                *_recordings(tally),
                *_measured(measured),
            ]
        )

    async def _tally(self) -> Mapping[Status, Tally] | None:
        try:
            return await self._services.catalog.tally()
        except CatalogUnavailable as error:
            _log.info("recordings not counted", reason=str(error))
            return None


def _gauge(name: str, values: Mapping[tuple[str, ...], float]) -> Metric:
    meaning, labels = GAUGES[name]
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for of, value in values.items():
        family.add_metric(of, float(value))
    return family


def _fixed(settings: Settings) -> Iterator[Metric]:
    versions = (version(), platform.python_version(), *map(installed, _PACKAGES))
    yield _gauge("vodray_build_info", {versions: 1})
    yield _gauge("vodray_disk_alert_ratio", {(): settings.disk_alert_percent / 100})
    yield _gauge("vodray_stall_timeout_seconds", {(): settings.stall_timeout.total_seconds()})


def _up(
    checked: Mapping[str, bool], measured: Measured, settings: Settings
) -> Iterator[tuple[str, bool]]:
    """Parts that belong to this installation."""
    yield from checked.items()
    yield "capture", measured.capture is not None
    yield "reconciler", measured.supervised is not None
    if settings.kafka_brokers:
        yield "kafka", measured.kafka is not None and measured.kafka.is_well
    with suppress(NotInstalled):
        check_installed()
        yield "ingest", measured.taken_in is not None


def _recordings(tally: Mapping[Status, Tally] | None) -> Iterator[Metric]:
    if tally is None:
        return
    of = {status: tally.get(status, Tally()) for status in Status}
    yield _gauge("vodray_recordings", {(status,): own.recordings for status, own in of.items()})
    yield _gauge("vodray_result_bytes", {(): sum(own.file_size for own in of.values())})
    unfinished = {status: own for status, own in of.items() if not status.is_final}
    yield _gauge(
        "vodray_unchanged_seconds",
        {(status,): own.unchanged_s for status, own in unfinished.items()},
    )


def _measured(measured: Measured) -> Iterator[Metric]:
    if measured.capture is not None:
        yield from _captured(measured.capture)
    if measured.supervised is not None:
        yield _gauge("vodray_supervised_recordings", {(): measured.supervised})
    if measured.taken_in is not None:
        yield _gauge("vodray_ingest_streams", {(): measured.taken_in})
    if measured.kafka is not None:
        yield from _kafka(measured.kafka)
    if measured.pool is not None:
        yield from _pool(measured.pool)


def _captured(capture: CaptureMeasure) -> Iterator[Metric]:
    yield _gauge("vodray_live_streams", {(): len(capture.lags_s)})
    lags = sorted(capture.lags_s)
    if lags:
        ranks = {q: math.ceil(q * len(lags)) - 1 for q in _QUANTILES}
        yield _gauge(
            "vodray_live_lag_seconds", {(f"{q:g}",): lags[rank] for q, rank in ranks.items()}
        )
    used = capture.used_percent
    yield _gauge(
        "vodray_disk_used_ratio", {(name,): percent / 100 for name, percent in used.items()}
    )


def _kafka(kafka: KafkaMeasure) -> Iterator[Metric]:
    if kafka.lag is not None:
        yield _gauge("vodray_kafka_lag_messages", {(): kafka.lag})


def _pool(pool: PoolMeasure) -> Iterator[Metric]:
    yield _gauge("vodray_workers", {(): pool.workers})
    yield _gauge("vodray_workers_busy", {(): pool.busy})
    yield _gauge("vodray_jobs_running", {(): pool.running})
    waiting = pool.waiting.items()
    yield _gauge("vodray_queue_jobs", {(urgency,): one.jobs for urgency, one in waiting})
    yield _gauge("vodray_queue_oldest_seconds", {(urgency,): w.oldest_s for urgency, w in waiting})
    for family in FAMILIES:
        yield _counted(family, pool.counted)


def _counted(family: Family, counted: Counted) -> Metric:
    """All its series, those as well in which nothing was counted."""
    found = {labels: values for (name, labels), values in counted.items() if name == family.name}
    series = {labels: found.get(labels, ()) for labels in (*family.series, *found)}
    if not family.buckets:
        counter = CounterMetricFamily(family.name, family.meaning, labels=family.labels)
        for labels, values in series.items():
            counter.add_metric(labels, values[0] if values else 0.0)
        return counter
    histogram = HistogramMetricFamily(family.name, family.meaning, labels=family.labels)
    for labels, values in series.items():
        total, *within = values or (0.0, *(0.0 for _ in family.buckets), 0.0)
        histogram.add_metric(labels, _cumulative(family.buckets, within), total)
    return histogram


def _cumulative(bounds: Sequence[float], within: Sequence[float]) -> list[tuple[str, float]]:
    """As Prometheus has buckets: each with all that are smaller."""
    so_far, buckets = 0.0, []
    for bound, count in zip((*bounds, math.inf), within, strict=True):
        so_far += count
        buckets.append(("+Inf" if math.isinf(bound) else str(float(bound)), so_far))
    return buckets
