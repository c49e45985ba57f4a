"""The actor that takes live streams in: SRT and RTMP become HLS in the bucket of live segments.

What it knows is in PostgreSQL, segments that wait are on disk: one that comes after it opens the
same listeners and goes on.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import ray
import structlog

from actors.counting import hand_on_for_ever
from actors.ingest_rtmp import RtmpListener
from actors.ingest_session import Read
from actors.ingest_stream import Around, IngestStream
from actors.ingest_view import view
from actors.loops import backoff
from pipeline import logs, tracing
from pipeline.errors import (
    CatalogUnavailable,
    Conflict,
    IngestFull,
    NotInstalled,
    SettingsError,
    StreamNotFound,
    VodrayError,
)
from pipeline.ingest import addresses, commands
from pipeline.ingest import state as states
from pipeline.ingest.local import Disk
from pipeline.ingest.state import Ingest, Notice, Phase
from pipeline.ingest.view import View
from pipeline.model import StreamEvent
from pipeline.settings import Settings
from pipeline.stores.catalog import Catalog
from pipeline.stores.connect import make_store
from pipeline.stores.ingests import Ingests

_TICK_S = 0.5
_READY_S = 6.0
_ENDING_S = 4.0
_THREADS = 64

log = structlog.get_logger()


class IngestService:
    """Async actor: works from its start on. ``poke`` wakes those who act on new tasks."""

    def __init__(
        self,
        settings: Settings,
        make_catalog: Callable[[], Catalog],
        poke: Callable[[Collection[UUID]], Awaitable[None]],
    ) -> None:
        logs.configure(settings)
        tracing.configure(settings)
        if settings.database_dsn is None:
            raise SettingsError("No PostgreSQL is named", "Set DATABASE_URL or DB_HOST")
        self._settings, self._poke = settings, poke
        self._catalog = make_catalog()
        self._ingests = Ingests(settings.database_dsn)
        self._disk = Disk(settings.ingest_dir, settings.ingest_max_bytes)
        self._around = Around(
            settings=settings,
            ingests=self._ingests,
            store=make_store(settings),
            disk=self._disk,
            tell=self._tell,
        )
        self._streams: dict[str, IngestStream] = {}
        self._rtmp = RtmpListener(settings.ingest_port_range.first, self._admit)
        self._noticing = asyncio.Lock()
        self._ready = asyncio.Event()
        self._missing: NotInstalled | None = None
        loop = asyncio.get_running_loop()
        # Uploads wait in them while the bucket is slow.
        loop.set_default_executor(ThreadPoolExecutor(_THREADS))
        # Ray restarts the process, not the call that ran in it: the loop starts with the actor.
        self._loop = loop.create_task(self._run())
        self._counting = loop.create_task(hand_on_for_ever())

    # --- asked by the HTTP service ---------------------------------------------------------------
    async def notify(self, notice: Notice) -> View:
        """Raises ``StreamNotFound``, ``Conflict``, ``IngestFull``, ``CatalogUnavailable``."""
        await self._until_ready()
        stream = self._meant_by(notice)
        if stream is not None and notice.status == "waiting":
            await stream.wait_finished(_ENDING_S)
        async with self._noticing:
            stream = self._meant_by(notice)
            if notice.status == "waiting":
                stream = await self._expect(notice, stream)
            elif stream is None:
                raise StreamNotFound("Stream not announced: notify waiting first")
            elif notice.status == "stopped":
                now = datetime.now(UTC)
                await stream.change(lambda it: states.stopped(it, now))
            return view(stream, self._settings)

    async def status(self) -> tuple[View, ...]:
        await self._until_ready()
        return tuple(
            view(stream, self._settings)
            for stream in self._streams.values()
            if stream.state.is_active
        )

    async def cleanup(self) -> int:
        """Forget streams that have ended; how many."""
        await self._until_ready()
        async with self._noticing:
            over = [it for it, stream in self._streams.items() if not stream.state.is_active]
            for stream_id in over:
                await self._ingests.forget(stream_id)
                await self._streams.pop(stream_id).close()
            return len(over)

    async def stop(self) -> None:
        """Finish what is in hand, if that is possible soon. No end is told."""
        self._loop.cancel()
        streams = self._streams.values()
        await asyncio.gather(*(one.close() for one in streams), return_exceptions=True)
        await self._rtmp.close()

    # --- what it does by itself ------------------------------------------------------------------
    async def _run(self) -> None:
        for pause_s in backoff():
            try:
                await self._begin()
                break
            except NotInstalled as error:
                self._missing = error
                break
            except (VodrayError, OSError) as error:
                log.warning("ingest_cannot_begin", error=str(error))
            await asyncio.sleep(pause_s)
        self._ready.set()
        while True:
            await asyncio.sleep(_TICK_S)
            for stream in list(self._streams.values()):
                try:
                    await stream.tick()
                except Exception:
                    log.exception("ingest_tick_failed", stream=stream.state.stream_id)

    async def _begin(self) -> None:
        await asyncio.to_thread(commands.ffmpeg_path)
        await self._catalog.open()
        await self._ingests.open()
        now = datetime.now(UTC)
        known = await self._ingests.all()
        self._disk.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._disk.forget_others([state.stream_id for state in known])
        for state in known:
            if state.stream_id not in self._streams:
                stream = IngestStream(states.restarted(state, now), self._around, is_new=False)
                await stream.open()
                self._streams[state.stream_id] = stream
        if any(state.is_active for state in known):
            await self._rtmp.open()

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(_READY_S):
                await self._ready.wait()
        except TimeoutError as error:
            raise CatalogUnavailable("The ingest has not started yet") from error
        if self._missing is not None:
            raise self._missing

    def _meant_by(self, notice: Notice) -> IngestStream | None:
        """To those who may not speak of it, somebody else's stream is not there."""
        stream = self._streams.get(notice.stream_id)
        if stream is None or states.may_speak(notice, stream.state):
            return stream
        raise StreamNotFound(f"There is no stream {notice.stream_id}")

    async def _expect(self, notice: Notice, stream: IngestStream | None) -> IngestStream:
        try:
            await self._rtmp.open()
        except OSError as error:
            raise IngestFull(
                f"Port {self._settings.ingest_port_range.first} cannot be used: {error.strerror}",
                "Set INGEST_PORTS",
            ) from error
        now = datetime.now(UTC)
        if stream is not None and stream.state.phase is Phase.ENDING:
            raise Conflict("The stream is still being finished; try again")
        if stream is None:
            stream_key = notice.stream_key or notice.stream_id
            if any(one.state.stream_key == stream_key for one in self._streams.values()):
                raise Conflict("The stream key is another stream's")
            new = Ingest(
                stream_id=notice.stream_id,
                stream_key=stream_key,
                secret=addresses.new_secret(),
                port=self._free_port(None),
                asked_at=now,
                user_id=notice.user_id,
                title=notice.title,
            )
            await self._ingests.save(new)
            stream = self._streams[new.stream_id] = IngestStream(new, self._around, is_new=True)
            await stream.open()
            return stream
        if notice.stream_key not in (None, stream.state.stream_key):
            raise Conflict("The stream is known under another stream key")
        port = stream.state.port
        if stream.state.phase is Phase.ENDED:
            port = self._free_port(port)
        await stream.change(lambda it: replace(states.asked_again(it, notice, now), port=port))
        return stream

    def _free_port(self, wanted: int | None) -> int:
        taken = {one.state.port for one in self._streams.values() if one.state.is_active}
        while True:
            port = self._settings.ingest_port_range.free(taken, wanted)
            if _is_usable(port):
                return port
            taken.add(port)

    def _admit(self, secret: str) -> Callable[[Read], Awaitable[None]] | None:
        for stream in self._streams.values():
            if stream.state.secret == secret:
                return stream.admit()
        return None

    async def _tell(self, event: StreamEvent) -> None:
        accepted = await self._catalog.accept(event)
        touched = accepted.recording_id
        await self._poke([] if touched is None else [touched])


def _is_usable(port: int) -> bool:
    """Whether no program of somebody else's has it."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("0.0.0.0", port))
        return True
    return False


IngestActor = ray.remote(IngestService)
