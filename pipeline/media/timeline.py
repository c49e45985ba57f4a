"""Places the spans of a recording one after the other on one timeline: a pure fold.

Inside a run, source timing is kept as it is, pauses included. Where the source's clock jumps
(marked or not, forward or back) the timeline closes up: every track of the new span moves by the
same amount, so sound stays with picture, and no track's samples overlap what came before.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pipeline.media.samples import Span, TrackSamples
from pipeline.timebase import TS_WRAP_S

# A silent join of this length or less is the source's own timing (packets lost, encoder pause).
KEPT_PAUSE_S = 0.5


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


def place(spans: Iterable[tuple[int, Span]]) -> list[PlacedSpan]:
    """``(chunk, span)`` in order -> where each goes. Spans without samples are left out."""
    placed: list[PlacedSpan] = []
    ends: dict[str, _Ends] = {}
    shift = Fraction(0)
    for chunk, span in spans:
        if not span.tracks:
            continue
        jump = _jump_s(span, ends, shift)
        closes = bool(ends) and (_goes_back(span, ends, shift) or _is_break(span, jump))
        if closes:
            shift = _shift_behind(span, ends)
        new_run = bool(placed) and (
            closes or span.discontinuity or placed[-1].span.init != span.init
        )
        placed.append(
            PlacedSpan(
                chunk=chunk,
                span=span,
                shift_s=shift,
                jump_s=_as_meant(jump) if closes else 0.0,
                new_run=new_run,
            )
        )
        for lane, track in lanes(span.tracks).items():
            ends[lane] = _Ends(
                last=Fraction(int(track.dts[-1]), track.timescale) + shift,
                decoded=_end(track) + shift,
                shown=_shown_end(track) + shift,
            )
    return placed


def lanes(tracks: Iterable[TrackSamples]) -> Mapping[str, TrackSamples]:
    """Tracks by what they are to a player: ``video0``, ``audio0``, ``audio1``..., whatever ids
    the muxer gave them in this span."""
    counts: dict[str, int] = {}
    named = {}
    for track in tracks:
        number = counts.get(track.kind, 0)
        counts[track.kind] = number + 1
        named[f"{track.kind}{number}"] = track
    return named


def sample_durations(track: TrackSamples) -> np.ndarray:
    """Ticks from each sample to the next in decode order; the last keeps the usual distance."""
    if len(track.dts) < 2:
        return track.duration
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


def _goes_back(span: Span, ends: Mapping[str, _Ends], shift: Fraction) -> bool:
    """Whether a track would be decoded before its own last sample. A shorter overlap is rounding,
    or a last sample that was shorter than usual: the source's own timing."""
    return any(
        _begin(track) + shift <= ends[lane].last
        for lane, track in lanes(span.tracks).items()
        if lane in ends
    )


def _as_meant(jump_s: float) -> float:
    """A clock that was set back looks, being unwrapped, as if it had nearly gone round."""
    period = float(TS_WRAP_S)
    return jump_s - period if jump_s > period / 2 else jump_s


def _jump_s(span: Span, ends: Mapping[str, _Ends], shift: Fraction) -> float:
    """How far the span begins behind (or before) where the tracks that it continues ended: of the
    nearest, since a track may pause, unless one goes back."""
    behind = [
        _begin(track) + shift - ends[lane].decoded
        for lane, track in lanes(span.tracks).items()
        if lane in ends
    ]
    if behind:
        return float(min(behind) if _goes_back(span, ends, shift) else min(behind, key=abs))
    if not ends:
        return 0.0
    return float(min(map(_begin, span.tracks)) + shift - _last(ends))


def _shift_behind(span: Span, ends: Mapping[str, _Ends]) -> Fraction:
    needed = [
        need
        for lane, track in lanes(span.tracks).items()
        if lane in ends
        for need in (ends[lane].decoded - _begin(track), ends[lane].shown - _shown_begin(track))
    ]
    return max(needed) if needed else _last(ends) - min(map(_begin, span.tracks))


def _last(ends: Mapping[str, _Ends]) -> Fraction:
    return max(end.decoded for end in ends.values())


def _begin(track: TrackSamples) -> Fraction:
    return Fraction(int(track.dts[0]), track.timescale)


def _end(track: TrackSamples) -> Fraction:
    return Fraction(int(track.dts[-1] + sample_durations(track)[-1]), track.timescale)


def _shown_begin(track: TrackSamples) -> Fraction:
    return Fraction(int(track.pts.min()), track.timescale)


def _shown_end(track: TrackSamples) -> Fraction:
    return Fraction(int((track.pts + sample_durations(track)).max()), track.timescale)
