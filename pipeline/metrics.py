"""What is counted, and the counts of this process.

A process adds up here and hands on what has come since the last time (``actors.counting``); the
pool has the totals of the cluster, whichever processes end. Every value that a label may have is
written down: there are never more series than these, and all of them are there from the start,
since Prometheus sees no increase of what it has not seen at 0.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from threading import Lock

from pipeline.errors import (
    BrokerUnavailable,
    CatalogUnavailable,
    ObjectMissing,
    SourceForbidden,
    SourceMissing,
    SourceUnavailable,
    StoreDenied,
    StoreUnavailable,
    VodrayError,
)
from pipeline.gap_kinds import GAP_KINDS

_UNKNOWN = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A counter, or with ``buckets`` (upper bounds) a histogram. ``labels``: their names;
    ``series``: which values these have together."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    series: tuple[tuple[str, ...], ...] = ((),)
    buckets: tuple[float, ...] = ()
    known: frozenset[tuple[str, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", frozenset(self.series))


def _family(
    name: str, meaning: str, buckets: tuple[float, ...] = (), **labels: Iterable[str]
) -> Family:
    """With every combination of the labels' values."""
    series = tuple(product(*labels.values()))
    return Family(name=name, meaning=meaning, labels=tuple(labels), series=series, buckets=buckets)


# --- what is counted -----------------------------------------------------------------------------

REMEDIES = ("tables", "headers", "mended", "encoded")
STAGES = (
    *("download", "decrypt", "demux", "mux", "index", "decode", "scale", "encode", "sound"),
    *("tiles", "upload", "waiting"),
)
ENCODING_STAGES = ("decode", "scale", "encode")
"""That is what encoding pictures takes, from one end to the other."""
_OPERATIONS = {
    "postgres": ("call", "open"),
    "s3": (
        *("bucket", "stat", "get", "put", "list", "delete", "begin", "parts", "complete", "abort"),
        "uploads",
    ),
    "kafka": ("connect", "commit", "send"),
    "source": ("get",),
}
_REQUESTS = tuple((service, op) for service, ops in _OPERATIONS.items() for op in ops)
_ERROR_KINDS = ("unavailable", "denied", _UNKNOWN)
_QUICK = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)

FINISHED = _family(
    "vodray_recordings_finished",
    "Recordings that became final",
    outcome=("completed", "failed", "cancelled"),
)
TIME_TO_VOD = _family(
    "vodray_time_to_vod_seconds",
    "From a stream's end, or from when we heard of it, to its finished recording",
    buckets=(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600),
)
TASKS = _family(
    "vodray_tasks",
    "Events about streams that were written down",
    origin=("webhook", "kafka", "command", "status", "ingest"),
)
DEAD_LETTERS = _family("vodray_dead_letters", "Messages that are no task")
CAPTURED = _family(
    "vodray_captured_segments",
    "Segments of sources that were kept or noted, or are missing",
    outcome=("kept", "gap"),
)
CHUNKS = _family(
    "vodray_chunks",
    "Chunks in the ledger: with all their segments, with some, with nothing",
    outcome=("whole", "gaps", "empty"),
)
CHUNK_REMEDIES = _family(
    "vodray_chunk_remedies",
    "Chunks in which something was not just copied",
    remedy=(*REMEDIES, _UNKNOWN),
)
SEGMENTS = _family(
    "vodray_segments",
    "Segments in these chunks, and those that could not be used",
    outcome=("recorded", "lost"),
)
BYTES = _family("vodray_bytes", "Bytes of chunks: read and made", direction=("in", "out"))
MEDIA_SECONDS = _family("vodray_media_seconds", "Seconds of media in these chunks")
STAGE_SECONDS = _family(
    "vodray_stage_seconds",
    "What chunks took of workers' time, by stage",
    stage=(*STAGES, _UNKNOWN),
)
ENCODE_SPEED = _family(
    "vodray_encode_speed",
    "How many seconds of media a worker encodes in a second, by chunk",
    buckets=(0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64),
)
GAPS = _family("vodray_gaps", "Gaps in completed recordings, by why", reason=GAP_KINDS)
GAP_SECONDS = _family("vodray_gap_seconds", "Seconds that are missing there", reason=GAP_KINDS)
JOBS = _family(
    "vodray_jobs",
    "Jobs of workers that were answered",
    kind=("look", "chunk", "fill", "join", "poster", "sheet"),
    outcome=("done", "failed", "poison"),
)
WORKER_DEATHS = _family("vodray_worker_deaths", "Workers that died with a job in hand")
REQUEST_SECONDS = Family(
    name="vodray_request_seconds",
    meaning="What requests to other services took, those that failed as well",
    labels=("service", "operation"),
    series=_REQUESTS,
    buckets=_QUICK,
)
REQUEST_ERRORS = Family(
    name="vodray_request_errors",
    meaning="Requests to other services that failed",
    labels=("service", "operation", "kind"),
    series=tuple((*request, kind) for request in _REQUESTS for kind in _ERROR_KINDS),
)

FAMILIES = (
    FINISHED,
    TIME_TO_VOD,
    TASKS,
    DEAD_LETTERS,
    CAPTURED,
    CHUNKS,
    CHUNK_REMEDIES,
    SEGMENTS,
    BYTES,
    MEDIA_SECONDS,
    STAGE_SECONDS,
    ENCODE_SPEED,
    GAPS,
    GAP_SECONDS,
    JOBS,
    WORKER_DEATHS,
    REQUEST_SECONDS,
    REQUEST_ERRORS,
)


# --- counting ------------------------------------------------------------------------------------

Counted = Mapping[tuple[str, tuple[str, ...]], Sequence[float]]
"""By name of the family and values of its labels: of a counter its value; of a histogram the sum,
then how many were within each bucket and no smaller one, the last one without a bound."""


class Counts:
    """Adds up. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counted: dict[tuple[str, tuple[str, ...]], list[float]] = {}

    def count(self, family: Family, *labels: str, amount: float = 1.0) -> None:
        if amount > 0:
            self.add({(family.name, _series(family, labels)): [amount]})

    def observe(self, family: Family, *labels: str, value: float) -> None:
        """One more in a histogram."""
        buckets = [0.0] * (len(family.buckets) + 1)
        buckets[sum(value > bound for bound in family.buckets)] = 1.0
        self.add({(family.name, _series(family, labels)): [value, *buckets]})

    def add(self, counted: Counted) -> None:
        with self._lock:
            for key, values in counted.items():
                mine = self._counted.get(key)
                self._counted[key] = (
                    list(values)
                    if mine is None
                    else [a + b for a, b in zip(mine, values, strict=True)]
                )

    def take(self) -> Counted:
        """What has come since the last time."""
        with self._lock:
            taken, self._counted = self._counted, {}
            return taken

    def all(self) -> Counted:
        with self._lock:
            return {key: tuple(values) for key, values in self._counted.items()}


def _series(family: Family, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Whatever it is, no series comes of it that is not known: names may come from outside."""
    if labels in family.known:
        return labels
    return tuple(_UNKNOWN for _ in labels)


_AWAY = (StoreUnavailable, SourceUnavailable, CatalogUnavailable, BrokerUnavailable)

COUNTS = Counts()
"""Of this process."""


@contextmanager
def request(service: str, operation: str, away: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Count what is done inside as one request: how long it takes, and whether it fails with an
    error of ours, or with one of a library's that say that the service is ``away``. That something
    is not there is an answer as well."""
    begin = time.perf_counter()
    try:
        yield
    except Exception as error:
        if not isinstance(error, (VodrayError, *away)):
            raise
        if (kind := _kind(error)) is not None:
            COUNTS.count(REQUEST_ERRORS, service, operation, kind)
        raise
    finally:
        COUNTS.observe(REQUEST_SECONDS, service, operation, value=time.perf_counter() - begin)


def _kind(error: Exception) -> str | None:
    if isinstance(error, ObjectMissing | SourceMissing):
        return None
    if not isinstance(error, VodrayError) or isinstance(error, _AWAY):
        return "unavailable"
    return "denied" if isinstance(error, StoreDenied | SourceForbidden) else _UNKNOWN
