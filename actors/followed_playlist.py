"""One of the playlists that are followed: its state as it was read last, and what was taken."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

from actors.find_source import Start, StartOfSound
from pipeline.errors import SourceError, SourceUnavailable, StoreError, VodrayError
from pipeline.follow import Followed, absolute, locate, recount, take_new
from pipeline.media.growing import GrowingPlaylist
from pipeline.media.playlist import MediaPlaylist
from pipeline.model import Segment
from pipeline.source import fingerprint, read_media_playlist

# A playlist of sound is gone after so many failures in a row.
_FAILURES = 5


class FollowedPlaylist:
    """``state`` is None while the playlist cannot be read. ``number``: 0 for the main one;
    ``is_back``: it had ended, and its encoder is said to be back."""

    def __init__(self, number: int, start: Start | StartOfSound, *, is_back: bool = False) -> None:
        self.number, self.source = number, start.source
        self.state: MediaPlaylist | None = None
        self.problem = start.problem if isinstance(start, StartOfSound) else ""
        # Whether it is its server that does not answer: one that is ours, or another.
        self.is_away = self.is_silent = False
        # Behind so many discontinuities is what was taken.
        self.run = 0
        self._followed = Followed(next_sequence=start.next_sequence)
        self._found, self._is_back = start.found, is_back
        self._first = start.first if isinstance(start, Start) else None
        self._growing = GrowingPlaylist()
        self._failures = 0
        self._read = asyncio.Event()
        self._is_closed = False

    @property
    def is_ours(self) -> bool:
        """Whether its server is our own object store."""
        return urlsplit(self.source.ref).scheme not in ("http", "https")

    @property
    def has_ended(self) -> bool:
        return self.state is not None and self.state.ended

    @property
    def is_gone(self) -> bool:
        return self._failures >= _FAILURES

    def reload(self, may_restart: bool) -> list[Segment]:
        """What is new. Blocks. Raises ``SourceError``, ``StoreError``."""
        listed = self._found or read_media_playlist(self.source, self._growing)
        followed, state = recount(self._followed, listed)
        first = self._first
        if state.segments and (mark := self._another_first(state)):
            followed = replace(followed, next_sequence=None, known=(), begins_anew=True)
            first = (state.segments[0].sequence, mark)
        followed, new = take_new(followed, state, may_restart=may_restart)
        located = locate(new, self.source, among=len(state.segments))
        # From here on nothing fails: what is taken is returned.
        self.state, self._followed, self._first = state, followed, first
        # One that is complete does not change any more, unless its encoder is back.
        self._found = listed if state.ended and not self._is_back else None
        self._failures, self.is_away, self.is_silent = 0, False, False
        return located

    def failed(self, error: VodrayError) -> None:
        self.state, self.problem = None, error.message
        self.is_away = isinstance(error, StoreError) and error.retry
        self.is_silent = isinstance(error, SourceUnavailable)
        self._failures += 1

    def _another_first(self, state: MediaPlaylist) -> str | None:
        """The fingerprint of the first segment if another was known under its number: a life of the
        encoder that uses the same names. Asked for only where there is reason to."""
        next_sequence = self._followed.next_sequence or 0
        is_suspicious = self._is_back or state.segments[-1].sequence + 1 < next_sequence
        if self._first is None or not is_suspicious:
            return None
        number, known = self._first
        if state.segments[0].sequence != number:
            return None
        mark = fingerprint(self.source, state.segments[0])
        return mark if mark != known else None

    def skip_to(self, sequence: int) -> None:
        """What lies before is taken already."""
        self._followed = Followed(next_sequence=sequence)

    def tell(self) -> None:
        """To those who wait for another look: inside their event loop."""
        if self.state is not None:
            self._read.set()
            self._read = asyncio.Event()

    def close(self) -> None:
        """There are no more looks."""
        self._is_closed = True
        self._read.set()

    @property
    def is_read_no_more(self) -> bool:
        """By those who look for what is new."""
        return self._is_closed or self.has_ended

    async def relist(self, segment: Segment) -> Segment:
        """The segment at the addresses that are listed now, once the playlist could be read
        again. One that is complete may still sign its addresses anew."""
        state = self.state
        if self.is_read_no_more:
            with suppress(SourceError, StoreError):
                listed = await asyncio.to_thread(read_media_playlist, self.source)
                _, state = recount(self._followed, listed)
        else:
            await self._read.wait()
            state = self.state
        segments = state.segments if state else ()
        same = (s for s in segments if (s.sequence, s.era) == (segment.sequence, segment.era))
        found = next(same, None)
        if found is None:
            return segment
        now = absolute(found, self.source, {})
        return replace(
            segment,
            uri=now.uri or segment.uri,
            byte_range=now.byte_range,
            init=now.init or segment.init,
            key=now.key or segment.key,
        )
