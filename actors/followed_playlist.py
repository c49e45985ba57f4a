"""One of the playlists that are followed: its state as it was read last, and what was taken."""

import asyncio

from actors.find_source import Start, StartOfSound
from pipeline.errors import StoreError, VodrayError
from pipeline.follow import Followed, absolute, locate, take_new
from pipeline.media.playlist import MediaPlaylist
from pipeline.model import Segment
from pipeline.source import read_media_playlist

# A playlist of sound is gone after so many failures in a row.
_FAILURES = 5


class FollowedPlaylist:
    """``state`` is None while the playlist cannot be read. ``number``: 0 for the main one."""

    def __init__(self, number: int, start: Start | StartOfSound) -> None:
        self.number, self.source = number, start.source
        self.state: MediaPlaylist | None = None
        self.problem = start.problem if isinstance(start, StartOfSound) else ""
        # Whether it is its server that does not answer, and that is ours.
        self.is_away = False
        self._followed = Followed(next_sequence=start.next_sequence)
        self._found = start.found
        self._failures = 0
        self._read = asyncio.Event()
        self._is_closed = False

    @property
    def has_ended(self) -> bool:
        return self.state is not None and self.state.ended

    @property
    def is_gone(self) -> bool:
        return self._failures >= _FAILURES

    def reload(self, may_restart: bool) -> list[Segment]:
        """What is new. Blocks. Raises ``SourceError``, ``StoreError``."""
        self.state = None
        self.state = self._found or read_media_playlist(self.source)
        # One that is complete does not change any more.
        self._found = self.state if self.state.ended else None
        self._failures, self.is_away = 0, False
        self._followed, new = take_new(self._followed, self.state, may_restart=may_restart)
        return locate(new, self.source)

    def failed(self, error: VodrayError) -> None:
        self.problem = error.message
        self.is_away = isinstance(error, StoreError)
        self._failures += 1

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

    async def relist(self, segment: Segment) -> Segment:
        """The segment as it is listed now, once the playlist could be read again."""
        if not self._is_closed:
            await self._read.wait()
        listed = self.state.segments if self.state else ()
        same = (s for s in listed if (s.sequence, s.era) == (segment.sequence, segment.era))
        found = next(same, None)
        return absolute(found, self.source, {}) if found else segment
