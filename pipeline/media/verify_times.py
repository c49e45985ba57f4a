"""What the times in fragments count: each muxer has a time scale of its own per track, which may be
another than the track's in ``moov``. Only init segments tell it; without them it follows from the
tables, to which all times were rounded."""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.errors import VerificationFailed
from pipeline.media.fragments import track_heads
from pipeline.media.tables import TableTrack
from pipeline.media.walk import Fragment, PlacedRun

_SAMPLE_RATE_AT = 8 + 24
_MOST = 2.0**32
_HIGHEST_UNIT = 10**9


@dataclass(frozen=True, slots=True)
class _Range:
    """Time scales that may be meant, both ends included."""

    least: float = 1.0
    most: float = _MOST

    def __contains__(self, scale: int) -> bool:
        return self.least <= scale <= self.most

    def also(self, other: "_Range") -> "_Range":
        return _Range(max(self.least, other.least), min(self.most, other.most))

    @property
    def is_empty(self) -> bool:
        return self.least > self.most


def timescales(
    table: TableTrack,
    runs: Sequence[tuple[Fragment, PlacedRun]],
    inits: Sequence[bytes | None],
) -> list[int]:
    """One per run. ``runs``: all of one track in the order of its samples; ``inits``: of each, if
    known."""
    found: list[int] = []
    for group in _by_muxer(table, runs):
        guess: int | None = None
        for number in group:
            init = inits[number]
            if init is not None:
                found.append(_told(init, *runs[number]))
                continue
            if guess is None:
                guess = _guess(table, [runs[other][1] for other in group])
            found.append(guess)
    return found


def _told(init: bytes, fragment: Fragment, placed: PlacedRun) -> int:
    timescale, _ = track_heads(init).get(placed.run.track_id, (0, ""))
    if not timescale:
        raise VerificationFailed(
            f"the HLS init segment of the fragment at byte {fragment.start} lacks its track"
        )
    return timescale


def _by_muxer(table: TableTrack, runs: Sequence[tuple[Fragment, PlacedRun]]) -> Iterator[list[int]]:
    """Numbers of runs that one muxer wrote, as far as can be seen: it counts its fragments, has one
    sample entry, and one time scale."""
    group: list[int] = []
    allowed, before = _Range(), -1
    for number, (fragment, placed) in enumerate(runs):
        own = _allowed(table, placed, placed)
        goes_on = (
            bool(group)
            and fragment.sequence >= before
            and table.entry[placed.first] == table.entry[runs[group[0]][1].first]
            and not allowed.also(own).is_empty
        )
        if not goes_on:
            if group:
                yield group
            group, allowed = [], _Range()
        group.append(number)
        allowed, before = allowed.also(own), fragment.sequence
    if group:
        yield group


def _allowed(table: TableTrack, first: PlacedRun, last: PlacedRun) -> _Range:
    """By which time scales it is as long from the begin of one run to the last sample of another,
    or the same one, as it is in ``moov``."""
    number = last.first + len(last.run.size) - 1
    ticks = int(last.run.dts[-1] - first.run.dts[0])
    if number >= len(table.dts) or ticks <= 0:
        return _Range()
    # Both ends are rounded to ticks of the table.
    length = int(table.dts[number] - table.dts[first.first])
    least = ticks * table.timescale / (length + 1)
    return _Range(least, ticks * table.timescale / (length - 1) if length > 1 else _MOST)


def _guess(table: TableTrack, group: Sequence[PlacedRun]) -> int:
    allowed = _Range()
    for placed in group:
        allowed = allowed.also(_allowed(table, placed, placed))
    # Single pictures tell something together.
    all_along = allowed.also(_allowed(table, group[0], group[-1]))
    if not all_along.is_empty:
        allowed = all_along
    usual = (_sample_rate(table, group[0].first), table.timescale)
    return next((scale for scale in usual if scale in allowed), _roundest(allowed))


def _sample_rate(table: TableTrack, number: int) -> int:
    """Of the sample's entry (ISO/IEC 14496-12 12.2.3.2): FFmpeg counts times of sound by it. 0
    for pictures, and where it is too high for the field."""
    entry = table.entries[int(table.entry[number])]
    if table.kind != "audio" or len(entry) < _SAMPLE_RATE_AT + 4:
        return 0
    (rate,) = struct.unpack_from(">H", entry, _SAMPLE_RATE_AT)
    return int(rate)


def _roundest(allowed: _Range) -> int:
    """The one that is a multiple of the highest power of ten."""
    unit = _HIGHEST_UNIT
    while unit > 1:
        scale = math.ceil(allowed.least / unit) * unit
        if scale in allowed:
            return scale
        unit //= 10
    return max(1, round((allowed.least + allowed.most) / 2))
