"""The reconciler: holds what the catalogue says against what is running, at start, when poked and
regularly. Each unfinished recording has a supervisor actor; events that only the source can place
are placed. It decides nothing about media and keeps nothing that the catalogue does not know.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID, uuid4

import ray
import structlog

from actors import names
from actors.counting import hand_on_for_ever
from actors.faults import actor_errors
from actors.loops import pause, rest
from actors.recording import sources_of
from actors.stream_status import StreamStatus
from actors.supervisors import Supervisors
from actors.sweep import Sweeper
from actors.upkeep import Housekeeper
from pipeline import logs, tracing
from pipeline.disk import DiskAlert, DiskState
from pipeline.errors import SourceError, SourceForbidden, VodrayError
from pipeline.model import Recording, Status, StreamEvent
from pipeline.settings import Settings
from pipeline.source import fingerprint, open_presentation
from pipeline.stores.connect import make_catalog, make_store
from pipeline.stores.platform_postgres import PostgresPlatform
from pipeline.stores.upkeep import Upkeep

_EVERY_S = 2.0
_RETRY_S = 5.0
_UNEXPECTED_ERRORS = 3
# Who has worked for so long has got somewhere: what ends it is counted anew.
_LONG_RUN_S = 600.0
_MOST_ENDED = 16
# Processes that start at a time, each of which takes a core for 1.5 s: what is captured waits for a
# supervisor, but live windows wait for nobody.
_MOST_STARTING = 1
_START_S = 60.0
_SETTLE_EVERY_S = 10.0
_ORPHANS_EVERY_S = 600.0

log = structlog.get_logger()


@dataclass(slots=True)
class _Running:
    handle: Any
    task: "asyncio.Task[None]"
    has_ended: bool
    is_up: bool = False


class Reconciler:
    """Async actor: works from its start on; ``poke`` says that there is news."""

    def __init__(self, settings: Settings) -> None:
        logs.configure(settings)
        tracing.configure(settings)
        self._settings = settings
        self._supervisors = Supervisors(settings)
        self._catalog = make_catalog(settings)
        self._store = make_store(settings)
        self._sweeper = Sweeper(self._catalog, self._store, settings.minio_bucket)
        self._disk = DiskAlert(settings)
        self._settle_at = self._orphans_at = 0.0
        self._poked = asyncio.Event()
        self._running: dict[UUID, _Running] = {}
        self._not_before: dict[UUID, float] = {}
        self._unexpected: Counter[UUID] = Counter()
        # Ray restarts the process, not the call that ran in it: the loop starts with the actor.
        self._loop = asyncio.get_running_loop().create_task(self._run())
        self._counting = asyncio.get_running_loop().create_task(hand_on_for_ever())

    async def _run(self) -> None:
        """For ever; an outage of a store is waited out."""
        while True:
            try:
                await self._catalog.open()
                await asyncio.to_thread(self._ensure_buckets)
                break
            except VodrayError as error:
                log.warning("stores_away", error=str(error))
                await asyncio.sleep(_RETRY_S)
        if self._settings.stream_service_url:
            status = StreamStatus(self._settings, self._catalog, self._pass_on)
            self._asking = asyncio.get_running_loop().create_task(status.run())
        self._upkeep = asyncio.get_running_loop().create_task(self._housekeeper().run())
        while True:
            began = time.monotonic()
            try:
                await self._reconcile()
            except Exception as error:  # noqa: BLE001 - nobody else would start it again
                log.warning("reconcile_failed", error=str(error))
            await rest(time.monotonic() - began)
            await pause(self._poked, _EVERY_S)
            self._poked.clear()

    def _housekeeper(self) -> Housekeeper:
        database = self._catalog.database
        return Housekeeper(
            self._settings,
            self._catalog,
            PostgresPlatform(database),
            Upkeep(database),
            self._store,
        )

    async def poke(self, recordings: Collection[UUID] = ()) -> None:
        """There is news, and what is about these recordings their supervisors should see now."""
        self._poked.set()
        await self.wake(recordings)

    async def wake(self, recordings: Collection[UUID]) -> None:
        """There is more for the supervisors of these recordings."""
        for recording_id in recordings:
            if recording_id in self._running:
                self._running[recording_id].handle.wake.remote(recording_id)
            else:
                self._poked.set()

    async def _pass_on(self, recordings: Collection[UUID]) -> None:
        """News of our own, to the capture as well."""
        await self.poke(recordings)
        with contextlib.suppress(ValueError):
            capture: Any = ray.get_actor(names.CAPTURE, namespace=names.NAMESPACE)
            capture.poke.remote(recordings)

    async def disk(self) -> DiskState:
        """As it was looked at last."""
        return self._disk.state

    async def running(self) -> list[str]:
        return [str(recording_id) for recording_id in self._running]

    def _ensure_buckets(self) -> None:
        for bucket in (self._settings.minio_bucket, self._settings.minio_hls_bucket):
            self._store.ensure_bucket(bucket)

    async def _reconcile(self) -> None:
        for task_id, event in await self._catalog.undecided():
            await self._decide(task_id, event)
        if self._disk.has_changed():
            told = log.warning if self._disk.state.is_full else log.info
            told("disk_alert", **asdict(self._disk.state))
        for recording in await self._catalog.to_supervise():
            waits = self._not_before.get(recording.id, 0.0) > time.monotonic()
            if recording.id not in self._running and not waits and self._has_room(recording):
                self._start(recording)
        self._supervisors.keep_ready()
        await self._sweep()

    def _has_room(self, recording: Recording) -> bool:
        running = self._running.values()
        ended = sum(one.has_ended for one in running)
        if not may_begin(recording, ended=ended, disk_is_full=self._disk.state.is_full):
            return False
        is_starting = sum(not one.is_up for one in running) >= _MOST_STARTING
        return not is_starting or self._supervisors.has_room(recording)

    async def _sweep(self) -> None:
        """Now and then; a reconciler that has just begun finds what was left before it."""
        now = time.monotonic()
        if now >= self._settle_at:
            self._settle_at = now + _SETTLE_EVERY_S
            await self._sweeper.settle()
            await self._sweeper.remove_deleted()
        if now >= self._orphans_at:
            self._orphans_at = now + _ORPHANS_EVERY_S
            await self._sweeper.remove_orphans()

    async def _decide(self, task_id: int, event: StreamEvent) -> None:
        """An event whose source cannot be looked at now waits; others do not wait for it."""
        try:
            mark = await asyncio.to_thread(self._fingerprint, event)
            accepted = await self._catalog.decide(task_id, mark)
            log.info("task_decided", task=task_id, outcome=accepted.outcome)
        except VodrayError as error:
            log.warning("task_undecided", task=task_id, error=str(error))

    def _fingerprint(self, event: StreamEvent) -> str | None:
        """What the event's source holds now; None if nothing can be read there."""
        probe = Recording(
            id=uuid4(),
            stream_id=event.stream_id,
            stream_key=event.stream_key,
            source=event.hls_path,
            status=Status.RECORDING,
            started_at=event.occurred_at,
            created_at=event.occurred_at,
            updated_at=event.occurred_at,
        )
        with contextlib.suppress(SourceForbidden):
            for source in sources_of(probe, self._store, self._settings):
                with contextlib.suppress(SourceError):
                    found = open_presentation(source)
                    if found.playlist.segments:
                        return fingerprint(found.source, found.playlist.segments[0])
        return None

    def _start(self, recording: Recording) -> None:
        handle = self._supervisors.start(recording)
        task = asyncio.get_running_loop().create_task(self._watch(recording.id, handle))
        self._running[recording.id] = _Running(handle, task, recording.end_reason is not None)
        log.info("supervisor_started", recording=str(recording.id), stream=recording.stream_id)

    async def _wait_up(self, recording_id: UUID, handle: Any) -> None:
        """Until the actor's process answers, or has had its time to start."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                await handle.__ray_ready__.remote()
        self._running[recording_id].is_up = True
        self._poked.set()

    async def _watch(self, recording_id: UUID, handle: Any) -> None:
        is_well, began = False, time.monotonic()
        try:
            with actor_errors(f"the supervisor of {recording_id}"):
                await self._wait_up(recording_id, handle)
                last_try = self._unexpected[recording_id] + 1 >= _UNEXPECTED_ERRORS
                await handle.run.remote(recording_id, last_try=last_try)
            is_well = True
            self._not_before.pop(recording_id, None)
            self._unexpected.pop(recording_id, None)
        except Exception as error:  # noqa: BLE001 - whatever it was, the catalogue still knows
            if not (isinstance(error, VodrayError) and error.retry):
                was_short = time.monotonic() - began < _LONG_RUN_S
                self._unexpected[recording_id] = was_short * self._unexpected[recording_id] + 1
            self._not_before[recording_id] = time.monotonic() + _RETRY_S
            log.warning("supervisor_ended", recording=str(recording_id), error=str(error))
        finally:
            self._supervisors.end(handle, is_well=is_well)
            self._running.pop(recording_id, None)
            if not self._running:
                self._supervisors.all_ended()
            self._poked.set()


def may_begin(recording: Recording, *, ended: int, disk_is_full: bool) -> bool:
    """Live streams get a supervisor as soon as one can be started; of those that have ended, a few
    at a time: more processes would finish none of them sooner. Where a disk is nearly full, those
    wait of which nothing is made yet and nobody had told that they are live: one that was may have
    ended before its supervisor could start. ``ended``: how many of them run."""
    if recording.end_reason is None:
        return True
    is_backlog = recording.object_name is None and recording.last_start_at is None
    return ended < _MOST_ENDED and not (is_backlog and disk_is_full)


ReconcilerActor = ray.remote(Reconciler)
