"""``GAP_POLICY=fill``: black and silence for what the timeline leaves open.

A gap inside a chunk, or at its edge, is filled by whoever makes the chunk: the filler lies where it
is shown, as Chromium needs it, which drops sound that lies before what it has heard. What is open
between chunks is seen when all of them are there: these fillers are chunks that the ledger does not
know, lie in front of all others, and are made again if whoever publishes dies.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil

from pipeline.media.holes import Blank, Edge, Hole
from pipeline.media.pieces import whole_pieces
from pipeline.media.samples import SampleIndex
from pipeline.media.timeline import MOST_OPEN_S, PlacedSpan, leading_playlist
from pipeline.model import ChunkRecord

# What a worker makes, and holds, at a time.
_CHUNK_S = 3600
_MOST_HOLES = 500
# They go up in one part, which one worker holds.
_MOST_BYTES = 256 * 2**20


def plan_fillers(holes: Sequence[Hole], first_index: int) -> Iterator[tuple[int, list[Blank]]]:
    """``(chunk, what to make)``, chunks numbered from ``first_index`` on; nothing if it is too
    much."""
    of_playlist: Counter[int] = Counter()
    for hole in holes:
        of_playlist[hole.beside.span.playlist] += ceil(hole.length_s)
    if len(holes) > _MOST_HOLES or max(of_playlist.values(), default=0) > MOST_OPEN_S:
        return
    chunk: list[Blank] = []
    length_s = Fraction(0)
    index = first_index
    for blank in blanks(holes):
        if chunk and length_s + blank.length_s > _CHUNK_S:
            yield index, chunk
            index, chunk, length_s = index + 1, [], Fraction(0)
        chunk.append(blank)
        length_s += blank.length_s
    if chunk:
        yield index, chunk


def blanks(holes: Sequence[Hole]) -> Iterator[Blank]:
    """What to make to fill them."""
    for number, hole in enumerate(holes):
        span = hole.beside.span
        for piece in range(ceil(hole.length_s / _CHUNK_S)):
            yield Blank(
                hole=number,
                init=span.init,
                tracks=tuple(_piece_of(hole, piece)),
                playlist=span.playlist,
                era=span.era,
                sequence=span.sequence,
            )


def _piece_of(hole: Hole, number: int) -> Iterator[Edge]:
    """What of the tracks lies in one piece of the length of a chunk."""
    shift = _shift_s(hole)
    begin = hole.start_s + number * _CHUNK_S
    end = begin + _CHUNK_S
    for edge in hole.edges:
        start_s, is_last = max(edge.start_s, begin), edge.until_s <= end
        if start_s < edge.until_s:
            yield Edge(
                track_id=edge.track_id,
                start_s=start_s - shift,
                until_s=min(edge.until_s, end) - shift,
                shown_s=(edge.shown_s if is_last else end) - shift,
            )


def _shift_s(hole: Hole) -> Fraction:
    """The filler goes on with the clock of the media beside it, as long as that is one."""
    return hole.beside.shift_s if hole.start_s >= hole.beside.shift_s else Fraction(0)


def are_enough(
    placed: Sequence[PlacedSpan], holes: Sequence[Hole], fillers: Sequence[ChunkRecord]
) -> bool:
    """Whether all holes can be filled with them, but for those of sound in other playlists than the
    leading one."""
    made = {number for record in fillers for number in record.report["filled"]}
    leader = leading_playlist(p.span for p in placed)
    needed = {n for n, hole in enumerate(holes) if hole.beside.span.playlist == leader}
    return needed <= made and sum(record.size_bytes for record in fillers) <= _MOST_BYTES


def insert_fillers(
    placed: Sequence[PlacedSpan], holes: Sequence[Hole], fillers: Sequence[ChunkRecord]
) -> list[PlacedSpan]:
    """All in the order in which it is shown, by playlist."""
    made: dict[int, list[PlacedSpan]] = {}
    for record in fillers:
        spans = whole_pieces(SampleIndex.unpack(record.index).spans)
        for number, span in zip(record.report["filled"], spans, strict=True):
            made.setdefault(number, []).append(
                PlacedSpan(
                    chunk=record.index_number,
                    span=span,
                    shift_s=_shift_s(holes[number]),
                    jump_s=0.0,
                    new_run=True,
                )
            )
    before: dict[int, list[PlacedSpan]] = {}
    for number, hole in enumerate(holes):
        before.setdefault(hole.number, []).extend(made.get(number, ()))
    return list(_merged(placed, before))


def _merged(
    placed: Sequence[PlacedSpan], before: Mapping[int, Sequence[PlacedSpan]]
) -> Iterator[PlacedSpan]:
    begun: set[int] = set()
    for number, p in enumerate(placed):
        for filler in before.get(number, ()):
            yield replace(filler, new_run=filler.span.playlist in begun)
            begun.add(filler.span.playlist)
        yield replace(p, new_run=True) if before.get(number) else p
        begun.add(p.span.playlist)
    yield from before.get(len(placed), ())
