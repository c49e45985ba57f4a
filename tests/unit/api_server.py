"""The HTTP API over a catalogue in memory: in process, or behind a real server on a free port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import uvicorn

from pipeline.activity import Activity
from pipeline.disk import DiskState
from pipeline.measured import Measured
from pipeline.model import EndReason, EventKind, Gap, Origin, Recording, StreamEvent
from pipeline.settings import Settings
from pipeline.stores.catalog import Accepted, Completion
from pipeline.stores.catalog_memory import MemoryCatalog
from pipeline.stores.objects import ObjectStore
from pipeline.stores.objects_memory import MemoryStore
from pipeline.stores.platform_memory import MemoryPlatform
from serve_app.api import create_api
from serve_app.services import Services

STARTED = datetime(2025, 10, 5, 18, 0, tzinfo=UTC)


async def well() -> None:
    """A check of a part that is well."""


async def nothing_at_work(_: UUID | None) -> Activity:
    return Activity()


async def nobody_measures() -> Measured:
    return Measured()


def memory_catalog() -> MemoryCatalog:
    return MemoryCatalog(reconnect_window=timedelta(seconds=60), profile="copy")


@dataclass
class Product:
    """What stands behind the API in a test. ``events`` are those that were submitted."""

    catalog: MemoryCatalog = field(default_factory=memory_catalog)
    settings: dict[str, Any] = field(default_factory=dict)
    check_workers: Callable[[], Awaitable[None]] = well
    check_store: Callable[[], Awaitable[None]] = well
    events: list[StreamEvent] = field(default_factory=list)
    platform: MemoryPlatform = field(default_factory=MemoryPlatform)
    objects: ObjectStore = field(default_factory=MemoryStore)
    poked: list[UUID] = field(default_factory=list)
    activity: Callable[[UUID | None], Awaitable[Activity]] = nothing_at_work
    measure: Callable[[], Awaitable[Measured]] = nobody_measures
    ingest: Any = None
    disk_state: DiskState | None = None

    async def submit(self, event: StreamEvent) -> Accepted:
        self.events.append(event)
        return await self.catalog.accept(event)

    async def poke(self, recordings: Collection[UUID]) -> None:
        self.poked += recordings

    async def disk(self) -> DiskState | None:
        return self.disk_state

    def app(self) -> Any:
        return create_api(self.services())

    def services(self) -> Services:
        return Services(
            settings=Settings(_env_file=None, **self.settings),
            catalog=self.catalog,
            submit=self.submit,
            check_workers=self.check_workers,
            check_store=self.check_store,
            address=lambda ref: f"http://store/{ref}",
            platform=self.platform,
            objects=self.objects,
            presign=lambda bucket, key, expires_s: self.objects.presign_get(
                bucket, key, expires_s=expires_s
            ),
            poke=self.poke,
            activity=self.activity,
            measure=self.measure,
            disk=self.disk,
            ingest=self.ingest,
        )

    async def record(self, stream: str, started_at: datetime = STARTED) -> Recording:
        """A recording that has begun."""
        accepted = await self.catalog.accept(
            StreamEvent(
                kind=EventKind.STARTED,
                stream_id=f"id-{stream}",
                stream_key=stream,
                user_id="u1",
                occurred_at=started_at,
                origin=Origin.WEBHOOK,
            )
        )
        assert accepted.recording_id is not None
        return await self.catalog.get(accepted.recording_id)

    async def complete(
        self, recording: Recording, *gaps: Gap, report: Mapping[str, Any] | None = None
    ) -> Recording:
        ended_at = recording.started_at + timedelta(minutes=31)
        await self.catalog.mark_ended(recording.id, ended_at, EndReason.ENDLIST)
        await self.catalog.mark_processing(recording.id)
        return await self.catalog.complete(
            recording.id,
            Completion(
                file_path=f"recordings/{recording.stream_key}.mp4",
                duration=1860,
                file_size=524288000,
                completed_at=ended_at,
                gaps=gaps,
            ),
            {"frames_in": 46500, "frames_out": 46500, **(report or {})},
        )


@asynccontextmanager
async def in_process(product: Product) -> AsyncIterator[httpx.AsyncClient]:
    app = product.app()
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://vodray") as client,
    ):
        yield client


@asynccontextmanager
async def served(product: Product) -> AsyncIterator[tuple[Any, str]]:
    """The application and the URL of a real server before it."""
    app = product.app()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1, lifespan="on")
        )
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            async with asyncio.timeout(10):
                while not server.started:
                    await asyncio.sleep(0.01)
            yield app, f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            await serving
