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
# Of what a playlist claims: its durations are rounded, and some are only meant.
_UNSURE = 0.25
# In one recording: one wrong timestamp must not fill a day with nothing.
MOST_OPEN_S = 12 * 3600.0
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

    def decoded_from_s(self) -> Fraction:
        return min(map(_begin, self.span.tracks)) + self.shift_s

    def shown_from_s(self) -> Fraction:
        """When its first picture is shown, or sound alone begins."""
        tracks = lanes(self.span)
        return _shown_begin(tracks[min(tracks)]) + self.shift_s

    def over_s(self) -> Fraction:
        """When all of it is decoded and shown."""
        return max(max(_end(t), _shown_end(t)) for t in self.span.tracks) + self.shift_s


class LaneKey(NamedTuple):
    """What a track is to a player, whatever id the muxer gave it in a span: sortable, pictures
    first. ``number`` counts tracks of its kind in one span."""

    is_sound: bool
    playlist: int
    number: int


def place(
    spans: Iterable[tuple[int, Span]], missing_s: Sequence[float] | None = None
) -> list[PlacedSpan]:
    """``(chunk, span)`` in order -> where each goes. Spans without samples are left out.

    The main playlist decides; those of sound alone move with the pictures of their era and time.
    ``missing_s``: how much media was lost before each span of the main playlist, to leave that time
    open; without it the timeline closes up.
    """
    numbered = [(chunk, span) for chunk, span in spans if span.tracks]
    leader = leading_playlist(span for _, span in numbered)
    others = [entry for entry in numbered if entry[1].playlist != leader]
    own = [entry for entry in numbered if entry[1].playlist == leader]
    led = _place_leader(own, others, _Openings(missing_s) if missing_s is not None else None)
    followers = _place_followers(others, led)
    order = {id(span): number for number, (_, span) in enumerate(numbered)}
    return sorted([*led, *followers], key=lambda p: order[id(p.span)])


def leading_playlist(spans: Iterable[Span]) -> int:
    """The main one, unless nothing of it could be kept."""
    return min((span.playlist for span in spans if span.tracks), default=0)


def _place_leader(
    spans: Sequence[tuple[int, Span]],
    others: Sequence[tuple[int, Span]],
    openings: "_Openings | None",
) -> list[PlacedSpan]:
    placed: list[PlacedSpan] = []
    ends: dict[LaneKey, _Ends] = {}
    shift = openings.before(0, 0.0, is_marked=True) if openings and spans else Fraction(0)
    for number, (chunk, span) in enumerate(spans):
        jump = _jump_s(span, ends, shift)
        is_marked = span.discontinuity and not _joins_filler(placed, span)
        is_break = jump > KEPT_PAUSE_S or (is_marked and jump != 0.0)
        closes = bool(ends) and (_goes_back(span, ends, shift) or is_break)
        is_heard = closes and jump > 0 and _is_heard(placed[-1], chunk, span, others)
        open_s = Fraction(0)
        if openings and ends and not is_heard:
            jumps_s = jump if closes else 0.0
            open_s = openings.before(number, jumps_s, is_marked=span.discontinuity)
        keeps_clock = is_heard or (closes and open_s == Fraction(jump))
        if (closes or open_s) and not keeps_clock:
            shift = _shift_behind(span, ends) + open_s
        is_jump = closes and not is_heard
        placed.append(_placed(placed, chunk, span, shift, _as_meant(jump) if is_jump else 0.0))
        _remember(ends, span, shift)
    return placed


def _joins_filler(placed: Sequence[PlacedSpan], span: Span) -> bool:
    """What fills a gap is as long as it: rounding must not close it up."""
    return span.is_filler or (bool(placed) and placed[-1].span.is_filler)


class _Openings:
    """How much time is left open for lost media: what the source's clock tells, if that agrees with
    what the playlist claims; else what the playlist claims."""

    def __init__(self, missing_s: Sequence[float]) -> None:
        self._missing_s, self._left_s = missing_s, MOST_OPEN_S

    def before(self, number: int, jump_s: float, *, is_marked: bool) -> Fraction:
        """Before span ``number`` of the main playlist, where the clock jumps by ``jump_s``."""
        lost_s = self._missing_s[number]
        if not lost_s and is_marked:
            return Fraction(0)
        agrees = abs(jump_s - lost_s) <= max(KEPT_PAUSE_S, _UNSURE * lost_s)
        open_s = jump_s if jump_s > 0 and (agrees or not lost_s) else lost_s
        if open_s > self._left_s:
            return Fraction(0)
        self._left_s -= open_s
        return Fraction(open_s)


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
    counts = {"audio": max(0, span.sound - 1)}
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StartAndEnd:
    """Of one track of a placed span: when it begins to be decoded and to be shown, when it ends to
    be decoded, and when all of it is over."""

    track_id: int
    decoded: Fraction
    shown: Fraction
    decoded_end: Fraction
    over: Fraction


def starts_and_ends(p: PlacedSpan) -> dict[LaneKey, StartAndEnd]:
    return {
        lane: StartAndEnd(
            track_id=track.track_id,
            decoded=_begin(track) + p.shift_s,
            shown=_shown_begin(track) + p.shift_s,
            decoded_end=_end(track) + p.shift_s,
            over=max(_end(track), _shown_end(track)) + p.shift_s,
        )
        for lane, track in lanes(p.span).items()
    }


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
