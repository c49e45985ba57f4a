"""Pieces of source whose pictures and sounds lie in fragments of their own, in one object or in
several: they have one place on the timeline."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pipeline.media import boxes
from pipeline.media.samples import Span
from pipeline.media.timeline import PlacedSpan

# Which spans of an output follow each other in a playlist: its number, and which of its sounds.
HlsLane = tuple[int, int]


def hls_lane(span: Span) -> HlsLane:
    return span.playlist, span.sound


def whole_pieces(spans: Sequence[Span]) -> list[Span]:
    """What is placed on the timeline: the spans of one chunk in order, those of a piece as one that
    has all its tracks. Only its times and what it is count: it lies nowhere."""
    pieces: dict[int, list[Span]] = {}
    whole: list[list[Span]] = []
    for span in spans:
        if span.piece < 0:
            whole.append([span])
        elif span.piece in pieces:
            pieces[span.piece].append(span)
        else:
            whole.append(pieces.setdefault(span.piece, [span]))
    whole.sort(key=lambda own: own[0].piece)
    return [_whole(sorted(own, key=hls_lane)) for own in whole]


def _whole(own: Sequence[Span]) -> Span:
    if len(own) == 1 and own[0].sound <= 1:
        return own[0]
    tracks = [track for span in own for track in span.tracks]
    return replace(
        own[0],
        init=join_inits([span.init for span in own]),
        tracks=tuple(replace(track, track_id=n) for n, track in enumerate(tracks, 1)),
        sound=0,
    )


def place_spans(
    placed: Sequence[PlacedSpan], spans: Mapping[int, Sequence[Span]]
) -> list[PlacedSpan]:
    """Where the spans of an output go. ``placed``: whole pieces; ``spans``: by chunk. A piece of
    which the output lacks something makes a new run of what comes behind it."""
    by_piece: dict[tuple[int, int], list[Span]] = {}
    for chunk, own in spans.items():
        for span in own:
            by_piece.setdefault((chunk, span.piece), []).append(span)
    found = [(p, by_piece.get((p.chunk, p.span.piece), ())) for p in placed]
    return [q for own in _with_runs(found) for q in own]


def _with_runs(
    pieces: Sequence[tuple[PlacedSpan, Sequence[Span]]],
) -> Iterator[list[PlacedSpan]]:
    """The spans of each piece, each with whether something else is before it in its playlist."""
    lanes = {hls_lane(span) for _, own in pieces for span in own}
    begun: set[HlsLane] = set()
    broken: set[HlsLane] = set()
    for p, own in pieces:
        there = {hls_lane(span) for span in own}
        yield [
            replace(
                p,
                span=span,
                new_run=hls_lane(span) in begun and (p.new_run or hls_lane(span) in broken),
            )
            for span in own
        ]
        begun |= there
        broken = (broken - there) | {lane for lane in lanes - there if lane[0] == p.span.playlist}


@boxes.reading("an init segment")
def join_inits(inits: Sequence[bytes]) -> bytes:
    """One that describes the tracks of all, numbered from 1 on: the first one's ``ftyp`` and
    ``mvhd`` with every ``trak`` and ``trex`` (ISO/IEC 14496-12 8.3, 8.8.3)."""
    first = inits[0]
    moov, mvhd = boxes.need(first, "moov"), boxes.need(first, "moov/mvhd")
    traks: list[bytes] = []
    trexes: list[bytes] = []
    for init in inits:
        defaults = {_id_of_trex(trex): trex for trex in _children(init, "moov/mvex", b"trex")}
        for trak in _children(init, "moov", b"trak"):
            at = _track_id_at(trak)
            (track_id,) = struct.unpack_from(">I", trak, at)
            number = struct.pack(">I", len(traks) + 1)
            traks.append(trak[:at] + number + trak[at + 4 :])
            trexes.append(defaults[track_id][:12] + number + defaults[track_id][16:])
    joined = boxes.make(b"moov", first[mvhd.start : mvhd.end], *traks, boxes.make(b"mvex", *trexes))
    return first[: moov.start] + joined


def _id_of_trex(trex: bytes) -> int:
    return int(struct.unpack_from(">I", trex, 12)[0])


def _track_id_at(trak: bytes) -> int:
    """Where its ``tkhd`` has it."""
    (outer,) = boxes.walk(trak)
    tkhd = boxes.need(trak, "tkhd", outer.body, outer.end)
    return tkhd.body + (20 if trak[tkhd.body] else 12)


def _children(data: bytes, path: str, kind: bytes) -> Iterator[bytes]:
    parent = boxes.need(data, path)
    for box in boxes.walk(data, parent.body, parent.end):
        if box.kind == kind:
            yield data[box.start : box.end]
