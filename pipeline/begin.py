"""How a recording begins, as far as that is arithmetic: how many segments are looked at first, on
which clock each playlist of sound is, what stands for one of which nothing is there."""

from dataclasses import dataclass, replace

from pipeline.jobs import LookJob
from pipeline.load import references, source_limits
from pipeline.media.remux import FirstLook
from pipeline.model import Segment, Sound
from pipeline.settings import Settings
from pipeline.staging import Locates
from pipeline.timebase import nearest_turn

# So many segments are looked at until one can be read.
FIRST_SEGMENTS = 5
# Playlists of one presentation share a clock (RFC 8216 6.2.4): one that is farther off has its own.
_ONE_CLOCK_S = 10.0
# Sound may end before the pictures by so much.
_TAIL_S = 10.0


def look_job(segment: Segment, source: Locates, settings: Settings) -> LookJob:
    """Tried once: where it cannot be read, the next segment is looked at."""
    return LookJob(
        segment=segment,
        urls={ref: source.url(ref) for ref in references([segment])},
        limits=replace(source_limits(settings), attempts=1),
        media_limits=settings.media_limits,
    )


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


def missing_tail(known_s: float, end_s: float, target_s: float, reason: str) -> list[Segment]:
    """In place of what a playlist of sound lacks of the pictures' length: a gap, or nothing.

    ``known_s``, ``end_s``: how far the sound and the pictures reach; ``target_s``: how long a
    segment of them is at most.
    """
    short_s = end_s - known_s
    if known_s and short_s <= max(2 * target_s, _TAIL_S):
        return []
    why = reason or "its playlist ends before the pictures"
    return [Segment(sequence=0, uri="", duration_s=short_s, is_gap=True, gap_reason=why)]
