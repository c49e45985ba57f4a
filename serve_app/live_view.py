"""What was captured of live recordings, read once and kept up to date: a player asks every few
seconds, for hours."""

from collections import OrderedDict
from dataclasses import dataclass, field
from uuid import UUID

from pipeline.errors import VodrayError
from pipeline.model import Opened, Segment, by_playlist
from pipeline.stores.catalog import Catalog

_RECORDINGS = 64


class NotLive(VodrayError):
    """Nothing captured of the recording is there: it has not begun, or will not go on."""


@dataclass(slots=True)
class LiveView:
    """``segments`` by playlist, the main one first."""

    opened: Opened = field(default_factory=lambda: Opened(ref=""))
    segments: list[list[Segment]] = field(default_factory=list)
    ended: bool = False
    findings: int = 0


class LiveViews:
    """The views that were asked for last."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._views: OrderedDict[UUID, LiveView] = OrderedDict()

    async def get(self, recording_id: UUID) -> LiveView:
        """As it is now. Raises ``RecordingNotFound``, ``NotLive``."""
        recording = await self._catalog.get(recording_id)
        state = await self._catalog.source_state(recording_id)
        # A player is some segments behind: what is completed is still there for it, with its end,
        # as long as its stream might come back.
        is_over = recording.status.is_final and not recording.resumable
        if state is None or state.opened is None or is_over:
            self._views.pop(recording_id, None)
            raise NotLive(f"The recording is {recording.status}, there is nothing live of it")
        view = self._views.setdefault(recording_id, LiveView())
        self._views.move_to_end(recording_id)
        while len(self._views) > _RECORDINGS:
            self._views.popitem(last=False)
        first = view.findings
        found = await self._catalog.findings(recording_id, first)
        # Another request may have read them meanwhile.
        if view.findings == first and found:
            new = by_playlist(found)
            view.segments = view.segments or [[] for _ in new]
            for known, more in zip(view.segments, new, strict=True):
                known += more
            view.findings += len(found)
        view.opened, view.ended = state.opened, state.is_final_for(recording)
        if not view.segments or not view.segments[0]:
            raise NotLive("Nothing of the stream is captured yet")
        return view
