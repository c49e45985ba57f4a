"""What the processes of the cluster tell of themselves when metrics are read. Nothing of it is
stored, and what does not answer is None."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.metrics import Counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Jobs in the queue that are equally urgent. ``oldest_s``: for how long the first of them has
    waited."""

    jobs: int = 0
    oldest_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMeasure:
    """``busy``: workers with a job; ``running``: jobs that they have; ``waiting``: by urgency;
    ``counted``: everything that any process has counted since the pool began."""

    workers: int
    busy: int
    running: int
    waiting: Mapping[str, Waiting]
    counted: Counted


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureMeasure:
    """``lags_s``: of each live stream, how long ago something of it was captured last;
    ``used_percent``: of disks, by what we have on them."""

    lags_s: tuple[float, ...]
    used_percent: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaMeasure:
    """``lag``: messages that wait, None while the broker does not tell."""

    is_well: bool
    lag: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """``supervised``: recordings that have a supervisor; ``taken_in``: streams that are published
    to us. ``kafka``, ``taken_in``: None as well where there is no such part."""

    pool: PoolMeasure | None = None
    capture: CaptureMeasure | None = None
    supervised: int | None = None
    kafka: KafkaMeasure | None = None
    taken_in: int | None = None
