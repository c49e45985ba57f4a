"""One unwrapped clock for a whole recording.

Fragments carry *recording time*: source time minus the anchor (the whole second that the first
timestamp lies in) plus a constant lead, so that decode times before the first picture stay
positive. Whole seconds convert to every time base without rounding. MPEG-TS clocks have 33 bits
of 90 kHz (ISO/IEC 13818-1 2.4.3.7) and wrap every 26.5 h; which turn is meant follows from where
the playlist says we are, so chunks agree without talking to each other.
"""

from dataclasses import dataclass
from fractions import Fraction

from pipeline.errors import MediaInvalid

LEAD_S = 10
TS_WRAP_S = Fraction(2**33, 90_000)
# Far beyond any time of day that a clock may show in seconds (until 2106).
FAR_S = 2**32


def nearest_turn(time_s: float, near_s: float) -> float:
    """The time of a clock that wraps, on the turn that is nearest to ``near_s``."""
    period = float(TS_WRAP_S)
    return time_s + round((near_s - time_s) / period) * period


@dataclass(frozen=True, slots=True)
class Clock:
    """Maps source timestamps of one chunk to recording time, in ticks of a stream's time base.

    ``near_s``: the recording time at which the chunk is expected; ``wraps``: MPEG-TS. ``shift_s``
    is added to the source's timestamps, rounded to ticks.
    """

    anchor_s: int
    near_s: float
    wraps: bool
    shift_s: Fraction = Fraction(0)

    def mapping(self, time_base: Fraction) -> "TickMapping":
        shift = (LEAD_S - self.anchor_s) / time_base
        if shift.denominator != 1:
            raise MediaInvalid(f"its time base {time_base} does not divide a second")
        shift += round(self.shift_s / time_base)
        if not self.wraps:
            # A clock that was set back to before the anchor must not go below zero.
            return TickMapping(shift=int(shift), period=int(FAR_S / time_base), floor=0)
        period = int(TS_WRAP_S / time_base)
        expected = int((LEAD_S + self.near_s) / time_base)
        return TickMapping(shift=int(shift), period=period, floor=max(0, expected - period // 2))


@dataclass(frozen=True, slots=True)
class TickMapping:
    """``ticks -> ticks + shift``, put into ``[floor, floor + period)``."""

    shift: int
    period: int
    floor: int

    def __call__(self, ticks: int) -> int:
        return (ticks + self.shift - self.floor) % self.period + self.floor
