"""How a recording begins, as far as that is arithmetic: which segments are looked at first, on
which clock each playlist of sound is, what stands for one of which nothing is there."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.errors import MediaInvalid, SourceUnavailable, VodrayError
from pipeline.jobs import LookJob
from pipeline.load import references, source_limits
from pipeline.model import FirstLook, Segment, Sound
from pipeline.settings import Settings
from pipeline.staging import Locates
from pipeline.timebase import nearest_turn

# After so many that a failing server did not give, or that nobody survives, no more are asked for.
_MOST_UNAVAILABLE = 5
# So often is one looked at that is not to be had, or no media: a live one may not be there yet.
_LOOKS = 3
# Behind so many segments without the pictures that are announced none are waited for, unless what
# is made depends on their size: there are streams that announce what never comes.
_MOST_WITHOUT_PICTURES = 16
# Playlists of one presentation share a clock (RFC 8216 6.2.4): one that is farther off has its own.
_ONE_CLOCK_S = 10.0
# No playlist of a presentation begins so much later than another; what says so is wrong.
_MOST_APART_S = 3600.0
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
    """The first segment of a playlist that can be read, and what it told; of pictures that it
    announces and does not hold, what a later one told. ``before_s``: how long the segments before
    it last, as the playlist claims."""

    segment: Segment
    look: FirstLook
    before_s: float = 0.0

    @property
    def lacks_pictures(self) -> bool:
        """Whether pictures are announced, and their size is not known yet."""
        return bool(self.look.form.video) and self.look.pictures is None

    def plus(self, later: FirstLook) -> "Seen":
        """With the pictures of a segment behind it, and with how large those make a second."""
        look = replace(
            self.look,
            pictures=later.pictures,
            shown_s=later.shown_s,
            bytes_per_s=max(self.look.bytes_per_s, later.bytes_per_s),
        )
        return replace(self, look=look)


class Search:
    """For the first segment of a playlist that can be read, and the first with the pictures that it
    announces, wherever they are.

    ``needs_pictures``: all that is listed is looked at for their size.
    """

    def __init__(self, *, needs_pictures: bool = False) -> None:
        self._problem = "no segment is listed"
        self._failures: Counter[tuple[int, str]] = Counter()
        self._unavailable, self._before_s = 0, 0.0
        self._seen: Seen | None = None
        self._read: set[tuple[int, str]] = set()
        self._needs_pictures = needs_pictures

    def among(self, segments: Sequence[Segment]) -> Iterator[Segment]:
        """Those to look at, in order: look, and tell what was ``found`` or that it ``failed``,
        before the next one is taken. More than once, when there are more segments."""
        self._unavailable, self._before_s = 0, 0.0
        for segment in segments:
            if self._has_enough:
                return
            if segment.is_gap:
                self._problem = segment.gap_reason or "it is marked as missing (EXT-X-GAP)"
            elif self._failures[_key(segment)] < _LOOKS and _key(segment) not in self._read:
                yield segment
            if self._unavailable >= _MOST_UNAVAILABLE:
                return
            self._before_s += segment.duration_s

    @property
    def _has_enough(self) -> bool:
        if self._seen is None:
            return False
        has_tried = len(self._read) >= _MOST_WITHOUT_PICTURES
        return not self._seen.lacks_pictures or (has_tried and not self._needs_pictures)

    def found(self, segment: Segment, look: FirstLook) -> None:
        if self._seen is None:
            self._seen = Seen(segment=segment, look=look, before_s=self._before_s)
        elif look.pictures is not None:
            self._seen = self._seen.plus(look)
        self._read.add(_key(segment))

    def failed(self, segment: Segment, error: VodrayError) -> None:
        self._problem = error.message
        if isinstance(error, MediaInvalid):
            self._failures[_key(segment)] += 1
        else:
            self._unavailable += 1

    def result(self, ref: str) -> Seen:
        """Raises ``SourceUnavailable`` if it was none of those of the playlist ``ref``."""
        if self._seen is None:
            raise SourceUnavailable(f"No segment of {ref} can be read: {self._problem}")
        return self._seen


def _key(segment: Segment) -> tuple[int, str]:
    return segment.sequence, segment.uri


def align(main: Seen, sounds: Sequence[tuple[Sound, Seen | None]]) -> tuple[Seen, list[Sound]]:
    """All on one clock, that of the pictures, by what each begins with (None: nothing of it can be
    read). The pictures as seen, but that their clock begins with the earliest of all."""
    shifts_s = [_shift_s(own, main) if own else 0.0 for _, own in sounds]
    at_s = main.look.begin_s
    begins_s = [
        _begin_s(own.look, at_s) + shift_s
        for (_, own), shift_s in zip(sounds, shifts_s, strict=True)
        if own and own.look.is_timed
    ]
    early_s = min((begin for begin in begins_s if at_s - begin <= _MOST_APART_S), default=at_s)
    main = replace(main, look=replace(main.look, begin_s=min(at_s, early_s)))
    aligned = []
    for (sound, own), shift_s in zip(sounds, shifts_s, strict=True):
        if own and not own.look.is_timed:
            # Its times are counted from the anchor.
            shift_s += at_s - main.look.anchor_s
        form = own.look.form if own else sound.form
        aligned.append(replace(sound, form=form, shift_s=round(shift_s, 6)))
    return main, aligned


def _shift_s(own: Seen, main: Seen) -> float:
    """By timestamps, unless they are those of another clock: then by EXT-X-PROGRAM-DATE-TIME, else
    both playlists begin together."""
    later_s = own.before_s - main.before_s
    if own.segment.program_date_time and main.segment.program_date_time:
        apart = own.segment.program_date_time - main.segment.program_date_time
        if abs(apart.total_seconds()) <= _MOST_APART_S:
            later_s = apart.total_seconds()
    if not own.look.is_timed:
        return later_s
    at_s = main.look.begin_s
    off_s = _begin_s(own.look, at_s) - at_s - later_s
    return 0.0 if abs(off_s) <= _ONE_CLOCK_S else -off_s


def _begin_s(look: FirstLook, near_s: float) -> float:
    return nearest_turn(look.begin_s, near_s) if look.wraps else look.begin_s


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
