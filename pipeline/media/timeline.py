"""Places the spans of a recording one after the other on one timeline: a pure fold.

Inside a run, source timing is kept as it is, pauses included. Where the source's clock jumps
(marked or not, forward or back) the timeline closes up: every track of the new span moves by the
same amount, so sound stays with picture, and no track's samples overlap what came before.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from pipeline.media.samples import Span, TrackSamples
from pipeline.timebase import FAR_S, TS_WRAP_S

# A silent join of this length or less is the source's own timing (packets lost, encoder pause).
KEPT_PAUSE_S = 0.5
_LONGEST_GAP_S = 48 * 3600.0
# Sound that is farther from all pictures has a clock of its own.
_BESIDE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedSpan:
    """A span and where it goes. ``shift_s`` is added to its recording time.

    ``chunk``: whose bytes hold it. ``jump_s``: by how much the source's clock was off from
    continuing, 0 where it continued. ``new_run``: HLS needs a discontinuity before it.
    """

    chunk: int
    span: Span
    shift_s: Fraction
    jump_s: float
    new_run: bool

    def ticks(self, track: TrackSamples) -> int:
        return round(self.shift_s * track.timescale)

    def start_s(self) -> float:
        return min(track.start_s for track in self.span.tracks) + float(self.shift_s)

    def end_s(self) -> float:
        return max(track.end_s for track in self.span.tracks) + float(self.shift_s)


class LaneKey(NamedTuple):
    """What a track is to a player, whatever id the muxer gave it in a span: sortable, pictures
    first. ``number`` counts tracks of its kind in one span."""

    is_sound: bool
    playlist: int
    number: int


def place(spans: Iterable[tuple[int, Span]]) -> list[PlacedSpan]:
    """``(chunk, span)`` in order -> where each goes. Spans without samples are left out.

    The main playlist decides; those of sound alone move with the pictures of their era and time.
    """
    numbered = [(chunk, span) for chunk, span in spans if span.tracks]
    leader = min((span.playlist for _, span in numbered), default=0)
    others = [entry for entry in numbered if entry[1].playlist != leader]
    led = _place_leader([entry for entry in numbered if entry[1].playlist == leader], others)
    followers = _place_followers(others, led)
    order = {id(span): number for number, (_, span) in enumerate(numbered)}
    return sorted([*led, *followers], key=lambda p: order[id(p.span)])


def _place_leader(
    spans: Sequence[tuple[int, Span]], others: Sequence[tuple[int, Span]]
) -> list[PlacedSpan]:
    placed: list[PlacedSpan] = []
    ends: dict[LaneKey, _Ends] = {}
    shift = Fraction(0)
    for chunk, span in spans:
        jump = _jump_s(span, ends, shift)
        closes = bool(ends) and (_goes_back(span, ends, shift) or _is_break(span, jump))
        if closes and jump > 0 and _is_heard(placed[-1], chunk, span, others):
            closes = False
        if closes:
            shift = _shift_behind(span, ends)
        placed.append(_placed(placed, chunk, span, shift, _as_meant(jump) if closes else 0.0))
        _remember(ends, span, shift)
    return placed


def _is_heard(
    before: PlacedSpan, chunk: int, span: Span, others: Sequence[tuple[int, Span]]
) -> bool:
    """Whether another playlist has sound where pictures are missing: then their place stays."""
    if before.span.era != span.era:
        return False
    begin = max(track.end_s for track in before.span.tracks)
    end = min(track.start_s for track in span.tracks)
    heard: dict[int, float] = {}
    for other_chunk, other in others:
        if before.chunk <= other_chunk <= chunk and other.era == span.era:
            from_s, to_s = _interval_s(other)
            length = min(to_s, end) - max(from_s, begin)
            heard[other.playlist] = heard.get(other.playlist, 0.0) + max(0.0, length)
    return any(length > (end - begin) / 2 for length in heard.values())


def _place_followers(
    spans: Sequence[tuple[int, Span]], led: Sequence[PlacedSpan]
) -> list[PlacedSpan]:
    by_playlist: dict[int, list[PlacedSpan]] = {}
    ends: dict[LaneKey, _Ends] = {}
    for chunk, span in spans:
        placed = by_playlist.setdefault(span.playlist, [])
        leader = _led_by(chunk, span, led)
        shift = leader.shift_s
        if _away_s(span, leader.span) > _BESIDE_S:
            begin = min(map(_begin, leader.span.tracks)) + leader.shift_s
            shift = _shift_behind(span, ends) if ends else begin - min(map(_begin, span.tracks))
        elif _goes_back(span, ends, shift):
            shift = _shift_behind(span, ends)
        placed.append(_placed(placed, chunk, span, shift, 0.0))
        _remember(ends, span, shift)
    return [p for placed in by_playlist.values() for p in placed]


def _led_by(chunk: int, span: Span, led: Sequence[PlacedSpan]) -> PlacedSpan:
    """The span of the leading playlist that was on at the same time."""
    near = led[bisect_left(led, chunk - 1, key=_chunk) : bisect_right(led, chunk + 1, key=_chunk)]

    return min(near or led, key=lambda p: (p.span.era != span.era, _away_s(span, p.span)))


def _away_s(span: Span, leader: Span) -> float:
    """From the middle of one to the nearest end of the other, 0 inside."""
    begin, end = _interval_s(span)
    from_s, to_s = _interval_s(leader)
    return max(from_s - (begin + end) / 2, (begin + end) / 2 - to_s, 0.0)


def _chunk(p: PlacedSpan) -> int:
    return p.chunk


def _interval_s(span: Span) -> tuple[float, float]:
    """In recording time, before it is moved."""
    return min(t.start_s for t in span.tracks), max(t.end_s for t in span.tracks)


def _placed(
    before: Sequence[PlacedSpan], chunk: int, span: Span, shift: Fraction, jump_s: float
) -> PlacedSpan:
    is_moved = bool(before) and before[-1].shift_s != shift
    is_other = bool(before) and before[-1].span.init != span.init
    return PlacedSpan(
        chunk=chunk,
        span=span,
        shift_s=shift,
        jump_s=jump_s,
        new_run=bool(before) and (is_moved or is_other or span.discontinuity),
    )


def _remember(ends: "dict[LaneKey, _Ends]", span: Span, shift: Fraction) -> None:
    for lane, track in lanes(span).items():
        ends[lane] = _Ends(
            last=Fraction(int(track.dts[-1]), track.timescale) + shift,
            decoded=_end(track) + shift,
            shown=_shown_end(track) + shift,
        )


def lanes(span: Span) -> dict[LaneKey, TrackSamples]:
    """The tracks by what they are."""
    counts: dict[str, int] = {}
    named = {}
    for track in span.tracks:
        number = counts.get(track.kind, 0)
        counts[track.kind] = number + 1
        named[LaneKey(track.kind != "video", span.playlist, number)] = track
    return named


def sample_durations(track: TrackSamples) -> np.ndarray:
    """Ticks from each sample to the next in decode order; the last keeps the usual distance."""
    if len(track.dts) < 2:
        # A lone picture may not say how long it is shown.
        return np.where(track.duration > 0, track.duration, max(1, track.timescale // 25))
    steps = np.diff(track.dts)
    return np.append(steps, int(np.median(steps[-16:])))


def _is_break(span: Span, jump: float) -> bool:
    return jump > KEPT_PAUSE_S or (span.discontinuity and jump != 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """Where a track ends on the timeline: its last sample's decode time, and its end by decode and
    by presentation time. The distance between the latter is constant, unless the track was cut
    off where pictures are reordered."""

    last: Fraction
    decoded: Fraction
    shown: Fraction


def _goes_back(span: Span, ends: Mapping[LaneKey, _Ends], shift: Fraction) -> bool:
    """Whether a track would be decoded before its own last sample. A shorter overlap is rounding,
    or a last sample that was shorter than usual: the source's own timing."""
    return any(
        _begin(track) + shift <= ends[lane].last
        for lane, track in lanes(span).items()
        if lane in ends
    )


def _as_meant(jump_s: float) -> float:
    """A clock that was set back looks, being unwrapped, as if it had nearly gone round; and one
    that jumps by days was set."""
    period = float(TS_WRAP_S)
    if jump_s > _LONGEST_GAP_S:
        return jump_s - FAR_S
    return jump_s - period if jump_s > period / 2 else jump_s


def _jump_s(span: Span, ends: Mapping[LaneKey, _Ends], shift: Fraction) -> float:
    """How far the span begins behind (or before) where the tracks that it continues ended: of the
    nearest, since a track may pause, unless one goes back."""
    behind = [
        _begin(track) + shift - ends[lane].decoded
        for lane, track in lanes(span).items()
        if lane in ends
    ]
    if behind:
        return float(min(behind) if _goes_back(span, ends, shift) else min(behind, key=abs))
    if not ends:
        return 0.0
    return float(min(map(_begin, span.tracks)) + shift - _last(ends))


def _shift_behind(span: Span, ends: Mapping[LaneKey, _Ends]) -> Fraction:
    needed = [
        need
        for lane, track in lanes(span).items()
        if lane in ends
        for need in (ends[lane].decoded - _begin(track), ends[lane].shown - _shown_begin(track))
    ]
    return max(needed) if needed else _last(ends) - min(map(_begin, span.tracks))


def _last(ends: Mapping[LaneKey, _Ends]) -> Fraction:
    return max(end.decoded for end in ends.values())


def _begin(track: TrackSamples) -> Fraction:
    return Fraction(int(track.dts[0]), track.timescale)


def _end(track: TrackSamples) -> Fraction:
    return Fraction(int(track.dts[-1] + sample_durations(track)[-1]), track.timescale)


def _shown_begin(track: TrackSamples) -> Fraction:
    return Fraction(int(track.pts.min()), track.timescale)


def _shown_end(track: TrackSamples) -> Fraction:
    return Fraction(int((track.pts + sample_durations(track)).max()), track.timescale)
