"""The actor that captures the sources of all unfinished recordings, each in a task of its own.

It is small and always there: no live window waits until a supervisor's process has started. What it
knows is in the catalogue, so that one that comes after it goes on.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import ray
import structlog

from actors import names
from actors.capture import Capture
from actors.counting import hand_on_for_ever
from actors.depot import Depot
from actors.find_source import LOOKS_PER_S
from actors.loops import Turns, backoff, pause, rest
from actors.recording import sources_of
from pipeline import logs, tracing
from pipeline.disk import used_percent, watched
from pipeline.errors import RecordingNotFound, VodrayError
from pipeline.measured import CaptureMeasure
from pipeline.model import EndReason, Recording
from pipeline.settings import Settings
from pipeline.stores.connect import make_catalog, make_store

_EVERY_S = 2.0
_RETRY_S = 5.0
# What cannot be written down is noted on disk instead, and soon.
_PATIENCE_S = 3.0
_UNEXPECTED_ERRORS = 3
# After so long without one, an error is the first one again.
_STEADY_S = 60.0
# Playlists are read and sources looked for in these; segments have threads of their own.
_THREADS = 64

log = structlog.get_logger()


@dataclass(slots=True)
class _Running:
    capture: Capture
    task: "asyncio.Task[None]"


class CaptureProcess:
    """Async actor: works from its start on; ``poke`` says that there is news."""

    def __init__(self, settings: Settings) -> None:
        logs.configure(settings)
        tracing.configure(settings)
        self._settings = settings
        self._catalog = make_catalog(settings, patience_s=_PATIENCE_S)
        self._store = make_store(settings)
        self._depot = Depot(self._store, settings.minio_bucket, settings)
        self._looks = Turns(LOOKS_PER_S)
        self._poked = asyncio.Event()
        self._news: set[UUID] = set()
        self._look_at_all_at = 0.0
        self._running: dict[UUID, _Running] = {}
        self._not_before: dict[UUID, float] = {}
        self._unexpected: Counter[UUID] = Counter()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_THREADS))
        # Ray restarts the process, not the call that ran in it: the loop starts with the actor.
        self._loop = loop.create_task(self._run())
        self._counting = loop.create_task(hand_on_for_ever())

    async def poke(self, recordings: Collection[UUID] = ()) -> None:
        """There is news, and what is about these recordings should be seen now."""
        for recording_id in recordings:
            if recording_id in self._running:
                self._running[recording_id].capture.wake()
        self._look_soon(recordings)

    def _look_soon(self, recordings: Collection[UUID]) -> None:
        """At these, or at all if it is none."""
        self._news.update(recordings)
        if not recordings:
            self._look_at_all_at = 0.0
        self._poked.set()

    async def running(self) -> list[str]:
        return [str(recording_id) for recording_id in self._running]

    async def measure(self) -> CaptureMeasure:
        """Of what runs, and of this machine's disks."""
        lags = (running.capture.lag_s for running in self._running.values())
        return CaptureMeasure(
            lags_s=tuple(lag for lag in lags if lag is not None),
            used_percent=await asyncio.to_thread(self._used_percent),
        )

    def _used_percent(self) -> dict[str, float]:
        folders = watched(self._settings)
        return {name: used_percent(folder) for name, folder in folders.items()}

    async def _run(self) -> None:
        """For ever; an outage of the catalogue is waited out."""
        for pause_s in backoff():
            try:
                await self._catalog.open()
                break
            except VodrayError as error:
                log.warning("catalog_away", error=str(error))
            await asyncio.sleep(pause_s)
        is_swept = False
        while True:
            began = time.monotonic()
            try:
                if not is_swept:
                    await self._sweep()
                    is_swept = True
                await self._start_due()
            except Exception as error:  # noqa: BLE001 - nobody else would start it again
                log.warning("capture_failed", error=str(error))
            await rest(time.monotonic() - began)
            await pause(self._poked, _EVERY_S)
            self._poked.clear()

    async def _start_due(self) -> None:
        """What there is news of; now and then all, since news can get lost. With thousands of
        recordings that costs."""
        news, self._news = self._news, set()
        among = news - self._running.keys()
        if time.monotonic() >= self._look_at_all_at:
            # Before it is looked: there may be news of all meanwhile.
            self._look_at_all_at = time.monotonic() + _EVERY_S
            due = await self._catalog.to_capture()
        else:
            due = await self._catalog.to_capture(among) if among else ()
        for recording in due:
            if self._not_before.get(recording.id, 0.0) <= time.monotonic():
                self._start(recording)

    async def _sweep(self) -> None:
        """Nothing stays on disk of recordings that are final."""
        for recording_id in self._depot.spool.recordings():
            try:
                recording = await self._catalog.get(recording_id)
                is_over = recording.status.is_final
            except RecordingNotFound:
                is_over = True
            if is_over:
                self._depot.forget(recording_id)

    def _start(self, recording: Recording) -> None:
        if recording.id in self._running:
            return
        capture = Capture(
            recording,
            catalog=self._catalog,
            sources=lambda it: sources_of(it, self._store, self._settings),
            depot=self._depot,
            settings=self._settings,
            turns=self._looks,
            on_news=lambda: _tell(recording.id),
        )
        task = asyncio.get_running_loop().create_task(self._watch(recording, capture))
        self._running[recording.id] = _Running(capture, task)
        log.info("capture_started", recording=str(recording.id), stream=recording.stream_id)

    async def _watch(self, recording: Recording, capture: Capture) -> None:
        began = time.monotonic()
        try:
            await capture.run()
            self._not_before.pop(recording.id, None)
            self._unexpected.pop(recording.id, None)
            tracing.add_span("capture", recording.id, time.monotonic() - began)
        except Exception as error:  # noqa: BLE001 - whatever it was, the catalogue still knows
            self._not_before[recording.id] = time.monotonic() + _RETRY_S
            log.warning("capture_broke", recording=str(recording.id), error=str(error))
            tracing.add_span("capture", recording.id, time.monotonic() - began, error=str(error))
            if time.monotonic() - began > _STEADY_S:
                self._unexpected.pop(recording.id, None)
            if not isinstance(error, VodrayError):
                await self._note_unexpected(recording, error)
        finally:
            self._running.pop(recording.id, None)
            self._look_soon([recording.id])

    async def _note_unexpected(self, recording: Recording, error: Exception) -> None:
        """What fails in the same way again and again ends the capture, not the service."""
        self._unexpected[recording.id] += 1
        log.error("unexpected_error", recording=str(recording.id), exc_info=error)
        if self._unexpected[recording.id] >= _UNEXPECTED_ERRORS:
            problem = f"Internal error: {type(error).__name__}: {error}"
            # What there is can be finished only once it has an end.
            known = await self._catalog.get(recording.id)
            if known.ended_at is None:
                ended_at = known.started_at + timedelta(seconds=known.duration)
                await self._catalog.mark_ended(recording.id, ended_at, EndReason.GONE)
            await self._catalog.close_source(recording.id, recording.last_start_at, problem)
            _tell(recording.id)


def _tell(recording_id: UUID) -> None:
    """Its supervisor should look now; it looks by itself as well."""
    try:
        reconciler: Any = ray.get_actor(names.RECONCILER, namespace=names.NAMESPACE)
    except ValueError:
        return
    reconciler.wake.remote([recording_id])


CaptureActor = ray.remote(CaptureProcess)
