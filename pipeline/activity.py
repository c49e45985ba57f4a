"""What workers are doing now, as the pool tells those who watch. Nothing of it is stored."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """A job that waits (``worker`` is None) or is at a worker.

    ``kind``: ``look``, ``chunk``, ``fill``, ``join``, ``poster`` or ``sheet``; ``chunk``: its
    number, where it is one. ``since_s``: seconds for which it has been so. ``tries``: with this.
    """

    recording: str
    kind: str
    chunk: int | None = None
    worker: int | None = None
    tries: int = 1
    since_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """Who had a chunk last, and how many tries it took."""

    chunk: int
    worker: int | None
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerActivity:
    """One worker since the pool began. ``node``: its machine, None until it has told."""

    number: int
    name: str
    node: str | None = None
    chunks: int = 0
    media_s: float = 0.0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What all workers made within the last ``window_s`` seconds."""

    window_s: float = 60.0
    chunks: int = 0
    media_s: float = 0.0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """``waiting``: jobs in the queue. Of one recording: all its jobs, and its chunks that the pool
    remembers (``tried``); of all: the jobs that are at workers."""

    workers: tuple[WorkerActivity, ...] = ()
    jobs: tuple[InFlight, ...] = ()
    tried: tuple[Tried, ...] = ()
    waiting: int = 0
    recent: Throughput = Throughput()
