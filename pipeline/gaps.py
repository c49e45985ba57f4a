"""What is missing from a recording, where on its timeline, and why.

Lost segments lie where the timeline closed up over them, or left their time open; a jump of the
source's clock that no lost segment explains is a gap as well.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pipeline.media.timeline import PlacedSpan
from pipeline.model import ChunkRecord, Gap

CLOCK_JUMPS = "the source's clock jumps ahead"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seam:
    """The place before a span. ``key``: its chunk, and its number in it; ``at_s``: on the
    recording's timeline."""

    key: tuple[int, int]
    at_s: float
    placed: PlacedSpan


def find_gaps(records: Sequence[ChunkRecord], shown: Sequence[PlacedSpan]) -> tuple[Gap, ...]:
    """All gaps in order; ``records`` in order of their chunks; ``shown``: what fills gaps
    included."""
    lost: list[Gap] = []
    seams: list[_Seam] = []
    begin_s = min((p.start_s() for p in shown), default=0.0)
    placed = [p for p in shown if not p.span.is_filler]
    playlists = {lost["playlist"] for record in records for lost in record.report["lost"]}
    for playlist in sorted(playlists | {p.span.playlist for p in placed}):
        own, end_s = _seams([p for p in placed if p.span.playlist == playlist], begin_s)
        lost += _joined(list(_lost(records, playlist, own, end_s)))
        seams += own
    explained = {gap.start_s for gap in lost}
    jumps = [gap for gap in map(_jump, seams) if gap is not None and gap.start_s not in explained]
    unseen = _undecodable(records, max((p.end_s() for p in placed), default=begin_s) - begin_s)
    return tuple(sorted([*unseen, *lost, *jumps], key=lambda gap: gap.start_s))


def _undecodable(records: Sequence[ChunkRecord], length_s: float) -> list[Gap]:
    """Pictures or sound that nothing here can read, of which nothing is in the recording."""
    names = {name for record in records for name in record.report["undecodable_streams"]}
    return [
        Gap(start_s=0.0, duration_s=round(length_s, 6), reason=f"{name} cannot be decoded")
        for name in sorted(names)
    ]


def describe_gap(gap: Gap) -> dict[str, Any]:
    """As JSON, for reports."""
    return {
        "start_s": gap.start_s,
        "duration_s": gap.duration_s,
        "reason": gap.reason,
        "segments": list(gap.segments),
        "wall_clock": gap.wall_clock.isoformat() if gap.wall_clock else None,
    }


def _seams(placed: Sequence[PlacedSpan], begin_s: float) -> tuple[list[_Seam], float]:
    """The place before each span of one playlist, and where the last one ends."""
    spans_of: dict[int, int] = {}
    seams: list[_Seam] = []
    at_s = 0.0
    for p in placed:
        number = spans_of.get(p.chunk, 0)
        spans_of[p.chunk] = number + 1
        seams.append(_Seam(key=(p.chunk, number), at_s=at_s, placed=p))
        at_s = p.end_s() - begin_s
    return seams, at_s


def _lost(
    records: Sequence[ChunkRecord], playlist: int, seams: Sequence[_Seam], end_s: float
) -> Iterator[Gap]:
    """One gap per lost segment, at the span that comes next, in whichever chunk that is."""
    keys = [seam.key for seam in seams]
    for record in records:
        for lost in record.report["lost"]:
            if lost["playlist"] != playlist:
                continue
            following = bisect_left(keys, (record.index_number, lost["at_span"]))
            at_s = seams[following].at_s if following < len(seams) else end_s
            clock = lost["wall_clock"]
            yield Gap(
                start_s=round(at_s, 6),
                duration_s=lost["duration_s"],
                reason=f"sound {playlist}: {lost['reason']}" if playlist else lost["reason"],
                segments=(lost["sequence"],),
                wall_clock=datetime.fromisoformat(clock) if clock else None,
            )


def _joined(gaps: Sequence[Gap]) -> list[Gap]:
    """Neighbours as one gap with the first one's reason and time."""
    joined: list[Gap] = []
    for gap in gaps:
        before = joined[-1] if joined else None
        if before and (before.start_s, before.segments[-1] + 1) == (gap.start_s, gap.segments[0]):
            joined[-1] = replace(
                before,
                duration_s=round(before.duration_s + gap.duration_s, 6),
                segments=(*before.segments, *gap.segments),
            )
        else:
            joined.append(gap)
    return joined


def _jump(seam: _Seam) -> Gap | None:
    p = seam.placed
    if p.jump_s <= 0 or p.span.discontinuity:
        return None
    return Gap(
        start_s=round(seam.at_s, 6),
        duration_s=round(p.jump_s, 6),
        reason=CLOCK_JUMPS,
        segments=(p.span.sequence,),
    )
