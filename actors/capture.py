"""Capturing one recording's source: what is new in its playlists is kept and written into the log,
in order, until the stream has ended.

Time counts here and nowhere else: a live window moves on. So nothing waits for chunks or
supervisors, and an outage of the catalogue is outlived.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

import structlog

from actors.capture_log import CaptureLog, patiently
from actors.depot import Depot
from actors.find_source import SourceFinder, Sources, Start
from actors.followed_playlist import FollowedPlaylist
from actors.keeper import Keeper, Place
from actors.loops import Turns, pause
from actors.submit import source_answers
from pipeline.begin import missing_tail
from pipeline.errors import CatalogUnavailable, Conflict, SourceError, StoreError, VodrayError
from pipeline.follow import first_lasting
from pipeline.model import EndReason, Opened, Recording, Segment, by_playlist
from pipeline.progress import Look, Watch, advance, seconds_to_next_look
from pipeline.settings import Settings
from pipeline.stores.catalog import Catalog

_UNKNOWN_TARGET_S = 2.0
_LEARN_S = 1.0
_LEARN_EVERY_S = 2.0

log = structlog.get_logger()


class Capture:
    """Call ``run`` once. ``sources``: where to look for the playlist, asked until one is there.

    ``turns``: of those whose playlist may not be there. ``may_grow``: whether a playlist without
    ENDLIST is reloaded at all. ``on_news`` is called when there is more in the log.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        catalog: Catalog,
        sources: Sources,
        depot: Depot,
        settings: Settings,
        turns: Turns,
        may_grow: bool = True,
        on_news: Callable[[], None],
    ) -> None:
        self._id, self._recording = recording.id, recording
        self._catalog, self._settings = catalog, settings
        self._depot, self._may_grow, self._on_news = depot, may_grow, on_news
        self._keeper = Keeper(recording.id, depot, settings)
        self._target_s = _UNKNOWN_TARGET_S
        self._begun_at = time.monotonic()
        self._captured: CaptureLog | None = None
        self._playlists: tuple[FollowedPlaylist, ...] = ()
        self._reloading: dict[int, asyncio.Task[list[Segment]]] = {}
        # What an earlier process has left, by playlist and media sequence number.
        self._left: dict[tuple[int, int], Segment] = {}
        self._is_back = False
        self._woken = asyncio.Event()
        self._finder = SourceFinder(
            recording.id,
            catalog=catalog,
            sources=sources,
            settings=settings,
            follow=may_grow,
            wait=self._wait,
            turns=turns,
        )

    @property
    def lag_s(self) -> float | None:
        """How long ago something was captured last; None once the stream is known to be over."""
        if self._recording.end_reason is not None:
            return None
        since = self._captured.written_at if self._captured else self._begun_at
        return time.monotonic() - since

    def wake(self) -> None:
        """Something about the recording has changed: look now."""
        self._woken.set()

    async def run(self) -> None:
        """Until the source is complete, or the recording final. Raises errors that a later run may
        overcome."""
        error: VodrayError | None = None
        try:
            await self._capture()
        except* VodrayError as group:
            error = _first(group)
        if isinstance(error, Conflict):
            log.info("capture_ended", recording=str(self._id), reason=str(error))
            if (await patiently(lambda: self._catalog.get(self._id))).status.is_final:
                self._depot.forget(self._id)
            return
        if error is not None and error.retry and not isinstance(error, SourceError):
            raise error
        problem = "" if error is None else str(error)
        if error is not None and self._playlists:
            log.error("capture_given_up", recording=str(self._id), error=problem)
            # What there is can be finished only once it has an end.
            await self._mark_ended(EndReason.GONE, self._recording.duration)
        if error is None:
            self._depot.forget(self._id)
        last_start_at = self._recording.last_start_at
        await patiently(lambda: self._catalog.close_source(self._id, last_start_at, problem))
        self._on_news()

    async def _capture(self) -> None:
        state = await self._catalog.source_state(self._id)
        findings = await self._catalog.findings(self._id) if state else ()
        opened, taken = (state.opened if state else None), by_playlist(findings)
        # It was complete, and its end was taken back.
        is_over = self._recording.ended_at is not None
        self._is_back = bool(state and state.is_complete and taken) and not is_over
        start = await self._finder.find(self._recording, opened, taken)
        await self._catalog.open_source(
            self._id,
            Opened(
                ref=start.ref,
                sounds=tuple(sound.sound for sound in start.sounds),
                dropped=start.dropped,
            ),
        )
        self._on_news()
        self._playlists = (
            FollowedPlaylist(0, start, is_back=self._is_back),
            *(
                FollowedPlaylist(number, sound, is_back=self._is_back)
                for number, sound in enumerate(start.sounds, 1)
            ),
        )
        captured = self._captured = CaptureLog(
            self._id,
            catalog=self._catalog,
            findings=findings,
            playlists=len(self._playlists),
            on_news=self._on_news,
            note=partial(self._depot.note, self._id),
        )
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(captured.write())
            self._take_up(captured, tasks, is_over=start.next_sequence is None)
            end = await self._follow(start, captured, tasks)
            for reloading in self._reloading.values():
                reloading.cancel()
            await self._mark_ended(end, captured.known_s[0])
            for playlist in self._playlists:
                playlist.close()
            captured.close()
            # What waits for a store waits for nothing once the recording is final.
            while not writing.done():
                await asyncio.wait({writing}, timeout=_LEARN_EVERY_S)
                _refuse_final(await self._known())

    def _take_up(self, captured: CaptureLog, tasks: asyncio.TaskGroup, *, is_over: bool) -> None:
        """What an earlier process has left on disk, as far as it goes on from the log; the rest
        where it belongs, once it is known what lies between. ``is_over``: that will never be."""
        for waiting in self._depot.take_up(self._id):
            segment, number = waiting.segment, waiting.playlist
            if segment is None or number >= len(self._playlists):
                continue
            playlist = self._playlists[number]
            if waiting.number == captured.counts[number]:
                self._add_left(playlist, segment, captured, tasks)
                playlist.skip_to(segment.sequence + 1)
            elif waiting.number > captured.counts[number]:
                if is_over:
                    self._add_left(playlist, segment, captured, tasks)
                else:
                    self._left[number, segment.sequence] = segment

    def _add_left(
        self,
        playlist: FollowedPlaylist,
        segment: Segment,
        captured: CaptureLog,
        tasks: asyncio.TaskGroup,
    ) -> None:
        captured.add(playlist.number, segment, tasks.create_task(self._keeper.left(segment)))
        captured.has_copies = True

    async def _follow(
        self, start: Start, captured: CaptureLog, tasks: asyncio.TaskGroup
    ) -> EndReason:
        """Until the stream has ended; how that is known."""
        if start.next_sequence is None:
            return EndReason.GONE
        watch = Watch(changed_s=time.monotonic())
        longest_s = self._settings.monitor_interval.total_seconds()
        stall_s = self._settings.stall_timeout.total_seconds()
        while True:
            await self._learn()
            look, found = await self._look(tasks)
            watch, end = advance(watch, look, stall_timeout_s=stall_s)
            self._is_back &= not look.new_segments
            for playlist, segments in zip(self._playlists, found, strict=True):
                self._keep(playlist, segments, captured, tasks)
            if end is not None:
                self._complete(captured)
                return end
            await self._wait(seconds_to_next_look(look, longest_s))

    async def _learn(self) -> None:
        """What is known of the recording by now. Raises ``Conflict`` once it is final."""
        self._recording = await self._known()
        _refuse_final(self._recording)

    async def _known(self) -> Recording:
        try:
            # The window moves on while the catalogue is slow.
            async with asyncio.timeout(_LEARN_S):
                return await self._catalog.get(self._id)
        except (CatalogUnavailable, TimeoutError) as error:
            log.warning("catalog_away", recording=str(self._id), error=str(error))
            return self._recording

    async def _look(self, tasks: asyncio.TaskGroup) -> tuple[Look, list[list[Segment]]]:
        """Reload the playlists; one that cannot be read now costs nothing that was seen before.

        What is new comes by playlist, the main one first. The stream has not ended before its
        sound has: the last pictures are waited with.
        """
        is_told = self._recording.end_reason is EndReason.EVENT
        for playlist in self._playlists:
            if playlist.number not in self._reloading:
                # What begins anew behind an end is another broadcast, unless that was told of.
                work = self._reload(playlist, not is_told or self._is_back)
                self._reloading[playlist.number] = tasks.create_task(work)
        # One that hangs must not hold up the others' windows: it is read when it is read.
        longest_s = self._settings.monitor_interval.total_seconds()
        await asyncio.wait(self._reloading.values(), timeout=min(self._target_s, longest_s))
        hangs = {number for number, reload in self._reloading.items() if not reload.done()}
        found = [
            [] if playlist.number in hangs else self._reloading.pop(playlist.number).result()
            for playlist in self._playlists
        ]
        main, *sounds = self._playlists
        self._target_s = (main.state and main.state.target_duration_s) or self._target_s
        sound_has_ended = all(sound.has_ended or sound.is_gone for sound in sounds)
        look = Look(
            now_s=time.monotonic(),
            new_segments=sum(map(len, found)),
            endlist=main.state is not None
            and (not self._may_grow or (main.has_ended and sound_has_ended)),
            readable=main.state is not None,
            away=main.is_ours if 0 in hangs else main.is_away,
            silent=main.is_silent,
            pending=0 in hangs,
            told=is_told,
            repeats=self._is_back and not any(found),
            target_duration_s=self._target_s,
        )
        return look, found

    async def _reload(self, playlist: FollowedPlaylist, may_restart: bool) -> list[Segment]:
        try:
            return await self._depot.call(playlist.reload, may_restart)
        except (SourceError, StoreError) as error:
            log.warning("playlist_unreadable", recording=str(self._id), error=str(error))
            playlist.failed(error)
            return []
        finally:
            playlist.tell()

    def _keep(
        self,
        playlist: FollowedPlaylist,
        segments: Sequence[Segment],
        captured: CaptureLog,
        tasks: asyncio.TaskGroup,
    ) -> None:
        lasting = math.inf
        if playlist.state is not None:
            lasting = first_lasting(playlist.state, playlist.source.ref)
        for segment in segments:
            left = self._left.pop((playlist.number, segment.sequence), None)
            if left is not None and _is_same(left, segment):
                self._add_left(playlist, left, captured, tasks)
                continue
            playlist.run += segment.discontinuity
            number = captured.counts[playlist.number]
            place = Place(playlist.number, number, playlist.run)
            lasts = not self._may_grow or segment.sequence >= lasting
            # The tail of a live stream: its addresses may be signed for less time than its chunk
            # waits for a worker.
            lasts &= playlist.is_ours or not captured.has_copies
            if not lasts:
                relist = partial(self._relist, playlist)
                work = self._keeper.keep(place, segment, playlist.source, relist)
            elif captured.has_copies:
                # One init must not look like two because it is named in two ways.
                work = self._keeper.keep_beside(place, segment, playlist.source)
            else:
                work = _at_once(segment)
            captured.has_copies |= not lasts
            captured.add(playlist.number, segment, tasks.create_task(work))

    async def _relist(self, playlist: FollowedPlaylist, segment: Segment) -> Segment:
        if playlist.is_read_no_more:
            await source_answers(playlist.source.read_playlist, self._settings)
        return await playlist.relist(segment)

    def _complete(self, captured: CaptureLog) -> None:
        """What a playlist of sound lacks of the pictures' length at the end of all is a gap."""
        end_s = captured.known_s[0]
        for sound in self._playlists[1:]:
            known_s = captured.known_s[sound.number]
            for gap in missing_tail(known_s, end_s, self._target_s, sound.problem):
                captured.add(sound.number, gap, asyncio.create_task(_at_once(gap)))

    async def _mark_ended(self, reason: EndReason, length_s: float) -> None:
        """An end that was told is in the catalogue already, and may have been taken back since;
        one that was only seen is none if the stream was started again meanwhile."""
        if reason is EndReason.EVENT or self._recording.ended_at is not None:
            return
        ended_at = self._recording.started_at + timedelta(seconds=length_s)

        async def mark() -> None:
            now = await self._catalog.get(self._id)
            if now.last_start_at == self._recording.last_start_at and now.ended_at is None:
                await self._catalog.mark_ended(self._id, ended_at, reason)

        await patiently(mark)

    async def _wait(self, seconds: float) -> None:
        await pause(self._woken, seconds)
        self._woken.clear()


async def _at_once(segment: Segment) -> Segment:
    return segment


def _refuse_final(recording: Recording) -> None:
    if recording.status.is_final:
        raise Conflict(f"The recording is {recording.status}")


def _is_same(left: Segment, segment: Segment) -> bool:
    """Whether what was captured is what is listed, or listed no more."""
    return segment.is_gap or (left.duration_s, left.discontinuity) == (
        segment.duration_s,
        segment.discontinuity,
    )


def _first(group: BaseExceptionGroup[VodrayError]) -> VodrayError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
