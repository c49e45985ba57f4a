"""Following a stream: what is new in its playlist becomes chunks, until the stream has ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import structlog

from actors.dispatch import Dispatcher
from actors.fair_queue import Urgency
from actors.find_source import Start, StartOfSound
from pipeline import plan
from pipeline.begin import missing_tail
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
# A playlist of sound is gone after so many failures in a row.
_FAILURES = 5

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
        self._id, self._main = recording_id, _Playlist(start)
        self._sounds = [_Playlist(sound) for sound in start.sounds]
        self._state, self._planned, self._dispatcher = state, planned, dispatcher
        self._catalog, self._settings = catalog, settings
        self._may_grow, self._wait = may_grow, wait
        self._target_s = _UNKNOWN_TARGET_S
        self._planned_segments = sum(len(chunk.main.segments) for chunk in planned)
        self._at_work: set[asyncio.Task[ChunkRecord]] = set()

    def send(self, chunks: asyncio.TaskGroup, chunk: ChunkSpec, urgency: Urgency) -> None:
        """To the workers."""
        self._at_work.add(chunks.create_task(self._dispatcher.make(chunk, urgency)))

    async def follow(self, chunks: asyncio.TaskGroup) -> None:
        """Until the stream has ended; every chunk that is complete goes to work in ``chunks``."""
        if self._main.followed.next_sequence is None:
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
            if end is not None:
                found = self._completed(found)
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
        pending, done = self._state.feeds[0].pending, self._dispatcher
        await self._catalog.report_progress(
            self._id,
            int(self._state.known_s),
            Progress(
                segments=self._planned_segments + len(pending),
                chunks_done=len(done.finished),
                chunks_total=len(self._planned),
                seconds=round(done.finished_s, 3),
            ),
        )

    async def _look(self, told: bool) -> tuple[Look, list[list[Segment]]]:
        """Reload the playlists; one that cannot be read now costs nothing that was seen before.

        What is new comes by playlist, the main one first. The stream has not ended before its
        sound has: the last pictures are waited with.
        """
        # Side by side: one that hangs must not hold up the others' windows.
        playlists = (self._main, *self._sounds)
        found = await asyncio.gather(*(self._reload(playlist, told) for playlist in playlists))
        main = self._main.state
        self._target_s = (main and main.target_duration_s) or self._target_s
        sound_has_ended = all(sound.has_ended or sound.is_gone for sound in self._sounds)
        look = Look(
            now_s=time.monotonic(),
            new_segments=sum(map(len, found)),
            endlist=main is not None
            and (not self._may_grow or (self._main.has_ended and sound_has_ended)),
            readable=main is not None,
            told=told,
            target_duration_s=self._target_s,
        )
        return look, found

    async def _reload(self, playlist: "_Playlist", told: bool) -> list[Segment]:
        try:
            return await asyncio.to_thread(playlist.reload, not told)
        except SourceError as error:
            log.warning("playlist_unreadable", recording=str(self._id), error=str(error))
            playlist.problem = error.message
            playlist.failures += 1
            return []

    def _completed(self, found: list[list[Segment]]) -> list[list[Segment]]:
        """What a playlist of sound lacks of the pictures' length at the end of all is a gap."""
        end_s = self._state.known_s + sum(segment.duration_s for segment in found[0])
        completed = [found[0]]
        for sound, feed, new in zip(self._sounds, self._state.feeds[1:], found[1:], strict=True):
            known_s = feed.known_s + sum(segment.duration_s for segment in new)
            tail = missing_tail(known_s, end_s, self._target_s, sound.problem)
            completed.append([*new, *tail])
        return completed

    async def _dispatch(
        self,
        chunks: asyncio.TaskGroup,
        look: Look,
        found: list[list[Segment]],
        *,
        ended: bool,
    ) -> None:
        self._state, cut = plan.extend(self._state, found, ended=ended)
        urgency = Urgency.BACKLOG if look.endlist else Urgency.LIVE
        for chunk in cut:
            await self._catalog.plan_chunk(self._id, chunk)
            self._planned.append(chunk)
            self._planned_segments += len(chunk.main.segments)
            self.send(chunks, chunk, urgency)
        await self.report_progress()

    async def _mark_ended(self, reason: EndReason) -> None:
        """An end that was told is in the catalogue already, and may have been taken back since."""
        if reason is not EndReason.EVENT:
            recording = await self._catalog.get(self._id)
            length = timedelta(seconds=self._state.known_s)
            await self._catalog.mark_ended(self._id, recording.started_at + length, reason)


class _Playlist:
    """One of the playlists that are followed. ``state``: as it was read last, None if it could not
    be read."""

    def __init__(self, start: Start | StartOfSound) -> None:
        self.followed = Followed(next_sequence=start.next_sequence)
        self.state: MediaPlaylist | None = None
        self.failures = 0
        self.problem = start.problem if isinstance(start, StartOfSound) else ""
        self._source, self._found = start.source, start.found

    @property
    def has_ended(self) -> bool:
        return self.state is not None and self.state.ended

    @property
    def is_gone(self) -> bool:
        return self.failures >= _FAILURES

    def reload(self, may_restart: bool) -> list[Segment]:
        """What is new. Raises ``SourceError``."""
        self.state = None
        self.state = self._found or read_media_playlist(self._source)
        # One that is complete does not change any more.
        self._found = self.state if self.state.ended else None
        self.failures = 0
        self.followed, new = take_new(self.followed, self.state, may_restart=may_restart)
        return locate(new, self._source)
