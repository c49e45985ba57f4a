"""Loaded segments of one playlist -> spans of fragments, by a ladder of remedies.

Segments are copied together as one run. Where that fails the next remedy is tried, for as few
segments as possible: headers from segments nearby, timestamps mended, encoded anew, left out. One
bad segment costs itself. Each remedy is named in the report with the segments that it was for.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import MediaInvalid
from pipeline.load import Loaded
from pipeline.media.interleave import Body
from pipeline.media.limits import DEFAULT_LIMITS, MediaLimits
from pipeline.media.mend import mend
from pipeline.media.recode import recode
from pipeline.media.remux import CannotCopy, Input, Remuxed, make_input, remux
from pipeline.media.segments import has_torn_boxes, without_torn_end
from pipeline.media.sniff import Kind, Media
from pipeline.media.spans import body_of
from pipeline.media.ts import Tables, read_tables
from pipeline.model import Segment, Stretch
from pipeline.runs import (
    Part,
    Run,
    are_alike,
    around,
    divide,
    init_of,
    length_s,
    media_of,
    restarts_behind,
    split,
)
from pipeline.stages import stage

# A segment is rarely exactly as long as its playlist says.
_NOTICED_S = 0.1
_INEXACT = 0.1

Nearby = Callable[[Segment], Loaded]


@dataclass(slots=True)
class Made:
    """What became of a stretch. ``lost`` and ``remedies`` are JSON; ``dropped``: see ``Choice``;
    ``filler_packets``: black and silence among ``bodies``, not counted in ``packets``."""

    bodies: list[Body]
    lost: list[dict[str, Any]]
    remedies: list[dict[str, Any]]
    dropped: set[str]
    undecodable: set[str]
    bytes_in: int = 0
    packets: int = 0
    torn: int = 0
    undecoded: int = 0
    filler_packets: int = 0

    @classmethod
    def nothing(cls) -> "Made":
        return cls([], [], [], set(), set())


class Maker:
    """Makes one stretch. ``nearby``: reads a segment beside it; ``playlist``: see ``Span``."""

    def __init__(
        self,
        stretch: Stretch,
        *,
        anchor_s: int,
        playlist: int,
        nearby: Nearby,
        limits: MediaLimits = DEFAULT_LIMITS,
    ) -> None:
        self._stretch, self._anchor_s, self._playlist = stretch, anchor_s, playlist
        self._nearby, self._limits = nearby, limits
        self._loaded: Run = ()
        self._near: dict[Segment, Media | None] = {}
        self.made = Made.nothing()

    def make(self, loaded: Run) -> Made:
        near_s = self._stretch.start_s
        self._loaded = loaded
        self.made.bytes_in = sum(entry.bytes_in for entry in loaded)
        broken = False
        for run in divide(loaded):
            if run[0].problem:
                self._lose(run[0], run[0].problem)
                broken = True
            else:
                broken = self._add_run(run, near_s, broken)
            near_s += length_s(run)
        return self.made

    def _add_run(self, run: Run, near_s: float, broken: bool, damaged: bool = False) -> bool:
        """Returns whether media is missing right behind what was added."""
        parts: Sequence[Part]
        if damaged:
            return self._rescue(run, near_s, broken, MediaInvalid("bytes are missing in it"))
        try:
            parts = self._add(run, near_s, broken)
        except MediaInvalid as error:
            if len(run) == 1:
                return self._rescue(run, near_s, broken, error)
            # One of them is bad, unknown which.
            parts = [Part(run[: len(run) // 2]), Part(run[len(run) // 2 :])]
        if not parts:
            return False
        for part in parts:
            if part.run:
                broken = self._add_run(part.run, near_s, broken, part.damaged)
                near_s += length_s(part.run)
        return broken

    def _add(self, run: Run, near_s: float, broken: bool) -> Sequence[Part]:
        """Add the run as one span; or return its parts, if it can only be added in parts."""
        torn = [at for at, entry in enumerate(run) if has_torn_boxes(media_of(entry).data)]
        if torn:
            return around(run, torn, damaged=True)
        made, remedy = self._copy(run, near_s)
        if made.changes_inside:
            raise MediaInvalid("it is encoded otherwise on the way")
        damaged = [number for number in made.damaged if not restarts_behind(run, number)]
        if damaged:
            return around(run, damaged, damaged=True)
        if made.silent and len(run) > 1:
            return around(run, made.silent, damaged=False)
        if made.cuts:
            return [Part(part) for part in split(run, made.cuts)]
        self._keep([made], run, broken, remedy)
        return ()

    def _copy(self, run: Run, near_s: float) -> tuple[Remuxed, str]:
        """Copy the run, with headers from elsewhere if it lacks them; ``(result, remedy)``."""
        given = self._input(run, near_s)
        remedy = ""
        tables = self._missing_tables(run)
        if tables is not None:
            given, remedy = replace(given, lead=(tables.packets,)), "program tables from nearby"
        try:
            with stage("demux"):
                made = remux(given)
        except CannotCopy:
            return recode(self._with_neighbours(given, run)), ""
        except MediaInvalid:
            opening = self._opening(run)
            if opening is None:
                raise
            return remux(replace(given, lead=(opening,))), "headers from the run's first segment"
        if made.torn and self._is_last(run):
            following = self._beside(run, self._stretch.after)
            # What comes next may be damaged: that costs no more than the torn frame.
            with suppress(MediaInvalid):
                if following is not None:
                    made = remux(replace(given, trail=(following.data,)))
        return made, remedy

    def _rescue(self, run: Run, near_s: float, broken: bool, error: MediaInvalid) -> bool:
        """What is left to try for one segment that cannot be copied."""
        given = self._input(run, near_s)
        opening = self._opening(run)
        if opening is not None:
            given = replace(given, lead=(opening,))
        for attempt, remedy in (
            (mend, "mended"),
            (_recode, ""),
            (_recode_all, "encoded anew"),
        ):
            try:
                before, made = len(self.made.bodies), attempt(given)
                self._keep(made, run, broken, remedy)
                told_s = sum(part.undecoded_s for part in made)
                return self._lose_parts(run[0], before, told_s)
            except MediaInvalid:
                continue
        self._lose(run[0], error.message)
        return True

    def _input(self, run: Run, near_s: float) -> Input:
        return make_input(
            [media_of(entry) for entry in run],
            init_of(run[0]),
            anchor_s=self._anchor_s,
            near_s=near_s,
            shift_s=self._stretch.shift_s,
            form=self._stretch.form,
            limits=self._limits,
        )

    def _missing_tables(self, run: Run) -> Tables | None:
        """Program tables for a run whose media begins before them."""
        if media_of(run[0]).kind is not Kind.TS:
            return None
        first = read_tables(media_of(run[0]).data)
        if first is not None and first.are_first:
            return None
        for entry in run[1:]:
            first = first or read_tables(media_of(entry).data)
        for segment in (self._stretch.before, self._stretch.opening):
            found = self._read(segment, Kind.TS) if first is None else None
            first = read_tables(found.data) if found else first
        return first

    def _with_neighbours(self, given: Input, run: Run) -> Input:
        """Pictures may refer to those before, sound is encoded from before to behind."""
        before = self._beside(run, self._stretch.before) if self._is_first(run) else None
        after = self._beside(run, self._stretch.after) if self._is_last(run) else None
        return replace(
            given,
            lead=(before.data,) if before else given.lead,
            trail=(after.data,) if after else (),
        )

    def _opening(self, run: Run) -> bytes | None:
        """What the uninterrupted piece of stream begins with that the run is of."""
        own = run[0].segment
        if media_of(run[0]).kind is not Kind.TS:
            return None
        same = [entry for entry in self._loaded if entry.segment.era == own.era]
        if not same[0].segment.discontinuity and self._stretch.opening is not None:
            found = self._read(self._stretch.opening, Kind.TS)
        else:
            first = next(entry for entry in same if entry.media is not None)
            found = first.media if first.segment != own else None
        if found is None or not are_alike(found, media_of(run[0])):
            return None
        return without_torn_end(found.data)

    def _beside(self, run: Run, segment: Segment | None) -> Media | None:
        """A segment that the run goes on from or into, if it holds the same streams."""
        found = self._read(segment, media_of(run[0]).kind)
        if found is None or not are_alike(found, media_of(run[0])):
            return None
        return replace(found, data=without_torn_end(found.data))

    def _read(self, segment: Segment | None, kind: Kind) -> Media | None:
        if segment is None:
            return None
        if segment not in self._near:
            self._near[segment] = self._nearby(segment).media
        found = self._near[segment]
        return found if found is not None and found.kind is kind else None

    def _is_first(self, run: Run) -> bool:
        return run[0].segment == self._stretch.segments[0]

    def _is_last(self, run: Run) -> bool:
        return run[-1].segment == self._stretch.segments[-1]

    def _keep(self, made: Sequence[Remuxed], run: Run, broken: bool, remedy: str) -> None:
        """All of it or, raising ``MediaInvalid``, nothing."""
        bodies = [body_of(part) for part in made]
        first, media = run[0].segment, media_of(run[0])
        # Nothing tells when it begins but that it comes behind what was before.
        is_untimed = media.kind.is_packed and media.stamp is None and self._stretch.start_s > 0
        for number, body in enumerate(bodies):
            span = replace(
                body.span,
                discontinuity=bool(number) or first.discontinuity or broken or is_untimed,
                sequence=first.sequence,
                playlist=self._playlist,
                era=first.era,
            )
            self.made.bodies.append(Body(span, body.data))
        for part in made:
            self.made.packets += part.packets
            self.made.torn += part.torn
            self.made.undecoded += part.undecoded
            if part.undecoded_s >= _NOTICED_S:
                reason = f"{part.undecoded} of its packets cannot be decoded"
                self._lose(run[0], reason, duration_s=part.undecoded_s)
            self.made.dropped.update(part.dropped)
            self.made.undecodable.update(part.lost)
        recoded = dict.fromkeys(name for part in made for name in part.recoded)
        for name in (remedy, *(f"{name}, encoded anew" for name in recoded)):
            if name:
                self._note(name, run)

    def _note(self, remedy: str, run: Run) -> None:
        sequences = [entry.segment.sequence for entry in run]
        self.made.remedies.append(
            {"remedy": remedy, "playlist": self._playlist, "segments": sequences}
        )

    def _lose_parts(self, entry: Loaded, first: int, told_s: float) -> bool:
        """Tell what is missing before and behind what was kept of a damaged segment, its bodies
        from number ``first`` on. ``told_s`` of it are listed already. Returns whether something is
        missing behind it."""
        kept = self.made.bodies[first:]
        begin_s = min(track.start_s for track in kept[0].span.tracks)
        length_s = sum(
            max(track.end_s for track in body.span.tracks)
            - min(track.start_s for track in body.span.tracks)
            for body in kept
        )
        missing_s = entry.segment.duration_s - length_s - told_s
        if missing_s < max(_NOTICED_S, _INEXACT * entry.segment.duration_s):
            return False
        ahead_s = 0.0
        if first and not kept[0].span.discontinuity:
            before = self.made.bodies[first - 1].span
            ahead_s = begin_s - max(track.end_s for track in before.tracks)
        if ahead_s >= _NOTICED_S:
            span = replace(kept[0].span, discontinuity=True)
            self.made.bodies[first] = Body(span, kept[0].data)
            self._lose_part(entry, min(ahead_s, missing_s), first)
            missing_s -= ahead_s
        if missing_s < _NOTICED_S:
            return False
        self._lose_part(entry, missing_s, len(self.made.bodies))
        return True

    def _lose_part(self, entry: Loaded, missing_s: float, at_span: int) -> None:
        reason = f"{missing_s:.2f} s of it are missing or damaged"
        self._lose(entry, reason, duration_s=missing_s, at_span=at_span, breaks=True)

    def _lose(
        self,
        entry: Loaded,
        reason: str,
        duration_s: float | None = None,
        at_span: int | None = None,
        breaks: bool = False,
    ) -> None:
        """All of a segment or, with ``duration_s``, a part of it. ``breaks``: the timeline closes
        up over it."""
        clock = entry.segment.program_date_time
        self.made.lost.append(
            {
                "sequence": entry.segment.sequence,
                "duration_s": entry.segment.duration_s if duration_s is None else duration_s,
                "is_whole": duration_s is None,
                "breaks": breaks or duration_s is None,
                "reason": reason,
                "playlist": self._playlist,
                "at_span": len(self.made.bodies) if at_span is None else at_span,
                "wall_clock": clock and clock.isoformat(),
                "is_filled": False,
            }
        )


def _recode(given: Input) -> list[Remuxed]:
    return [recode(given)]


def _recode_all(given: Input) -> list[Remuxed]:
    return [recode(given, everything=True)]
