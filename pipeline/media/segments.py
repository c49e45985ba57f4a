"""Segments that are demuxed as one stream: which of them is cut off, gives nothing, or does not
continue the one before it. FFmpeg passes over all of that in silence."""

import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, chain

import numpy as np
import numpy.typing as npt

from pipeline.errors import MediaInvalid
from pipeline.media import boxes
from pipeline.media.sniff import is_mp4
from pipeline.media.timeline import KEPT_PAUSE_S

_TS_PACKET_BYTES = 188
_TS_SYNC = 0x47

Seconds = npt.NDArray[np.float64]


def without_torn_end(segment: bytes) -> bytes:
    """MPEG-TS without a last packet that is cut off: it would swallow what follows it."""
    torn = len(segment) % _TS_PACKET_BYTES
    is_ts = len(segment) > _TS_PACKET_BYTES and segment[0] == segment[_TS_PACKET_BYTES] == _TS_SYNC
    # Where bytes lie between packets, the last one may be whole all the same.
    is_torn = is_ts and torn and segment[-_TS_PACKET_BYTES] != _TS_SYNC
    return segment[:-torn] if is_torn else segment


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


def has_own_init(segment: bytes) -> bool:
    """MP4 with a ``moov`` of its own: it is read by itself."""
    if not is_mp4(segment):
        return False
    try:
        return boxes.find(segment, "moov") is not None
    except MediaInvalid:
        return False


class Joined:
    """The pieces as one file to read, without a copy of them all."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = [memoryview(piece) for piece in pieces if piece]
        self._starts = [0, *accumulate(map(len, self._pieces))]
        self._at = 0

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes: less where a piece ends, none at the end."""
        number = bisect_right(self._starts, self._at) - 1
        if number == len(self._pieces):
            return b""
        begin = self._at - self._starts[number]
        found = self._pieces[number][begin : begin + size].tobytes()
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}[whence]
        self._at = min(max(0, base + offset), self._starts[-1])
        return self._at

    def tell(self) -> int:
        return self._at


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Numbers of segments. ``cuts``: those that begin long after everything before them ended, or
    are encoded otherwise (``changed``); ``silent``: of which no packet came; ``damaged``: of whose
    packets bytes are missing."""

    cuts: tuple[int, ...]
    changed: tuple[int, ...]
    silent: tuple[int, ...]
    damaged: tuple[int, ...]


class Tally:
    """Tells from packets in demuxing order what became of each of the joined segments.

    ``note`` takes, for each packet, ``(stream, position, dts, duration)``: its position in the
    joined bytes (-1: unknown), times in ticks of the stream's time base. ``changed`` takes the
    position of a packet that is not encoded as those before it, ``damaged`` of one that lacks
    bytes.
    """

    def __init__(self, init: bytes, segments: Sequence[bytes]) -> None:
        sizes = [len(init), *map(len, segments)]
        self._starts = list(accumulate(sizes))[:-1]
        self._notes: list[tuple[int, int, int, int]] = []
        self._changes: list[int] = []
        self._damages: list[int] = []
        self.note = self._notes.append
        self.changed = self._changes.append
        self.damaged = self._damages.append

    def judge(self, time_bases: Mapping[int, Fraction]) -> "Verdict":
        """``time_bases``: by stream."""
        begin_s, end_s = self._times(time_bases)
        silent = np.flatnonzero(begin_s == np.inf)
        heard = np.flatnonzero(begin_s != np.inf)
        waits = begin_s[heard[1:]] - np.maximum.accumulate(end_s[heard])[:-1]
        cuts = {int(number) for number in heard[1:][waits > KEPT_PAUSE_S]}
        changed = self._segments_of(self._changes)
        return Verdict(
            cuts=tuple(sorted((cuts | changed) - {0})),
            changed=tuple(sorted(changed)),
            silent=tuple(int(number) for number in silent),
            damaged=tuple(sorted(self._segments_of(self._damages))),
        )

    def _segments_of(self, positions: Sequence[int]) -> set[int]:
        return {max(0, bisect_right(self._starts, position) - 1) for position in positions}

    def _times(self, time_bases: Mapping[int, Fraction]) -> tuple[Seconds, Seconds]:
        """When each segment begins and ends; infinite and never where no packet came."""
        begin_s = np.full(len(self._starts), np.inf)
        end_s = np.full(len(self._starts), -np.inf)
        columns = np.fromiter(chain.from_iterable(self._notes), np.int64, 4 * len(self._notes))
        stream, position, dts, duration = columns.reshape(-1, 4).T
        # A packet without a position belongs to where the one before it was.
        known = np.maximum.accumulate(np.where(position >= 0, np.arange(len(position)), 0))
        segment = np.maximum(np.searchsorted(self._starts, position[known], side="right") - 1, 0)
        for number, time_base in time_bases.items():
            own = stream == number
            if own.any():
                time_s = dts[own] * float(time_base)
                step_s = np.minimum(np.diff(time_s, prepend=time_s[0]), 2 * KEPT_PAUSE_S)
                length_s = np.maximum(duration[own] * float(time_base), step_s)
                np.minimum.at(begin_s, segment[own], time_s)
                np.maximum.at(end_s, segment[own], time_s + length_s)
        return begin_s, end_s
