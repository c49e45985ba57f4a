"""What the timeline leaves open for media that is missing (``GAP_POLICY=fill``), to be filled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from pipeline.media.timeline import (
    KEPT_PAUSE_S,
    PlacedSpan,
    leading_playlist,
    starts_and_ends,
)

_SHORTEST_S = Fraction(1, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Where one track's part of a hole begins and ends: what comes behind it is decoded from
    ``until_s`` on, and shown from ``shown_s`` on."""

    track_id: int
    start_s: Fraction
    until_s: Fraction
    shown_s: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """Time that nothing of a playlist covers. ``number``: of the placed span that comes behind it;
    ``beside``: the span next to it, the one before it if there is one; ``edges``: of its tracks;
    ``is_between``: there is one on either side."""

    number: int
    beside: PlacedSpan
    is_between: bool
    edges: tuple[Edge, ...]

    @property
    def start_s(self) -> Fraction:
        return min(edge.start_s for edge in self.edges)

    @property
    def length_s(self) -> Fraction:
        return max(edge.until_s for edge in self.edges) - self.start_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Blank:
    """What to make: as in ``init``, of some of its ``tracks``, at these recording times. ``hole``:
    what it is for; ``playlist``, ``era``, ``sequence``: see ``Span``."""

    hole: int
    init: bytes
    tracks: tuple[Edge, ...]
    playlist: int
    era: int
    sequence: int

    @property
    def length_s(self) -> Fraction:
        return max(edge.until_s for edge in self.tracks) - min(e.start_s for e in self.tracks)


def find_holes(
    placed: Sequence[PlacedSpan], before_s: float, behind_s: float, *, is_first: bool = True
) -> list[Hole]:
    """All that is longer than a pause. ``before_s`` and ``behind_s``: what is missing at the two
    ends of the main playlist; the others begin and end with it. ``is_first``: nothing comes before
    these spans, so that all tracks may begin together."""
    leader = leading_playlist(p.span for p in placed)
    own = [p for p in placed if p.span.playlist == leader]
    found = []
    last: dict[int, PlacedSpan] = {}
    for number, p in enumerate(placed):
        before = last.get(p.span.playlist)
        last[p.span.playlist] = p
        if before is not None and p.decoded_from_s() - before.over_s() > KEPT_PAUSE_S:
            found.append(_between(number, before, p))
        elif before is None and before_s > KEPT_PAUSE_S:
            begin = own[0].shown_from_s() - Fraction(before_s) if is_first else None
            found.append(_before(number, p, Fraction(before_s), begin))
    if behind_s > KEPT_PAUSE_S:
        found += [_behind(len(placed), p, Fraction(behind_s)) for p in last.values()]
    return [hole for hole in map(_trimmed, found) if hole.edges and hole.length_s > KEPT_PAUSE_S]


def _trimmed(hole: Hole) -> Hole:
    """Without tracks that go on at once."""
    edges = tuple(edge for edge in hole.edges if edge.until_s - edge.start_s > _SHORTEST_S)
    return replace(hole, edges=edges)


def _before(number: int, p: PlacedSpan, missing_s: Fraction, begin: Fraction | None) -> Hole:
    edges = tuple(
        Edge(
            track_id=at.track_id,
            start_s=at.shown - missing_s if begin is None else begin,
            until_s=at.decoded,
            shown_s=at.shown,
        )
        for at in starts_and_ends(p).values()
    )
    return Hole(number=number, beside=p, is_between=False, edges=edges)


def _behind(number: int, p: PlacedSpan, missing_s: Fraction) -> Hole:
    """What comes then goes on with the same clock, if it is still the same."""
    edges = tuple(
        Edge(
            track_id=at.track_id,
            start_s=at.over,
            until_s=at.decoded_end + missing_s,
            shown_s=at.over + missing_s,
        )
        for at in starts_and_ends(p).values()
    )
    return Hole(number=number, beside=p, is_between=False, edges=edges)


def _between(number: int, before: PlacedSpan, behind: PlacedSpan) -> Hole:
    """Each track from where it ends to where it goes on, or where the others do."""
    ends, starts = starts_and_ends(before), starts_and_ends(behind)
    common = behind.decoded_from_s()
    edges = []
    for lane, end in ends.items():
        start = starts.get(lane)
        edges.append(
            Edge(
                track_id=end.track_id,
                start_s=end.over,
                until_s=start.decoded if start else common,
                shown_s=start.shown if start else common,
            )
        )
    return Hole(number=number, beside=before, is_between=True, edges=tuple(edges))
