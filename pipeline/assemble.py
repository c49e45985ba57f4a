"""From the ledger to the finished object, on paper: what is where, what is missing, is it right?

Pure: chunk records in, head, part layout, playlists, gaps and checks out. Nothing is uploaded here.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import SourceUnavailable, VerificationFailed
from pipeline.filling import insert_fillers
from pipeline.gaps import find_gaps
from pipeline.media import hls, stitch, verify
from pipeline.media.holes import Hole, find_holes
from pipeline.media.layout import Layout, chunk_sizes, lay_out
from pipeline.media.pieces import HlsLane, hls_lane, place_spans, whole_pieces
from pipeline.media.samples import SampleIndex, Span
from pipeline.media.stitch import Track
from pipeline.media.tables import read_tables
from pipeline.media.timeline import MOST_OPEN_S, LaneKey, PlacedSpan, lanes, leading_playlist, place
from pipeline.model import ChunkRecord, Gap, Sound

Report = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """Everything about one output's object but its media bytes. ``object_offset``: per chunk;
    ``playlists``: by what of the source is in them, pictures or all together first; ``filled_s``:
    how much of it is black and silence."""

    placed: tuple[PlacedSpan, ...]
    tracks: tuple[Track, ...]
    layout: Layout
    head: bytes
    object_offset: Mapping[int, int]
    playlists: Mapping[HlsLane, hls.MediaPlaylist]
    gaps: tuple[Gap, ...]
    duration_s: float
    size_bytes: int
    filled_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """All of the source on the timeline, and what is left open between it. ``placed``: whole pieces
    (``pipeline.media.pieces``), which have the same place in all outputs."""

    records: tuple[ChunkRecord, ...]
    placed: tuple[PlacedSpan, ...]
    holes: tuple[Hole, ...] = ()


def arrange(records: Sequence[ChunkRecord], *, keep_time: bool = False) -> Arrangement:
    """``records``: all chunks of the main output. ``keep_time``: leave open what is missing instead
    of closing up over it. Raises ``SourceUnavailable`` if all chunks are empty."""
    ordered = tuple(sorted(records, key=lambda record: record.index_number))
    spans = list(_spans(ordered))
    if not any(span.tracks for _, span in spans):
        raise SourceUnavailable(f"Nothing of the stream could be read: {_first_reason(ordered)}")
    if not keep_time:
        return Arrangement(records=ordered, placed=tuple(place(spans)))
    missing_s = _missing_s(ordered, [span for _, span in spans])
    placed = tuple(place(spans, missing_s))
    # Too much is not left open.
    before_s = missing_s[0] if placed[0].shift_s else 0.0
    behind_s = missing_s[-1] if missing_s[-1] <= MOST_OPEN_S else 0.0
    holes = tuple(find_holes(placed, before_s, behind_s))
    return Arrangement(records=ordered, placed=placed, holes=holes)


def assemble(
    arrangement: Arrangement,
    sounds: Sequence[Sound] = (),
    fillers: Sequence[ChunkRecord] = (),
) -> Assembly:
    """The one output of a recording that has no other. ``sounds``: the playlists of sound alone;
    ``fillers``: what goes into the holes."""
    (only,) = assemble_all(arrangement, sounds, [Chunks(arrangement.records, fillers)])
    assert only is not None
    return only


@dataclass(frozen=True, slots=True)
class Chunks:
    """What the ledger has of one output, and what fills holes in it."""

    records: Sequence[ChunkRecord]
    fillers: Sequence[ChunkRecord] = ()

    @property
    def everything(self) -> list[ChunkRecord]:
        return [*self.records, *self.fillers]


def assemble_all(
    arrangement: Arrangement, sounds: Sequence[Sound], outputs: Sequence[Chunks]
) -> list[Assembly | None]:
    """``outputs``: the main one first; None for one of which nothing is there."""
    whole = insert_fillers(arrangement.placed, arrangement.holes, outputs[0].fillers)
    gaps = find_gaps(arrangement.records, whole)
    placed = [_placed(whole, chunks) for chunks in outputs]
    pictures = [found for found in map(_pictures, placed) if found]
    # Of one rendition each fragment may begin a segment.
    cuts = hls.common_cuts(pictures) if len(pictures) > 1 else None
    return [
        _assemble(own, chunks, sounds, cuts, gaps, _filled_s(whole)) if own else None
        for own, chunks in zip(placed, outputs, strict=True)
    ]


def _placed(whole: Sequence[PlacedSpan], chunks: Chunks) -> list[PlacedSpan]:
    """The spans of an output. Where tracks share fragments each is a whole piece, and its index is
    not read once more."""
    if all(p.span.piece < 0 for p in whole):
        return list(whole)
    return place_spans(whole, _spans_by_chunk(chunks.everything))


def _spans_by_chunk(records: Sequence[ChunkRecord]) -> dict[int, Sequence[Span]]:
    return {r.index_number: SampleIndex.unpack(r.index).spans for r in records}


def _pictures(placed: Sequence[PlacedSpan]) -> list[PlacedSpan]:
    return [p for p in placed if any(track.kind == "video" for track in p.span.tracks)]


def _assemble(
    placed: Sequence[PlacedSpan],
    chunks: Chunks,
    sounds: Sequence[Sound],
    cuts: Any,
    gaps: tuple[Gap, ...],
    filled_s: float,
) -> Assembly:
    lanes = sorted({hls_lane(p.span) for p in placed})
    merged = stitch.merge(placed, sounds)
    layout = lay_out(
        chunk_sizes(chunks.records),
        stitch.head_bytes(merged),
        fillers=chunk_sizes(chunks.fillers),
    )
    head = stitch.build_head(merged, layout.offset, layout.body_bytes)
    object_offset = {chunk: len(head) + at for chunk, at in layout.offset.items()}
    tracks = tuple(own.track for own in merged)
    own = {lane: [p for p in placed if hls_lane(p.span) == lane] for lane in lanes}
    return Assembly(
        placed=tuple(placed),
        filled_s=filled_s,
        tracks=tracks,
        layout=layout,
        head=head,
        object_offset=object_offset,
        playlists={lane: hls.segment_ranges(own[lane], object_offset, cuts) for lane in lanes},
        gaps=gaps,
        duration_s=float(stitch.duration_s(tracks)),
        size_bytes=len(head) + layout.body_bytes,
    )


def _missing_s(records: Sequence[ChunkRecord], spans: Sequence[Span]) -> list[float]:
    """What was lost, and is not filled, before each span of the leading playlist and behind the
    last one."""
    leader = leading_playlist(spans)
    missing_s = [0.0] * (sum(span.playlist == leader for span in spans) + 1)
    first = 0
    for record in records:
        whole = whole_pieces(SampleIndex.unpack(record.index).spans)
        own = [s for s in whole if s.playlist == leader]
        # Losses count the source's own spans.
        numbers = [first + number for number, span in enumerate(own) if not span.is_filler]
        first += len(own)
        for lost in record.report["lost"]:
            if lost["playlist"] == leader and lost["breaks"] and not lost.get("is_filled"):
                missing_s[[*numbers, first][lost["at_span"]]] += lost["duration_s"]
    return missing_s


def _filled_s(placed: Sequence[PlacedSpan]) -> float:
    """Of the leading playlist."""
    leader = leading_playlist(p.span for p in placed)
    fillers = (p for p in placed if p.span.is_filler and p.span.playlist == leader)
    return sum(p.end_s() - p.start_s() for p in fillers)


def check(assembly: Assembly, records: Sequence[ChunkRecord]) -> Report:
    """Hold the head and the playlist against the fragments of all chunks, fillers included. Raises
    ``VerificationFailed``."""
    tables, body, size = read_tables(assembly.head)
    if size != assembly.size_bytes or body != len(assembly.head):
        raise VerificationFailed(f"mdat ends at {size}, the object at {assembly.size_bytes}")
    counted = verify.check_tables(tables, list(_truths(assembly)), body, size)
    packets = sum(record.report["packets_in"] for record in records)
    fillers = sum(record.report.get("filler_packets", 0) for record in records)
    if packets + fillers != counted["samples"]:
        raise VerificationFailed(
            f"{packets} packets came in and {fillers} fill gaps, "
            f"{counted['samples']} samples go out"
        )
    ranges = sorted(
        (s.offset, s.offset + s.length)
        for playlist in assembly.playlists.values()
        for s in playlist.segments
    )
    borders = [record.report["border"] for record in records if record.size_bytes]
    return {
        "packets_in": packets,
        "filler_packets": fillers,
        "samples_out": counted["samples"],
        "tables": "match fragments",
        "timeline": "monotonic",
        "hls_ranges": verify.check_ranges(ranges, list(_fragments(assembly))),
        "borders_decoded": sum(1 for border in borders if border.get("decoded")),
        "borders_failed": sum(1 for border in borders if border.get("decoded") is False),
    }


def describe_tracks(assembly: Assembly) -> list[Report]:
    return [
        {
            "kind": track.form.kind,
            "codecs": track.form.codecs,
            "samples": track.samples,
            "bytes": track.size_bytes,
            "timescale": track.form.timescale,
            "duration_s": round((track.end_pts - track.first_pts) / track.form.timescale, 6),
            "starts_at_s": round(
                float(track.first_pts / track.form.timescale - stitch.start_s(assembly.tracks)), 6
            ),
            **(
                {"width": track.form.width, "height": track.form.height} if track.form.width else {}
            ),
        }
        for track in assembly.tracks
    ]


def sum_up_remedies(records: Sequence[ChunkRecord]) -> list[Report]:
    """Each remedy once per playlist, with all segments that it was for."""
    segments: dict[tuple[str, int], list[int]] = {}
    for record in records:
        for noted in record.report["remedies"]:
            key = (noted["remedy"], noted["playlist"])
            segments.setdefault(key, []).extend(noted["segments"])
    return [
        {"remedy": remedy, "playlist": playlist, "segments": numbers}
        for (remedy, playlist), numbers in segments.items()
    ]


def poster_span(assembly: Assembly, records: Sequence[ChunkRecord]) -> tuple[int, Span] | None:
    """``(chunk, span)`` whose first picture has most to see, None without pictures."""
    scores = {r.index_number: r.report["border"].get("score", -1.0) for r in records}
    best = max(
        (
            p
            for p in assembly.placed
            if not p.span.is_filler and any(t.kind == "video" for t in p.span.tracks)
        ),
        key=lambda p: (scores.get(p.chunk, -1.0), -p.chunk),
        default=None,
    )
    return (best.chunk, best.span) if best is not None else None


def _spans(records: Sequence[ChunkRecord]) -> Iterator[tuple[int, Span]]:
    """All spans. What a chunk lost at its end breaks the first span of the next one."""
    broken: set[int] = set()
    for record in records:
        spans = whole_pieces(SampleIndex.unpack(record.index).spans)
        for span in spans:
            is_broken = span.discontinuity or span.playlist in broken
            yield record.index_number, replace(span, discontinuity=is_broken)
            broken.discard(span.playlist)
        count = Counter(span.playlist for span in spans if not span.is_filler)
        for lost in record.report["lost"]:
            if lost["breaks"] and lost["at_span"] == count[lost["playlist"]]:
                broken.add(lost["playlist"])


def _truths(assembly: Assembly) -> Iterator[verify.Truth]:
    pieces: dict[LaneKey, list[verify.Piece]] = {}
    for number, p in enumerate(assembly.placed):
        base = assembly.object_offset[p.chunk]
        for key, track in lanes(p.span).items():
            pieces.setdefault(key, []).append(verify.Piece(number, base, track))
    for key in sorted(pieces):
        yield verify.Truth(pieces[key][0].samples.kind, pieces[key])


def _fragments(assembly: Assembly) -> Iterator[tuple[int, int]]:
    for p in assembly.placed:
        base = assembly.object_offset[p.chunk]
        for first, behind in zip(p.span.fragment_offset, p.span.fragment_end, strict=True):
            yield base + int(first), base + int(behind)


def _first_reason(records: Sequence[ChunkRecord]) -> str:
    reasons = [lost["reason"] for record in records for lost in record.report["lost"]]
    return reasons[0] if reasons else "its playlist lists no segments"
