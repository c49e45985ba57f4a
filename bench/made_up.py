"""What simulated workers make: chunks with the index of real media, whose bytes are nowhere.

Half a minute of a real stream is copied to fragments once. Any stretch of an endless stream is then
some of these fragments again, later: every index can be read, stitched and checked like a real one.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.media import Stream
from pipeline import steps
from pipeline.follow import absolute
from pipeline.load import Loader
from pipeline.media.remux import first_look, make_input
from pipeline.media.samples import Ints, SampleIndex, Span, TrackSamples
from pipeline.model import AS_IT_IS, ChunkRecord, ChunkSpec, FirstLook, Segment, Stretch
from pipeline.source import FileSource, read_media_playlist
from pipeline.storyboard import Tile, grid
from pipeline.strip import Strip
from pipeline.transfer import TransferLimits

_LIMITS = TransferLimits(timeout_s=30.0, attempts=1, retry_delay_s=0.0, max_bytes=2**30)
_THREADS = 4
_TILE_BYTES = 4000
# What a worker tells of a chunk besides: no figure of the bench, only something to add up.
_TIMINGS = {"download": 0.1, "waiting": 0.0, "media": 0.1, "tiles": 0.03, "upload": 0.1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A real stream of ``seconds`` in ``segments``, as its first look and its fragments tell."""

    look: FirstLook
    seconds: int
    segments: tuple[Segment, ...]
    span: Span
    report: Mapping[str, Any]

    @property
    def segment_s(self) -> float:
        return self.seconds / len(self.segments)

    def stream(self, prefix: str, numbers: Iterable[int]) -> tuple[Segment, ...]:
        """The segments of these numbers, as a listing of the bucket tells them."""
        return tuple(
            Segment(
                sequence=number,
                uri=f"{prefix}/segment-{number:06d}.ts",
                duration_s=self.segment_s,
                size_bytes=self.segments[number % len(self.segments)].size_bytes,
            )
            for number in numbers
        )

    def record(self, chunk: ChunkSpec) -> ChunkRecord:
        """Of one of the stream's chunks, its bytes nowhere."""
        numbers = [segment.sequence for segment in chunk.main.segments]
        per_segment = len(self.span.fragment_size) // len(self.segments)
        fragments = np.arange(numbers[0] * per_segment, (numbers[-1] + 1) * per_segment)
        span = _again(self.span, fragments, self.seconds, sequence=numbers[0])
        samples = sum(len(track.size) for track in span.tracks)
        size = int(span.fragment_size.sum())
        told = {
            "chunk": chunk.index,
            "segments": numbers,
            "bytes_in": sum(segment.size_bytes or 0 for segment in chunk.main.segments),
            "packets_in": samples,
            "samples_out": samples,
            "bytes_out": size,
            "unavailable": [],
            "tiles": _tiles(chunk, span),
            "timings_s": _TIMINGS,
        }
        return ChunkRecord(
            index_number=chunk.index,
            size_bytes=size,
            part=None,
            staging_key=None,
            index=SampleIndex(spans=(span,)).pack(),
            report={**self.report, **told},
            rendition=AS_IT_IS.rendition,
        )


def make_template(stream: Stream) -> Template:
    """``stream``: of a length after which its sound and its pictures begin anew together."""
    source = FileSource(stream.playlist)
    listed = read_media_playlist(source).segments
    sizes = source.sizes()
    segments = tuple(absolute(segment, source, sizes) for segment in listed)
    with ThreadPoolExecutor(_THREADS) as threads:
        loader = Loader({s.uri: source.url(s.uri) for s in segments}, _LIMITS, threads)
        (loaded,) = steps.load_chunk(_chunk(segments, 0), loader)
        media = loaded[0].media
        assert media is not None
        look = first_look(make_input([media], b"", anchor_s=0, near_s=0.0))
        chunk = _chunk(segments, look.anchor_s)
        (made,) = steps.make_fragments(chunk, [loaded], loader)
    (span,) = made.spans
    assert len(span.fragment_size) % len(segments) == 0, "fragments do not begin with segments"
    return Template(
        look=look, seconds=stream.seconds, segments=segments, span=span, report=made.report
    )


def _chunk(segments: tuple[Segment, ...], anchor_s: int) -> ChunkSpec:
    return ChunkSpec(index=0, anchor_s=anchor_s, main=Stretch(segments=segments, start_s=0.0))


def _again(span: Span, fragments: Ints, seconds: int, *, sequence: int) -> Span:
    """``fragments``: numbers of those that are wanted, in a stream that is ``span`` for ever."""
    turn, number = np.divmod(fragments, len(span.fragment_size))
    sizes = span.fragment_size[number]
    offsets = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    tracks = tuple(_track_again(t, span, turn * seconds, number, offsets) for t in span.tracks)
    return replace(
        span, tracks=tracks, fragment_offset=offsets, fragment_size=sizes, sequence=sequence
    )


def _track_again(
    track: TrackSamples, span: Span, later_s: Ints, fragments: Ints, offsets: Ints
) -> TrackSamples:
    """``later_s``, ``offsets``: shape as ``fragments``."""
    # Which runs each fragment holds, and which samples each run does.
    edges = np.append(span.fragment_offset, span.fragment_end[-1])
    run_edges = np.searchsorted(track.run_offset, edges)
    sample_edges = np.concatenate(([0], np.cumsum(track.run_count)))
    runs, of_run = _ranges(run_edges[fragments], run_edges[fragments + 1])
    samples, of_sample = _ranges(
        sample_edges[run_edges[fragments]], sample_edges[run_edges[fragments + 1]]
    )
    moved = offsets - span.fragment_offset[fragments]
    return replace(
        track,
        dts=track.dts[samples] + (later_s * track.timescale)[of_sample],
        cts=track.cts[samples],
        duration=track.duration[samples],
        size=track.size[samples],
        key=track.key[samples],
        run_offset=track.run_offset[runs] + moved[of_run],
        run_count=track.run_count[runs],
    )


def _ranges(begin: Ints, end: Ints) -> tuple[Ints, Ints]:
    """All numbers of all ranges, and which range each is of."""
    of = np.repeat(np.arange(len(begin)), end - begin)
    before = np.concatenate(([0], np.cumsum(end - begin)[:-1]))
    return np.arange(len(of)) + (begin - before)[of], of


def _tiles(chunk: ChunkSpec, span: Span) -> dict[str, Any]:
    """For its report, as if the keyframe nearest to each point had just that time."""
    points: Sequence[int] = grid(chunk.main.start_s, chunk.main.duration_s)
    begin_s = min(track.start_s for track in span.tracks) - chunk.main.start_s
    made = [
        Tile(
            chunk=chunk.index,
            at_s=(at,),
            time_s=begin_s + at,
            span=int(span.fragment_offset[0]),
            offset=number * _TILE_BYTES,
            length=_TILE_BYTES,
            size=chunk.tile,
        )
        for number, at in enumerate(points)
    ]
    return Strip(made=made).describe(chunk)
