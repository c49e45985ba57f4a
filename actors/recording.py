"""The actor of a recording: a ``Supervisor`` and its stores. Where there are many live streams,
several supervisors share one.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import ray

from actors import names, niceness
from actors.counting import hand_on, hand_on_for_ever
from actors.fair_queue import Urgency
from actors.faults import actor_errors
from actors.submit import OUTAGE_S
from actors.supervisor import Supervisor
from pipeline import logs, tracing
from pipeline.errors import WorkerLost
from pipeline.jobs import Answer, Job
from pipeline.model import Recording
from pipeline.settings import Settings
from pipeline.source import Source, open_source
from pipeline.stores.connect import make_catalog, make_store
from pipeline.stores.objects import ObjectStore

_THREADS = 32


class RecordingProcess:
    """Async actor: ``run`` records one recording until it is final, beside others if need be;
    ``wake`` makes its supervisor look now."""

    def __init__(self, settings: Settings) -> None:
        logs.configure(settings)
        tracing.configure(settings)
        niceness.step_back(niceness.SUPERVISING)
        self._settings = settings
        self._catalog = make_catalog(settings, patience_s=OUTAGE_S)
        self._results = make_store(settings, patience_s=OUTAGE_S)
        # They are asked by those who tell apart whether it is the server that is away.
        self._source_store = make_store(settings)
        self._opening, self._is_open = asyncio.Lock(), False
        self._supervisors: dict[UUID, Supervisor] = {}
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_THREADS))
        self._counting = loop.create_task(hand_on_for_ever())

    async def run(self, recording_id: UUID, last_try: bool = False) -> None:
        """Raises the ``VodrayError`` that a later run may overcome."""
        async with self._opening:
            if not self._is_open:
                await self._catalog.open()
                self._is_open = True
        supervisor = self._supervisors[recording_id] = Supervisor(
            recording_id,
            catalog=self._catalog,
            results=self._results,
            bucket=self._settings.minio_bucket,
            settings=self._settings,
            sources=lambda recording: sources_of(recording, self._source_store, self._settings),
            submit=submit_to_pool,
            slots=await pool_slots(),
        )
        try:
            await supervisor.run(last_try=last_try)
        finally:
            del self._supervisors[recording_id]
            # This process may be ended as soon as it is done.
            await hand_on()

    async def wake(self, recording_id: UUID) -> None:
        if recording_id in self._supervisors:
            self._supervisors[recording_id].wake()


RecordingActor = ray.remote(RecordingProcess)
# Never restarted by Ray: the reconciler starts a new one, which reads the ledger.
OPTIONS: dict[str, Any] = {"num_cpus": 0, "max_restarts": 0, "max_concurrency": 1000}


async def submit_to_pool(job: Job, recording: str, urgency: Urgency) -> Answer:
    with actor_errors("the pool"):
        answer: Answer = await _pool().submit.remote(job, recording, urgency)
        return answer


async def pool_slots() -> int:
    with actor_errors("the pool"):
        return int(await _pool().slots.remote())


def sources_of(recording: Recording, store: ObjectStore, settings: Settings) -> Iterator[Source]:
    """Where the playlist may be: where an event said, else under the key, else under the id."""
    refs = (
        [recording.source]
        if recording.source
        else [f"{name}/stream.m3u8" for name in (recording.stream_key, recording.stream_id) if name]
    )
    for ref in refs:
        yield open_source(
            ref,
            store=store,
            source_bucket=settings.minio_hls_bucket,
            allowed_hosts=settings.allowed_source_hosts,
            limits=settings.playlist_limits,
        )


def _pool() -> Any:
    try:
        return ray.get_actor(names.POOL, namespace=names.NAMESPACE)
    except ValueError as error:
        raise WorkerLost("The pool of workers is not running") from error
