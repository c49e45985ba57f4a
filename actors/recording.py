"""The actor of one recording: a ``Supervisor`` with stores of its own."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import ray

from actors import names
from actors.dispatch import OUTAGE_S
from actors.fair_queue import Urgency
from actors.faults import actor_errors
from actors.supervisor import Supervisor
from pipeline import logs
from pipeline.errors import WorkerLost
from pipeline.jobs import Answer, Job
from pipeline.model import Recording
from pipeline.settings import Settings
from pipeline.source import Source, open_source
from pipeline.stores.connect import make_catalog, make_store
from pipeline.stores.objects import ObjectStore


class RecordingProcess:
    """Async actor for one recording: ``run`` records until it is final, ``wake`` makes it look
    now."""

    def __init__(self, settings: Settings) -> None:
        logs.configure(settings)
        self._settings = settings
        self._catalog = make_catalog(settings, patience_s=OUTAGE_S)
        self._supervisor: Supervisor | None = None

    async def run(self, recording_id: UUID, last_try: bool = False) -> None:
        """Raises the ``VodrayError`` that a later run may overcome."""
        await self._catalog.open()
        try:
            # Sources are asked by those who tell apart whether it is the server that is away.
            sources = make_store(self._settings)
            self._supervisor = Supervisor(
                recording_id,
                catalog=self._catalog,
                results=make_store(self._settings, patience_s=OUTAGE_S),
                bucket=self._settings.minio_bucket,
                settings=self._settings,
                sources=lambda recording: sources_of(recording, sources, self._settings),
                submit=submit_to_pool,
                slots=await pool_slots(),
            )
            await self._supervisor.run(last_try=last_try)
        finally:
            await self._catalog.close()

    async def wake(self) -> None:
        if self._supervisor is not None:
            self._supervisor.wake()


RecordingActor = ray.remote(RecordingProcess)
# Never restarted by Ray: the reconciler starts a new one, which reads the ledger.
OPTIONS: dict[str, Any] = {"num_cpus": 0, "max_restarts": 0, "max_concurrency": 10}


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
