"""The tiles of one chunk: keyframes near the points of a grid (``pipeline.storyboard``), drawn
small and put side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import MediaInvalid
from pipeline.keyframes import Decoder, Keyframe, keyframes
from pipeline.media.samples import Span
from pipeline.media.tiles import draw_tile
from pipeline.model import ChunkSpec
from pipeline.storyboard import Tile, grid


@dataclass(slots=True)
class Strip:
    """``data``: JPEGs, one after the other; ``left_out``: why keyframes could not be drawn."""

    data: bytes = b""
    made: list[Tile] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def describe(self, chunk: ChunkSpec) -> dict[str, Any]:
        """For the chunk's report."""
        return {
            "size": [chunk.tile.width, chunk.tile.height],
            "made": [tile.describe() for tile in self.made],
            "left_out": self.left_out,
        }


@dataclass(frozen=True, slots=True)
class _Candidate:
    """``at_s``: its place in the chunk, clocks that jump made one; ``span``: see ``Tile``."""

    at_s: float
    span: int
    key: Keyframe


def draw_strip(chunk: ChunkSpec, spans: Sequence[Span], decoder: Decoder) -> Strip:
    """``spans``: of an output's chunk."""
    strip = Strip()
    for candidate, points in _chosen(chunk, list(_candidates(spans))):
        try:
            picture = decoder.decode(candidate.key)
            jpeg = draw_tile(picture, chunk.tile)
        except MediaInvalid as error:
            strip.left_out.append(error.message)
            continue
        tile = Tile(
            chunk=chunk.index,
            at_s=tuple(points),
            time_s=candidate.key.time_s,
            span=candidate.span,
            offset=len(strip.data),
            length=len(jpeg),
            size=chunk.tile,
        )
        strip.made.append(tile)
        strip.data += jpeg
    return strip


def _candidates(spans: Sequence[Span]) -> Iterator[_Candidate]:
    """All keyframes, in the order in which they are shown."""
    at_s = 0.0
    for span in spans:
        if span.playlist or span.sound:
            continue
        begin_s = min(track.start_s for track in span.tracks)
        for key in sorted(keyframes(span), key=lambda key: key.time_s):
            yield _Candidate(at_s + key.time_s - begin_s, int(span.fragment_offset[0]), key)
        at_s += max(track.end_s for track in span.tracks) - begin_s


def _chosen(
    chunk: ChunkSpec, candidates: Sequence[_Candidate]
) -> list[tuple[_Candidate, list[int]]]:
    """The nearest to each point of the grid, with those points."""
    points: dict[int, list[int]] = {}
    for at in grid(chunk.main.start_s, chunk.main.duration_s) if candidates else ():
        wanted_s = at - chunk.main.start_s
        nearest = min(range(len(candidates)), key=lambda n: abs(candidates[n].at_s - wanted_s))
        points.setdefault(nearest, []).append(at)
    return [(candidates[number], own) for number, own in sorted(points.items())]
