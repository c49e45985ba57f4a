"""One stream that is taken in: its listeners, its publisher, its segments, and what is told of it.

What it is by now is decided by ``pipeline.ingest.state`` and written down before it is acted on.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import structlog

from actors.ingest_patience import patiently
from actors.ingest_session import Cut, Read, Session
from actors.ingest_srt import SrtListener
from actors.ingest_uploads import Uploads
from pipeline.errors import CatalogUnavailable, VodrayError
from pipeline.ingest import state as states
from pipeline.ingest.commands import Form
from pipeline.ingest.local import Disk
from pipeline.ingest.state import Ingest, Phase
from pipeline.model import StreamEvent
from pipeline.settings import Settings
from pipeline.stores.ingests import Ingests
from pipeline.stores.objects import ObjectStore

# A publisher that was silent for so long may be replaced by one that is there.
_SILENT_S = 2.0
_SESSION_S = 15.0

log = structlog.get_logger()

Fold = Callable[[Ingest], Ingest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What all streams share. ``tell``: see ``Catalog.accept``."""

    settings: Settings
    ingests: Ingests
    store: ObjectStore
    disk: Disk
    tell: Callable[[StreamEvent], Awaitable[None]]


class IngestStream:
    """Call ``open`` once, ``tick`` now and then."""

    def __init__(self, state: Ingest, around: Around, *, is_new: bool) -> None:
        self.state, self._around = state, around
        # What a process before this one did last is not known.
        self._may_repeat = not is_new
        self._changing = asyncio.Lock()
        self._is_saved = True
        self._session: Session | None = None
        self._free = asyncio.Event()
        self._free.set()
        self._uploads: Uploads | None = None
        self._finishing: asyncio.Task[None] | None = None
        self._srt: SrtListener | None = None
        self.problem: str | None = None

    @property
    def session(self) -> Session | None:
        return self._session

    @property
    def uploads(self) -> Uploads | None:
        return self._uploads

    # --- from outside ----------------------------------------------------------------------------
    async def open(self) -> None:
        """Listen, and go on with what is left of its broadcast."""
        await self._take_up()
        self._act()

    async def change(self, fold: Fold) -> None:
        """Raises ``CatalogUnavailable``, and nothing has changed."""
        async with self._changing:
            changed = fold(self.state)
            if changed != self.state:
                await self._around.ingests.save(changed)
                self.state = changed
        self._act()

    async def tick(self) -> None:
        settings = self._around.settings
        now, window = datetime.now(UTC), settings.reconnect_window
        with suppress(CatalogUnavailable):
            if not self._is_saved:
                await self._around.ingests.save(self.state)
                self._is_saved = True
            await self.change(lambda it: states.at_time(it, now, window, settings.ingest_patience))

    def admit(self) -> Callable[[Read], Awaitable[None]] | None:
        """How an RTMP publisher is taken, if one can be taken now."""
        session = self._session
        is_busy = not self._free.is_set() and (session is None or session.silent_s < _SILENT_S)
        if not self.state.listens or is_busy:
            return None
        return partial(self.publish, "rtmp", "flv")

    async def wait_finished(self, within_s: float) -> None:
        """Returns once nothing of it is being finished, or then."""
        if self._finishing is not None:
            await asyncio.wait({self._finishing}, timeout=within_s)

    async def close(self) -> None:
        """Let go of everything; the state stays for the process that comes next."""
        if self._finishing is not None:
            self._finishing.cancel()
        if self._srt is not None and self._session is None:
            await self._srt.close()
        if self._session is not None:
            self._session.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(1.5):
                    await self._free.wait()
        if self._srt is not None:
            await self._srt.close()
        if self._uploads is not None:
            await self._uploads.close()

    # --- publishing ------------------------------------------------------------------------------
    async def publish(self, protocol: str, form: Form, read: Read) -> None:
        """A connection's bytes, until it is over."""
        async with asyncio.timeout(_SESSION_S):
            while not self._free.is_set():
                if self._session is not None:
                    self._session.close()
                await self._free.wait()
        now, window = datetime.now(UTC), self._around.settings.reconnect_window
        self._free.clear()
        try:
            if not self.state.listens:
                return
            await self.change(lambda it: states.connected(it, protocol, now, window))
            log.info("ingest_connected", stream=self.state.stream_id, protocol=protocol)
            if protocol != "srt" and self._srt is not None:
                await self._srt.close()
            await self._take_up()
            await self._take(form, read)
        except (VodrayError, OSError) as error:
            self.problem = str(error)
            log.warning("ingest_broke", stream=self.state.stream_id, error=str(error))
        finally:
            self._session = None
            self._free.set()
            await self._note_loss()

    async def _take(self, form: Form, read: Read) -> None:
        assert self._uploads is not None
        settings = self._around.settings
        self.problem = None
        self._session = Session(
            who=self.state.stream_id,
            run=self.state.runs,
            form=form,
            folder=self._uploads.folder,
            max_segment_bytes=settings.max_segment_bytes,
            max_pixels=settings.max_picture_pixels,
            on_cut=self._add,
        )
        if not self.state.listens:
            self._session.close()
        await self._session.run(read)

    def _add(self, cut: Cut) -> None:
        assert self._uploads is not None
        self._uploads.add(cut)

    async def _note_loss(self) -> None:
        """Not knowing it, the process that comes next will take it for lost all the same."""
        has_media = self._uploads is not None and self._uploads.has_media
        async with self._changing:
            self.state = states.disconnected(self.state, datetime.now(UTC), has_media=has_media)
            self._is_saved = False
        await self.tick()
        self._act()

    # --- what follows from the state -------------------------------------------------------------
    def _act(self) -> None:
        state = self.state
        if state.listens and self._free.is_set():
            self._listen()
        if not state.listens and self._session is not None:
            self._session.close()
        if state.phase is Phase.ENDING and (self._finishing is None or self._finishing.done()):
            self._finishing = asyncio.create_task(self._finish())
        if state.phase is Phase.ENDED and self._srt is not None:
            self._closing = asyncio.create_task(self._srt.close())
            self._srt = None

    def _listen(self) -> None:
        state = self.state
        if self._srt is None:
            publish = partial(self.publish, "srt", "mpegts")
            self._srt = SrtListener(state.stream_id, state.port, state.secret, publish)
        self._srt.open()

    async def _take_up(self) -> None:
        """The segments of the broadcast, from where they are."""
        if self.state.broadcast is None or self.state.phase in (Phase.WAITING, Phase.ENDED):
            return
        if self._uploads is None or self._uploads.broadcast != self.state.broadcast:
            around = self._around
            self._uploads = Uploads(
                self.state,
                store=around.store,
                bucket=around.settings.minio_hls_bucket,
                ingests=around.ingests,
                disk=around.disk,
                on_news=self._tell_start,
            )
            await self._uploads.open()

    async def _tell_start(self) -> None:
        if not self.state.is_start_told and self._uploads is not None and self._uploads.entries:
            await self._tell(states.start_event(self.state))
            await self._patiently(lambda: self.change(lambda it: replace(it, is_start_told=True)))

    async def _finish(self) -> None:
        """Once its publisher is cut off: all is stored, its playlist ends, and its end is told."""
        await self._free.wait()
        if self._srt is not None:
            await self._srt.close()
            self._srt = None
        if self._uploads is not None:
            await self._uploads.finish()
            await self._uploads.close()
            self._uploads = None
        if self.state.is_start_told:
            await self._tell(states.end_event(self.state))
        folder = self._around.disk.of_stream(self.state.stream_id)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await self._patiently(lambda: self.change(states.finished))

    async def _tell(self, event: StreamEvent) -> None:
        async def once() -> None:
            if not self._may_repeat or not await self._around.ingests.was_told(event):
                self._may_repeat = True
                await self._around.tell(event)
            self._may_repeat = False

        await self._patiently(once)
        log.info("ingest_told", stream=event.stream_id, kind=event.kind.value)

    async def _patiently(self, call: Callable[[], Awaitable[None]]) -> None:
        await patiently(self.state.stream_id, call)
