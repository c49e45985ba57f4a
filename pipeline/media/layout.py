"""Which bytes become which part of the multipart upload: pure arithmetic over chunk sizes.

S3 wants every part but the last to be 5 MiB or more, and at most 10 000 parts. Chunk ``i`` that is
large enough goes up as part ``i + 2`` at once; smaller ones and chunk 0 wait in staging objects
and are joined at the end. Where a join in the middle stays too small, a ``free`` box fills it up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

MIN_PART_BYTES = 5 * 2**20
# A worker holds all that it joins.
_JOINED_BYTES = 32 * 2**20
MAX_CHUNKS = 9_998
_FIRST_CHUNK_BYTES = 8 * 2**20
_EARLY_CHUNKS = 16
_CHUNKS_PER_STEP = 1_000
_SMALLEST_FREE_BOX = 8


def target_chunk_bytes(index: int) -> int:
    """How large chunk ``index`` should be.

    Early ones are small, so that a short stream is spread over many workers; later ones are up to
    three times as large, since each chunk costs as much as 20 s of media more: a demuxer opened, a
    border decoded, a job sent, a row written. From then on they grow so that 10 000 parts hold
    over 400 GB.
    """
    early = min(index // _EARLY_CHUNKS, 2)
    return _FIRST_CHUNK_BYTES * (1 + early + index // _CHUNKS_PER_STEP)


def part_number(index: int) -> int:
    """The part that chunk ``index`` owns; part 1 belongs to the head."""
    return index + 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSize:
    """``is_part``: its bytes were uploaded as a part already."""

    index: int
    size_bytes: int
    is_part: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A part still to be made of staged chunks, with ``padding`` bytes of ``free`` box behind."""

    number: int
    chunks: tuple[int, ...]
    padding: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """``offset``: where each chunk's first byte lies behind the head (``ftyp moov`` and the header
    of ``mdat``), by chunk index. ``joined[0]`` is part 1, which the head goes in front of."""

    offset: dict[int, int]
    joined: tuple[Joined, ...]
    body_bytes: int


def lay_out(
    chunks: Sequence[ChunkSize], head_bytes: int, fillers: Sequence[ChunkSize] = ()
) -> Layout:
    """``chunks`` in order, empty ones left out; ``head_bytes``: size of the head. ``fillers`` lie
    in front of all chunks, in part 1: Chromium loses the sound of a plain MP4 for good where it
    would have to go on from the file's end."""
    offset: dict[int, int] = {}
    joined: list[Joined] = []
    at = 0
    for filler in fillers:
        offset[filler.index] = at
        at += filler.size_bytes
    head_bytes += at
    for group, is_last in _groups(chunks):
        for chunk in group:
            offset[chunk.index] = at
            at += chunk.size_bytes
        if group and group[0].is_part:
            continue
        is_head = not joined
        size = sum(chunk.size_bytes for chunk in group) + (head_bytes if is_head else 0)
        padding = 0 if is_last else _padding(size)
        joined.append(
            Joined(
                number=1 if is_head else part_number(group[0].index),
                chunks=tuple(c.index for c in ([*fillers, *group] if is_head else group)),
                padding=padding,
            )
        )
        at += padding
    return Layout(offset=offset, joined=tuple(joined), body_bytes=at)


def _padding(size: int) -> int:
    missing = MIN_PART_BYTES - size
    return max(missing, _SMALLEST_FREE_BOX) if missing > 0 else 0


def _groups(chunks: Sequence[ChunkSize]) -> list[tuple[list[ChunkSize], bool]]:
    """Runs of staged chunks, and single uploaded ones; the first run exists even if it is empty."""
    groups: list[list[ChunkSize]] = [[]]
    for chunk in chunks:
        follows_staged = not groups[-1] or not groups[-1][-1].is_part
        is_full = sum(c.size_bytes for c in groups[-1]) >= _JOINED_BYTES
        if chunk.is_part or not follows_staged or is_full:
            groups.append([chunk])
        else:
            groups[-1].append(chunk)
    return [(group, False) for group, _ in pairwise(groups)] + [(groups[-1], True)]
