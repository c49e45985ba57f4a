"""How a recording begins, as far as that is arithmetic: how many segments are looked at first, on
which clock each playlist of sound is, what stands for one of which nothing is there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.media.remux import FirstLook
from pipeline.model import Segment, Sound
from pipeline.timebase import nearest_turn

# So many segments are looked at until one can be read.
FIRST_SEGMENTS = 5
# Playlists of one presentation share a clock (RFC 8216 6.2.4): one that is farther off has its own.
_ONE_CLOCK_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The first segment of a playlist that can be read, and what it told."""

    segment: Segment
    look: FirstLook


def align(sound: Sound, own: Seen, main: Seen) -> Sound:
    """By timestamps, unless they are those of another clock: then by EXT-X-PROGRAM-DATE-TIME, else
    both begin together."""
    sound = replace(sound, form=own.look.form)
    at_s = main.look.begin_s
    begin_s = nearest_turn(own.look.begin_s, at_s) if own.look.wraps else own.look.begin_s
    later_s = 0.0
    if own.segment.program_date_time and main.segment.program_date_time:
        apart = own.segment.program_date_time - main.segment.program_date_time
        later_s = apart.total_seconds()
    if abs(begin_s - at_s - later_s) <= _ONE_CLOCK_S:
        return sound
    return replace(sound, shift_s=round(at_s + later_s - begin_s, 6))


def missing(beside: Sequence[Segment], known_s: float, reason: str) -> Segment:
    """In place of a playlist of sound of which nothing was ever there: a gap as long as all
    pictures, ``known_s`` and those ``beside``."""
    length_s = known_s + sum(segment.duration_s for segment in beside)
    why = reason or "its playlist lists no segments"
    return Segment(sequence=0, uri="", duration_s=length_s, is_gap=True, gap_reason=why)
