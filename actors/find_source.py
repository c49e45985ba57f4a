"""Where a recording's stream is: looked for until it is there, or for too long."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from actors.loops import Turns
from pipeline.errors import (
    Conflict,
    PlaylistInvalid,
    SourceError,
    SourceForbidden,
    SourceMissing,
    Unsupported,
)
from pipeline.media.playlist import MediaPlaylist
from pipeline.model import Opened, Recording, Segment, Sound, Status
from pipeline.settings import Settings
from pipeline.source import Presentation, SoundSource, Source, fingerprint, open_presentation
from pipeline.stores.catalog import Catalog
from pipeline.uris import shown_uri

_LOOK_EVERY_S, _LONGEST_PAUSE_S = 1.0, 5.0
# So often a second is a playlist looked for that may not be there, in a process: thousands that
# never come must not take the processor from those that are captured.
LOOKS_PER_S = 50.0
# So long is a variant waited for that is better than what is there: an encoder does not write all
# of them at once. A window may move on meanwhile.
_BEST_WITHIN_S = 4.0
# So long may the playlists of sound take; one that hangs is read again later.
_SOUNDS_WITHIN_S = 4.0
_NOTHING_MORE = MediaPlaylist(segments=(), target_duration_s=0.0, ended=True)

Sources = Callable[[Recording], Iterable[Source]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOfSound:
    """The same of a playlist of sound alone. ``problem``: why it could not be read."""

    sound: Sound
    source: Source
    next_sequence: int | None
    found: MediaPlaylist | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """``ref``: where the source was found. ``next_sequence``: the media sequence number to go on
    with, None if nothing more can come. ``found``: the playlist as it was found: a live one has
    moved on since. ``first``: the media sequence number and fingerprint of the very first segment.
    ``dropped``: see ``Presentation``."""

    ref: str
    source: Source
    next_sequence: int | None
    found: MediaPlaylist | None = None
    sounds: tuple[StartOfSound, ...] = ()
    dropped: tuple[str, ...] = ()
    first: tuple[int, str | None] | None = None


class SourceFinder:
    """``sources``: where the playlist may be, best first. ``wait`` returns early when something
    about the recording has changed. ``follow``: whether it is worth waiting at all. ``turns``: of
    all that look for one."""

    def __init__(
        self,
        recording_id: UUID,
        *,
        catalog: Catalog,
        sources: Sources,
        settings: Settings,
        follow: bool,
        wait: Callable[[float], Awaitable[None]],
        turns: Turns,
    ) -> None:
        self._id, self._catalog, self._sources = recording_id, catalog, sources
        self._settings, self._follow, self._wait = settings, follow, wait
        self._turns = turns
        self._recorded_before: dict[str, int] = {}
        # When one that is not the best was there first.
        self._found_at: float | None = None

    async def find(
        self, recording: Recording, opened: Opened | None, taken: Sequence[Sequence[Segment]]
    ) -> Start:
        """Wait for the stream. A recording that was begun goes on without it, if need be.

        ``opened``: as it was found before; ``taken``: what was captured of each of its playlists.
        What an earlier recording of the stream holds is left out. Raises ``SourceError``.
        """
        if opened is None or not taken:
            found = await self._wait_for_playlist(begun=None)
            return Start(
                ref=found.source.ref,
                source=found.source,
                next_sequence=found.playlist.segments[0].sequence,
                found=found.playlist,
                first=await self._first(found),
                sounds=tuple(map(_start_of, found.sounds)),
                dropped=found.dropped,
            )
        # What is being finished is captured to its end.
        if recording.status is Status.RECORDING and taken[0]:
            first = (taken[0][0].sequence, recording.fingerprint)
            try:
                found = await self._wait_for_playlist(begun=taken[0][0].sequence)
                return Start(
                    ref=opened.ref,
                    source=found.source,
                    next_sequence=_behind(taken[0]),
                    sounds=_sounds_behind(found, opened.sounds, taken[1:]),
                    dropped=opened.dropped,
                    first=first,
                )
            except SourceError as error:
                log.warning("source_gone", recording=str(self._id), error=str(error))
        source = next(iter(self._sources(recording)))
        return Start(
            ref=opened.ref,
            source=source,
            next_sequence=None,
            sounds=tuple(
                StartOfSound(sound=sound, source=source, next_sequence=None, found=_NOTHING_MORE)
                for sound in opened.sounds
            ),
            dropped=opened.dropped,
        )

    async def _first(self, found: Presentation) -> tuple[int, str | None]:
        mark = (await self._catalog.get(self._id)).fingerprint
        return found.playlist.segments[0].sequence, mark

    async def _wait_for_playlist(self, *, begun: int | None) -> Presentation:
        """``begun``: the first media sequence number that the recording has, if it has one."""
        # What is captured already has no time to lose.
        if begun is None:
            await self._turns.wait()
        begin = time.monotonic()
        found: Presentation | None = None
        while True:
            recording = await self._catalog.get(self._id)
            if recording.status.is_final:
                raise Conflict(f"The recording is {recording.status}")
            problem: SourceError | None = None
            for source in self._sources(recording):
                try:
                    found = await self._open(source, recording, begun)
                    if not self._is_better_to_come(found, recording):
                        return found
                except (SourceForbidden, Unsupported):
                    raise
                except SourceError as error:
                    problem = _more_telling(problem, error)
            if time.monotonic() - begin >= self._patience_s(recording):
                if found is not None:
                    return found
                raise problem or SourceMissing("Nothing says where the playlist is")
            waited_s = time.monotonic() - begin
            # What has not come for long is not expected the next moment: thousands may be missing.
            pause_s = min(max(_LOOK_EVERY_S, waited_s / 8), _LONGEST_PAUSE_S)
            await self._wait(min(pause_s, self._settings.monitor_interval.total_seconds()))
            await self._turns.wait(again=True)

    def _is_better_to_come(self, found: Presentation, recording: Recording) -> bool:
        """Whether a variant that is listed, and better than this one, may be there in a moment."""
        if not (found.choice and found.choice.passed_over):
            return False
        self._found_at = self._found_at or time.monotonic()
        is_live = self._follow and recording.end_reason is None and not found.playlist.ended
        return is_live and time.monotonic() - self._found_at < _BEST_WITHIN_S

    def _patience_s(self, recording: Recording) -> float:
        """``STALL_TIMEOUT``, or less for a stream that has ended."""
        settings = self._settings
        if not self._follow:
            return 0.0
        if recording.end_reason is not None:
            return settings.retry_delay.total_seconds() * settings.max_retry_attempts
        return settings.stall_timeout.total_seconds()

    async def _open(self, source: Source, recording: Recording, begun: int | None) -> Presentation:
        sounds_within_s = _SOUNDS_WITHIN_S if self._follow else None
        presentation = await asyncio.to_thread(
            open_presentation, source, sounds_within_s=sounds_within_s
        )
        found, playlist = presentation.source, presentation.playlist
        ref = shown_uri(found.ref)
        if not playlist.segments:
            raise PlaylistInvalid(f"{ref} lists no segments")
        mark = await asyncio.to_thread(fingerprint, found, playlist.segments[0])
        if mark != recording.fingerprint:
            is_anew = begun is not None and playlist.segments[0].sequence <= begun
            if is_anew and recording.end_reason is not None:
                raise SourceMissing(f"{ref} holds another broadcast by now")
            if await self._catalog.is_repeat(self._id, mark):
                playlist = self._beyond(playlist, mark, ref)
                mark = await asyncio.to_thread(fingerprint, found, playlist.segments[0])
        await self._catalog.set_source(self._id, source.ref, mark)
        return replace(presentation, playlist=playlist)

    def _beyond(self, playlist: MediaPlaylist, mark: str, ref: str) -> MediaPlaylist:
        """What has come since the earlier broadcast was first seen here."""
        behind = self._recorded_before.setdefault(mark, playlist.segments[-1].sequence + 1)
        new = tuple(segment for segment in playlist.segments if segment.sequence >= behind)
        if not new:
            raise SourceMissing(f"{ref} holds only a broadcast that is recorded already")
        return replace(playlist, segments=new)


def _start_of(found: SoundSource) -> StartOfSound:
    segments = found.playlist.segments if found.playlist else ()
    return StartOfSound(
        sound=found.sound,
        source=found.source,
        next_sequence=segments[0].sequence if segments else None,
        found=found.playlist,
        problem=found.problem,
    )


def _sounds_behind(
    found: Presentation, begun: Sequence[Sound], taken: Sequence[Sequence[Segment]]
) -> tuple[StartOfSound, ...]:
    """Those that the recording began with, found again by name or else by place. One that is gone
    has ended."""
    by_name = {(s.sound.name, s.sound.language): s for s in reversed(found.sounds)}
    starts = []
    for number, (sound, segments) in enumerate(zip(begun, taken, strict=True)):
        now = by_name.get((sound.name, sound.language))
        now = now or (found.sounds[number] if number < len(found.sounds) else None)
        starts.append(
            StartOfSound(
                sound=sound,
                source=now.source if now else found.source,
                next_sequence=_behind(segments),
                found=None if now else _NOTHING_MORE,
                problem="" if now else "its playlist is gone",
            )
        )
    return tuple(starts)


def _behind(segments: Sequence[Segment]) -> int | None:
    """The media sequence number behind the last segment."""
    # What stands for the end of a sound that was missing has no number.
    last = next((s for s in reversed(segments) if s.uri or s.sequence), None)
    return last.sequence + 1 if last else None


def _more_telling(one: SourceError | None, other: SourceError) -> SourceError:
    """A playlist that is there but bad says more than one that is missing; else the first."""
    if one is None or (isinstance(one, SourceMissing) and not isinstance(other, SourceMissing)):
        return other
    return one
