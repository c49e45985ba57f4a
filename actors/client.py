"""The one door to the actors: for the HTTP service, the command line and the bench.

Nobody above this module names an actor.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import ray
import structlog
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors import alone, names, pool
from actors.capture_process import CaptureActor
from actors.counting import hand_on, hand_on_for_ever
from actors.faults import actor_errors
from actors.ingest import IngestActor
from actors.kafka_service import KafkaActor
from actors.reconciler import ReconcilerActor
from actors.recording import pool_slots, submit_to_pool
from pipeline.activity import Activity
from pipeline.disk import DiskState
from pipeline.errors import NotInstalled, WorkerLost
from pipeline.ingest.commands import check_installed
from pipeline.ingest.state import Notice
from pipeline.ingest.view import View
from pipeline.measured import Measured
from pipeline.model import EventKind, Origin, Recording, StreamEvent
from pipeline.settings import Settings
from pipeline.source import Source
from pipeline.stores.catalog_memory import MemoryCatalog
from pipeline.stores.connect import make_catalog
from pipeline.stores.objects import ObjectStore

_CALL_TIMEOUT_S = 10.0
_PROGRESS_EVERY_S = 0.2
_ACTIVITY_TIMEOUT_S = 2.0
_MEASURE_TIMEOUT_S = 2.5
_POKE_EVERY_S = 0.05

log = structlog.get_logger()


class Client:
    """What the HTTP service asks of the actors. Needs a Ray that ``start`` was called on."""

    def __init__(self) -> None:
        self._news: set[UUID] = set()
        self._telling: asyncio.Task[None] | None = None
        self._told_at = 0.0

    async def poke(self, recordings: Collection[UUID] = ()) -> None:
        """Say that there is news, maybe about recordings that run. Never fails: they look by
        themselves as well. What comes close upon the other is said together."""
        self._news.update(recordings)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        await asyncio.sleep(max(0.0, self._told_at + _POKE_EVERY_S - time.monotonic()))
        self._told_at = time.monotonic()
        news, self._news = list(self._news), set()
        for name in (names.CAPTURE, names.RECONCILER):
            try:
                _actor(name).poke.remote(news)
            except WorkerLost as error:
                log.warning("poke_failed", error=str(error))

    async def check_workers(self) -> None:
        """Raise ``WorkerLost`` unless at least one worker answers."""
        with actor_errors("the pool"):
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                await _actor(names.POOL).check.remote()

    async def activity(self, recording_id: UUID | None = None) -> Activity:
        """What the workers do, of one recording or of all; empty if the pool does not tell."""
        of = recording_id and str(recording_id)
        activity: Activity | None = await _measured(
            names.POOL, lambda actor: actor.activity.remote(of), _ACTIVITY_TIMEOUT_S
        )
        return Activity() if activity is None else activity

    async def count_for_ever(self) -> None:
        """Hand on what this process counts."""
        await hand_on_for_ever()

    async def measure(self) -> Measured:
        """What the processes tell of themselves; each has little time to answer."""
        _, pool, capture, running, kafka, taken_in = await asyncio.gather(
            hand_on(),
            _measured(names.POOL, lambda actor: actor.measure.remote()),
            _measured(names.CAPTURE, lambda actor: actor.measure.remote()),
            _measured(names.RECONCILER, lambda actor: actor.running.remote()),
            _measured(names.KAFKA, lambda actor: actor.measure.remote()),
            _measured(names.INGEST, lambda actor: actor.status.remote()),
        )
        return Measured(
            pool=pool,
            capture=capture,
            supervised=None if running is None else len(running),
            kafka=kafka,
            taken_in=None if taken_in is None else len(taken_in),
        )

    async def disk(self) -> DiskState | None:
        """How full the service's disks are; None if the reconciler does not tell."""
        state: DiskState | None = await _measured(
            names.RECONCILER, lambda actor: actor.disk.remote(), _ACTIVITY_TIMEOUT_S
        )
        return state

    async def ingest_notify(self, notice: Notice) -> View:
        """See ``IngestService.notify``; ``NotInstalled`` without the extra."""
        view: View = await _ask_ingest(lambda ingest: ingest.notify.remote(notice))
        return view

    async def ingest_status(self) -> tuple[View, ...]:
        """Streams that are taken in now."""
        views: tuple[View, ...] = await _ask_ingest(lambda ingest: ingest.status.remote())
        return views

    async def ingest_cleanup(self) -> int:
        """Forget those that have ended; how many."""
        count: int = await _ask_ingest(lambda ingest: ingest.cleanup.remote())
        return count


def start(settings: Settings, *, node_id: str | None = None) -> None:
    """Start the actors that every recording needs, unless the cluster has them already: on the node
    with this id, else on this one."""
    place = _on(node_id)
    _start_pool(settings, place, detached=True)
    CaptureActor.options(**_service(names.CAPTURE), **place).remote(settings)
    ReconcilerActor.options(**_service(names.RECONCILER), **place).remote(settings)
    if settings.kafka_brokers:
        KafkaActor.options(**_service(names.KAFKA), **place).remote(
            settings, partial(make_catalog, settings), Client().poke
        )
    with contextlib.suppress(NotInstalled):
        check_installed()
        IngestActor.options(**_service(names.INGEST), **place, max_task_retries=3).remote(
            settings, partial(make_catalog, settings), Client().poke
        )


def stop(grace_s: float = 2.5) -> None:
    """End the actors. Recordings go on where they were when ``start`` is called again."""
    stopping = []
    for name in (names.INGEST, names.KAFKA):
        with contextlib.suppress(WorkerLost):
            stopping.append(_actor(name).stop.remote())
    if stopping:
        with contextlib.suppress(ray.exceptions.RayError):
            ray.wait(stopping, num_returns=len(stopping), timeout=grace_s)
    for name in (names.INGEST, names.KAFKA, names.CAPTURE, names.RECONCILER, names.POOL):
        try:
            ray.kill(_actor(name), no_restart=True)
        except WorkerLost:
            continue


@asynccontextmanager
async def workers_only(settings: Settings, count: int = 0) -> AsyncIterator[None]:
    """Just the workers, for recordings that this process supervises itself."""
    handle = _start_pool(settings, _on(), detached=False, workers=count)
    try:
        yield
    finally:
        ray.kill(handle, no_restart=True)


async def record_alone(
    source: Source,
    *,
    results: ObjectStore,
    bucket: str,
    name: str,
    settings: Settings,
    follow: bool,
    on_progress: Callable[[Recording], None],
) -> tuple[Recording, dict[str, Any]]:
    """Record one source without PostgreSQL; inside ``workers_only``.

    The result is ``{name}.mp4`` in ``bucket``. Returns the final recording and its report.
    """
    settings = settings.model_copy(update={"object_name": name.replace("{", "_")})
    catalog = MemoryCatalog(reconnect_window=timedelta(0), profile=settings.profile)
    await catalog.open()
    accepted = await catalog.accept(
        StreamEvent(
            kind=EventKind.STARTED,
            stream_id=name,
            origin=Origin.COMMAND,
            occurred_at=datetime.now(UTC),
        )
    )
    assert accepted.recording_id is not None
    recording = alone.record_alone(
        accepted.recording_id,
        catalog=catalog,
        results=results,
        bucket=bucket,
        sources=[source],
        submit=submit_to_pool,
        slots=await pool_slots(),
        settings=settings,
        may_grow=follow,
    )
    work = asyncio.ensure_future(recording)
    try:
        while not work.done():
            await asyncio.wait({work}, timeout=_PROGRESS_EVERY_S)
            on_progress(await catalog.get(accepted.recording_id))
        return await work, dict(await catalog.report(accepted.recording_id) or {})
    finally:
        work.cancel()


def _start_pool(
    settings: Settings, place: dict[str, Any], *, detached: bool, workers: int = 0
) -> Any:
    lifetime = {"lifetime": "detached", "get_if_exists": True} if detached else {}
    return pool.PoolActor.options(
        name=names.POOL, namespace=names.NAMESPACE, **place, **lifetime, **pool.OPTIONS
    ).remote(workers, settings.job_timeout.total_seconds(), settings.max_workers)


def _service(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": names.NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "max_restarts": -1,
        "max_concurrency": 1000,
    }


def _on(node_id: str | None = None) -> dict[str, Any]:
    """On that node (else this one), while it lives: nodes that come and go are for workers."""
    node_id = node_id or ray.get_runtime_context().get_node_id()
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=True)}


async def _measured(
    name: str, call: Callable[[Any], Any], timeout_s: float = _MEASURE_TIMEOUT_S
) -> Any:
    """None if it does not answer."""
    try:
        with actor_errors(name):
            async with asyncio.timeout(timeout_s):
                return await call(_actor(name))
    except (WorkerLost, TimeoutError, ray.exceptions.RayError) as error:
        log.debug("not_measured", actor=name, error=str(error))
        return None


async def _ask_ingest(call: Callable[[Any], Any]) -> Any:
    check_installed()
    with actor_errors("the ingest"):
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                return await call(_actor(names.INGEST))
        except TimeoutError as error:
            raise WorkerLost("The ingest does not answer") from error


def _actor(name: str) -> Any:
    try:
        return ray.get_actor(name, namespace=names.NAMESPACE)
    except ValueError as error:
        raise WorkerLost(f"{name} is not running") from error
