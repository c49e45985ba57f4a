"""What was captured of a recording's source, as its supervisor reads it."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from pipeline.errors import Conflict, SourceUnavailable
from pipeline.model import Opened, Recording, Segment, by_playlist
from pipeline.stores.catalog import Catalog
from pipeline.stores.folds import refuse_final

# Somebody says when there is news: this is for when that is lost.
_LOOK_EVERY_S = 5.0


class Captured:
    """Reads the log from its beginning. ``segments``: what was read, by playlist, the main one
    first. ``wait`` returns early when something about the recording has changed."""

    def __init__(
        self, recording_id: UUID, *, catalog: Catalog, wait: Callable[[float], Awaitable[None]]
    ) -> None:
        self._id, self._catalog, self._wait = recording_id, catalog, wait
        self._read = 0
        self.segments: list[list[Segment]] = []
        self.opened = Opened(ref="")
        self.recording: Recording | None = None
        self.is_complete = False

    async def read(self) -> list[list[Segment]]:
        """What is new, by playlist. Raises ``SourceUnavailable`` if there is nothing at all and
        never will be, ``Conflict`` if the recording is final."""
        # In this order: what was complete when it was asked is read whole.
        recording = await self._catalog.get(self._id)
        state = await self._catalog.source_state(self._id)
        findings = await self._catalog.findings(self._id, self._read)
        self._read += len(findings)
        # Cancelled, say: nobody needs what comes next.
        refuse_final(recording)
        self.recording = recording
        self.is_complete = state is not None and state.is_final_for(recording)
        if state is not None and state.opened is not None:
            self.opened = state.opened
        new = [list(segments) for segments in by_playlist(findings)]
        if not self.segments:
            self.segments = [[] for _ in new]
        for known, more in zip(self.segments, new, strict=False):
            known += more
        if self.is_complete and not self.segments:
            problem = (state and state.problem) or "The source lists no segments"
            raise SourceUnavailable(problem)
        return new or [[] for _ in self.segments]

    async def refuse_more(self) -> None:
        """Raises ``Conflict`` unless what was read is all: a stream that was started again, and may
        have ended again since, has come back."""
        if any(await self.read()) or not self.is_complete:
            raise Conflict("There is more of the stream")

    async def wait_for_more(self) -> None:
        await self._wait(_LOOK_EVERY_S)
