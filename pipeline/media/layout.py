"""Which bytes become which part of the multipart upload: pure arithmetic over chunk sizes.

S3 wants every part but the last to be 5 MiB or more, and at most 10 000 parts. Chunk ``i`` that is
large enough goes up as part ``i + 2`` at once; smaller ones and chunk 0 wait in staging objects
and are joined: with the head at the end, or with their neighbours as soon as it is known which.
Where a join in the middle stays too small, a ``free`` box fills it up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.model import ChunkRecord

MIN_PART_BYTES = 5 * 2**20
# More than the least: each part is a job and some requests.
_JOINED_BYTES = 8 * 2**20
MAX_CHUNKS = 9_998
_FIRST_CHUNK_BYTES = 8 * 2**20
_EARLY_CHUNKS = 16
_CHUNKS_PER_STEP = 1_000
_SMALLEST_FREE_BOX = 8
_ENCODED_CHUNK_S = 10.0
# Each chunk costs as much as 0.3 s of media more (720p): encoders opened, sound beside it read.
LAST_ENCODED_CHUNK_S = 4.0
# Of the source. A worker holds it.
_ENCODED_CHUNK_BYTES = 32 * 2**20


def target_chunk_bytes(index: int) -> int:
    """How large chunk ``index`` should be.

    Early ones are small, so that a short stream is spread over many workers; later ones are up to
    three times as large, since each chunk costs as much as 20 s of media more: a demuxer opened, a
    border decoded, a job sent, a row written. From then on they grow so that 10 000 parts hold
    over 400 GB.
    """
    early = min(index // _EARLY_CHUNKS, 2)
    return _FIRST_CHUNK_BYTES * (1 + early + index // _CHUNKS_PER_STEP)


def target_encoded_chunk(index: int) -> tuple[float, int]:
    """How long, in seconds, and how large chunk ``index`` should be at most where pictures are
    encoded: what is left to encode when a stream ends is no more, and 10 000 parts hold days."""
    grown = 1 + index // _CHUNKS_PER_STEP
    return _ENCODED_CHUNK_S * grown, _ENCODED_CHUNK_BYTES * grown


def part_number(index: int) -> int:
    """The part that chunk ``index`` owns; part 1 belongs to the head."""
    return index + 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSize:
    """``is_joined``: its bytes are in a part that it shares with its neighbours already."""

    index: int
    size_bytes: int
    is_joined: bool = False

    @property
    def is_part(self) -> bool:
        """Whether it is a part of its own; the first chunk shares part 1 with the head."""
        return self.index > 0 and self.size_bytes >= MIN_PART_BYTES


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


def chunk_sizes(records: Sequence[ChunkRecord]) -> list[ChunkSize]:
    """Of one output, empty ones left out."""
    return [
        ChunkSize(
            index=record.index_number,
            size_bytes=record.size_bytes,
            is_joined=record.part is not None and record.part.size_bytes != record.size_bytes,
        )
        for record in records
        if record.size_bytes
    ]


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
    first, *others = _groups(chunks)
    for group, is_last in (first, *others):
        for chunk in group:
            offset[chunk.index] = at
            at += chunk.size_bytes
        if group and group[0].is_part:
            continue
        part = (
            _head_part(fillers, first, head_bytes) if group is first[0] else _part(group, is_last)
        )
        if not any(chunk.is_joined for chunk in group):
            joined.append(part)
        at += part.padding
    return Layout(offset=offset, joined=tuple(joined), body_bytes=at)


class Growing:
    """The chunks of a recording that goes on, and its parts as far as they are known."""

    def __init__(self) -> None:
        self._group: list[ChunkSize] = []
        self._is_head = True

    def add(self, chunk: ChunkSize) -> Joined | None:
        """The next chunk that is not empty. Returns a part that neither the head nor further chunks
        can change any more, unless it is made already."""
        if _goes_on(self._group, chunk):
            self._group.append(chunk)
            return None
        done, self._group = self._group, [chunk]
        is_head, self._is_head = self._is_head, False
        is_made = is_head or done[0].is_part or done[0].is_joined
        return None if is_made else _part(done, is_last=False)


def _head_part(
    fillers: Sequence[ChunkSize], first: tuple[list[ChunkSize], bool], head_bytes: int
) -> Joined:
    """Part 1. ``head_bytes``: with the fillers."""
    group, is_last = first
    size = head_bytes + sum(chunk.size_bytes for chunk in group)
    return Joined(
        number=1,
        chunks=tuple(chunk.index for chunk in (*fillers, *group)),
        padding=0 if is_last else _padding(size),
    )


def _part(group: Sequence[ChunkSize], is_last: bool) -> Joined:
    return Joined(
        number=part_number(group[0].index),
        chunks=tuple(chunk.index for chunk in group),
        padding=0 if is_last else _padding(sum(chunk.size_bytes for chunk in group)),
    )


def _padding(size: int) -> int:
    missing = MIN_PART_BYTES - size
    return max(missing, _SMALLEST_FREE_BOX) if missing > 0 else 0


def _groups(chunks: Sequence[ChunkSize]) -> list[tuple[list[ChunkSize], bool]]:
    """Runs of staged chunks, and single uploaded ones; the first run exists even if it is empty."""
    groups: list[list[ChunkSize]] = [[]]
    for chunk in chunks:
        if _goes_on(groups[-1], chunk):
            groups[-1].append(chunk)
        else:
            groups.append([chunk])
    return [(group, False) for group, _ in pairwise(groups)] + [(groups[-1], True)]


def _goes_on(group: Sequence[ChunkSize], chunk: ChunkSize) -> bool:
    """Whether the chunk shares a part with those before it."""
    if chunk.is_part or (group and group[-1].is_part):
        return False
    return sum(c.size_bytes for c in group) < _JOINED_BYTES
