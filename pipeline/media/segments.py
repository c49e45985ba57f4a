"""Segments that are demuxed as one stream: which of them is cut off, gives nothing, or does not
continue the one before it. FFmpeg passes over all of that in silence."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from pipeline.errors import MediaInvalid
from pipeline.media import boxes
from pipeline.media.sniff import is_mp4
from pipeline.media.timeline import KEPT_PAUSE_S

_TS_PACKET_BYTES = 188
_TS_SYNC = 0x47


def without_torn_end(segment: bytes) -> bytes:
    """MPEG-TS without a last packet that is cut off: it would swallow what follows it."""
    torn = len(segment) % _TS_PACKET_BYTES
    is_ts = len(segment) > _TS_PACKET_BYTES and segment[0] == segment[_TS_PACKET_BYTES] == _TS_SYNC
    return segment[:-torn] if is_ts and torn else segment


def has_torn_boxes(segment: bytes) -> bool:
    """Fragmented MP4 whose boxes do not end where the segment ends."""
    if not is_mp4(segment):
        return False
    try:
        for _ in boxes.walk(segment):
            pass
    except MediaInvalid:
        return True
    return False


class Tally:
    """Tells from packets in demuxing order what became of each of the joined segments."""

    def __init__(self, init: bytes, segments: Sequence[bytes]) -> None:
        sizes = [len(init), *map(len, segments)]
        self._starts = list(accumulate(sizes))[:-1]
        self._begin_s: dict[int, float] = {}
        self._end_s: dict[int, float] = {}
        self._last_s: dict[int, float] = {}
        self._segment = 0

    def note(self, stream: int, position: int | None, time_s: float, duration_s: float) -> None:
        """A packet at ``position`` of the joined bytes, decoded at ``time_s``."""
        if position is not None:
            self._segment = max(0, bisect_right(self._starts, position) - 1)
        at = self._segment
        step_s = time_s - self._last_s.get(stream, time_s)
        self._last_s[stream] = time_s
        end_s = time_s + max(duration_s, min(step_s, 2 * KEPT_PAUSE_S))
        self._begin_s[at] = min(self._begin_s.get(at, time_s), time_s)
        self._end_s[at] = max(self._end_s.get(at, end_s), end_s)

    def silent(self) -> int | None:
        """The first segment of which no packet came."""
        everyone = range(len(self._starts))
        return next((at for at in everyone if at not in self._begin_s), None)

    def jump(self) -> int | None:
        """The first segment that begins long after everything before it ended."""
        heard = sorted(self._begin_s)
        ends = accumulate((self._end_s[at] for at in heard), max)
        for end_s, at in zip(ends, heard[1:], strict=False):
            if self._begin_s[at] - end_s > KEPT_PAUSE_S:
                return at
        return None
