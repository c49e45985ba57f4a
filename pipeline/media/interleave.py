"""Puts the fragments of several playlists side by side, so that a player of the plain MP4 finds
sound near the pictures that it belongs to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.media.samples import Ints, Span

# As long as HLS segments: each block can be one byte range.
_BLOCK_S = 6.0


@dataclass(frozen=True, slots=True)
class Body:
    """A span, its offsets counted from the first byte of ``data``."""

    span: Span
    data: memoryview


@dataclass(frozen=True, slots=True)
class _Block:
    """Fragments ``first`` to ``behind`` of one span. ``order``: its era and time."""

    order: tuple[int, float]
    number: int
    first: int
    behind: int


def interleave(playlists: Sequence[Sequence[Body]]) -> tuple[list[Span], list[memoryview]]:
    """The spans with offsets in the chunk, by playlist, and the chunk's bytes in pieces."""
    bodies = [body for of_playlist in playlists for body in of_playlist]
    moved: list[Ints] = [np.zeros_like(body.span.fragment_offset) for body in bodies]
    pieces: list[memoryview] = []
    at = 0
    for block in _blocks(playlists):
        span, data = bodies[block.number].span, bodies[block.number].data
        begin = int(span.fragment_offset[block.first])
        end = int(span.fragment_end[block.behind - 1])
        moved[block.number][block.first : block.behind] = at - begin
        pieces.append(data[begin:end])
        at += end - begin
    spans = [body.span.moved(by) for body, by in zip(bodies, moved, strict=True)]
    return spans, pieces


def _blocks(playlists: Sequence[Sequence[Body]]) -> Iterator[_Block]:
    """All blocks, each playlist's in its own order, the earliest of the next ones first."""
    queues: list[list[_Block]] = []
    number = 0
    several = sum(1 for bodies in playlists if bodies) > 1
    for bodies in playlists:
        queue = []
        for body in bodies:
            queue += _split(number, body.span, several)
            number += 1
        queues.append(queue[::-1])
    while any(queues):
        yield min((queue for queue in queues if queue), key=lambda queue: queue[-1].order).pop()


def _split(number: int, span: Span, several: bool) -> list[_Block]:
    count = len(span.fragment_offset)
    if not several:
        return [_Block((0, 0.0), number, 0, count)]
    track = span.tracks[0]
    owner = np.searchsorted(span.fragment_offset, track.run_offset, side="right") - 1
    first_sample = np.cumsum(track.run_count) - track.run_count
    times = np.interp(np.arange(count), owner, track.dts[first_sample] / track.timescale)
    blocks, first = [], 0
    for behind in range(1, count + 1):
        if behind == count or times[behind] - times[first] >= _BLOCK_S:
            blocks.append(_Block((span.era, float(times[first])), number, first, behind))
            first = behind
    return blocks
