"""Following a stream: what is new in its playlist becomes chunks, until the stream has ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import structlog

from actors.dispatch import Dispatcher
from actors.fair_queue import Urgency
from actors.find_source import Start
from pipeline import plan
from pipeline.errors import SourceError
from pipeline.follow import Followed, locate, take_new
from pipeline.media.playlist import MediaPlaylist
from pipeline.model import ChunkRecord, ChunkSpec, EndReason, Progress, Segment
from pipeline.plan import PlanState
from pipeline.progress import Look, Watch, advance, seconds_to_next_look
from pipeline.settings import Settings
from pipeline.source import read_media_playlist
from pipeline.stores.catalog import Catalog

_UNKNOWN_TARGET_S = 2.0
_REPORT_EVERY_S = 1.0

log = structlog.get_logger()


class Follower:
    """Follows one recording's source. ``planned``: chunks that the ledger knows already; grows.

    ``wait`` returns early when something about the recording has changed. ``may_grow``: whether a
    playlist without ENDLIST is reloaded at all.
    """

    def __init__(
        self,
        recording_id: UUID,
        *,
        start: Start,
        state: PlanState,
        planned: list[ChunkSpec],
        dispatcher: Dispatcher,
        catalog: Catalog,
        settings: Settings,
        may_grow: bool,
        wait: Callable[[float], Awaitable[None]],
    ) -> None:
        self._id, self._source, self._whole = recording_id, start.source, start.whole
        self._followed = Followed(next_sequence=start.next_sequence)
        self._state, self._planned, self._dispatcher = state, planned, dispatcher
        self._catalog, self._settings = catalog, settings
        self._may_grow, self._wait = may_grow, wait
        self._target_s = _UNKNOWN_TARGET_S
        self._planned_segments = sum(len(chunk.segments) for chunk in planned)
        self._at_work: set[asyncio.Task[ChunkRecord]] = set()

    def send(self, chunks: asyncio.TaskGroup, chunk: ChunkSpec, urgency: Urgency) -> None:
        """To the workers."""
        self._at_work.add(chunks.create_task(self._dispatcher.make(chunk, urgency)))

    async def follow(self, chunks: asyncio.TaskGroup) -> None:
        """Until the stream has ended; every chunk that is complete goes to work in ``chunks``."""
        if self._followed.next_sequence is None:
            if (await self._catalog.get(self._id)).ended_at is None:
                await self._mark_ended(EndReason.GONE)
            return
        watch = Watch(changed_s=time.monotonic())
        longest_s = self._settings.monitor_interval.total_seconds()
        stall_s = self._settings.stall_timeout.total_seconds()
        while True:
            told = (await self._catalog.get(self._id)).end_reason is EndReason.EVENT
            look, found = await self._look(told)
            watch, end = advance(watch, look, stall_timeout_s=stall_s)
            await self._dispatch(chunks, look, found, ended=end is not None)
            if end is not None:
                await self._mark_ended(end)
                return
            await self._wait(seconds_to_next_look(look, longest_s))

    async def wait_for_chunks(self) -> None:
        """Until all are in the ledger; one that fails ends this by ending its task group."""
        while self._at_work:
            await self.report_progress()
            _, self._at_work = await asyncio.wait(self._at_work, timeout=_REPORT_EVERY_S)
        await self.report_progress()

    async def report_progress(self) -> None:
        pending, done = self._state.pending, self._dispatcher
        seen_s = self._state.planned_s + sum(segment.duration_s for segment in pending)
        await self._catalog.report_progress(
            self._id,
            int(seen_s),
            Progress(
                segments=self._planned_segments + len(pending),
                chunks_done=len(done.finished),
                chunks_total=len(self._planned),
                seconds=round(done.finished_s, 3),
            ),
        )

    async def _look(self, told: bool) -> tuple[Look, list[Segment]]:
        """Reload the playlist; one that cannot be read now costs nothing that was seen before."""
        playlist: MediaPlaylist | None = None
        found: list[Segment] = []
        try:
            playlist = self._whole
            if playlist is None:
                playlist = await asyncio.to_thread(read_media_playlist, self._source)
            self._followed, segments = take_new(self._followed, playlist, may_restart=not told)
            found = await asyncio.to_thread(locate, segments, self._source)
            self._target_s = playlist.target_duration_s or self._target_s
        except SourceError as error:
            log.warning("playlist_unreadable", recording=str(self._id), error=str(error))
        look = Look(
            now_s=time.monotonic(),
            new_segments=len(found),
            endlist=playlist is not None and (playlist.ended or not self._may_grow),
            readable=playlist is not None,
            told=told,
            target_duration_s=self._target_s,
        )
        return look, found

    async def _dispatch(
        self, chunks: asyncio.TaskGroup, look: Look, found: list[Segment], *, ended: bool
    ) -> None:
        self._state, cut = plan.extend(self._state, found, ended=ended)
        urgency = Urgency.BACKLOG if look.endlist else Urgency.LIVE
        for chunk in cut:
            await self._catalog.plan_chunk(self._id, chunk)
            self._planned.append(chunk)
            self._planned_segments += len(chunk.segments)
            self.send(chunks, chunk, urgency)
        await self.report_progress()

    async def _mark_ended(self, reason: EndReason) -> None:
        """An end that was told is in the catalogue already, and may have been taken back since."""
        if reason is not EndReason.EVENT:
            recording = await self._catalog.get(self._id)
            length = timedelta(seconds=self._state.planned_s)
            await self._catalog.mark_ended(self._id, recording.started_at + length, reason)
