"""When pictures that are encoded anew are shown: at their own times, or at those of a constant
frame rate."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from pipeline.media.decode_pictures import Pictures
from pipeline.media.samples import TrackSamples
from pipeline.media.scale import Scaled

# How long a picture is repeated where none follow: a hole is left behind that.
_MOST_REPEATED_S = 10
_HALF = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class Shown:
    """``time``, ``duration``: in ticks (``tick_s``)."""

    scaled: Scaled
    time: int
    duration: int


class OwnTimes:
    """Ticks are those of the source."""

    phase_s = Fraction(0)

    def __init__(self, given: Pictures) -> None:
        track = given.body.span.tracks[0]
        self.tick_s = Fraction(1, track.timescale)
        self.rate = _nominal(track)
        self._end = int((track.pts + track.duration).max())
        self._waiting: Scaled | None = None

    def take(self, scaled: Scaled) -> Iterator[Shown]:
        if self._waiting is not None:
            picture = self._waiting.picture
            yield Shown(self._waiting, picture.pts, picture.duration)
        self._waiting = scaled

    def finish(self) -> Iterator[Shown]:
        if self._waiting is not None:
            picture = self._waiting.picture
            # Fields may have a sample each.
            left = min(self._end - picture.pts, 2 * picture.duration)
            yield Shown(self._waiting, picture.pts, max(left, picture.duration))


class Grid:
    """Ticks are pictures, counted from ``phase_s`` of recording time. Each shows what FFmpeg's
    filter ``fps`` has there: the latest picture whose time, rounded, is not behind it.

    A piece has the ticks up to where the next one begins: side by side, they have each tick once.
    """

    def __init__(self, given: Pictures, frame_rate: Fraction, phase_s: Fraction) -> None:
        track = given.body.span.tracks[0]
        self.tick_s, self.rate, self.phase_s = 1 / frame_rate, frame_rate, phase_s
        self._ticks_per_pts = frame_rate / track.timescale
        self._before = phase_s * frame_rate - _HALF
        self._most = max(1, round(_MOST_REPEATED_S * frame_rate))
        first, end = int(track.pts.min()), int((track.pts + track.duration).max())
        self._end = max(self._tick(end), self._tick(first) + 1)
        # A next one that is before this one tells nothing: the clock is set back.
        if given.next_s is not None and given.next_s * track.timescale > first:
            self._end = self._tick(given.next_s * track.timescale)
        self._waiting: Scaled | None = None
        self._at = 0

    def take(self, scaled: Scaled) -> Iterator[Shown]:
        tick = self._tick(scaled.picture.pts)
        if self._waiting is None:
            self._at = tick
        elif tick > self._at:
            yield from self._repeat(self._waiting, tick)
            self._at = tick
        self._waiting = scaled

    def finish(self) -> Iterator[Shown]:
        if self._waiting is not None:
            yield from self._repeat(self._waiting, self._end)

    def _repeat(self, scaled: Scaled, until: int) -> Iterator[Shown]:
        for tick in range(self._at, min(until, self._end, self._at + self._most)):
            yield Shown(scaled, tick, 1)

    def _tick(self, pts: int | Fraction) -> int:
        return (pts * self._ticks_per_pts - self._before) // 1


def _nominal(track: TrackSamples) -> Fraction:
    """Pictures per second as an encoder is told for its level and rate control: 30, 60, 120 or 240,
    the next one that is hardly less. Few, so that chunks of one source have equal sample entries.
    """
    steps = sorted(track.duration[track.duration > 0].tolist())
    if not steps:
        return Fraction(30)
    measured = track.timescale / steps[len(steps) // 2]
    return next(
        (Fraction(rate) for rate in (30, 60, 120) if measured <= 1.25 * rate), Fraction(240)
    )
