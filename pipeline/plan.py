"""Segments -> chunks: a pure plan that grows with the stream.

A chunk is cut where a segment starts, once it holds enough bytes to be a part of its own. Sizes
come from the bucket's listing, or are estimated from the first segment, never from what workers
found: the same input gives the same plan, and so the same bytes, whatever the number of workers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pipeline.media.layout import MAX_CHUNKS, target_chunk_bytes
from pipeline.model import ChunkSpec, Segment

# No chunk waits for more media than this, so that progress and live playback keep coming even at
# very low bit rates.
MAX_CHUNK_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanState:
    """What is planned so far: number of chunks, seconds before ``pending``, segments not cut."""

    anchor_s: int
    bytes_per_s: float
    chunks: int = 0
    planned_s: float = 0.0
    pending: tuple[Segment, ...] = ()


def resume(anchor_s: int, bytes_per_s: float, planned: Sequence[ChunkSpec]) -> PlanState:
    """The state behind chunks that the ledger knows already."""
    if not planned:
        return PlanState(anchor_s=anchor_s, bytes_per_s=bytes_per_s)
    last = planned[-1]
    return PlanState(
        anchor_s=last.anchor_s,
        bytes_per_s=bytes_per_s,
        chunks=last.index + 1,
        planned_s=last.start_s + sum(s.duration_s for s in last.segments),
    )


def extend(
    state: PlanState, segments: Iterable[Segment], *, ended: bool
) -> tuple[PlanState, tuple[ChunkSpec, ...]]:
    """Add segments; returns the chunks that are complete now. ``ended`` completes the last one."""
    cut: list[ChunkSpec] = []
    pending = list(state.pending)
    for segment in segments:
        pending.append(segment)
        if _is_full(state, pending):
            state, chunk = _cut(state, pending)
            cut.append(chunk)
            pending = []
    if ended and pending:
        state, chunk = _cut(state, pending)
        cut.append(chunk)
        pending = []
    return replace(state, pending=tuple(pending)), tuple(cut)


def _is_full(state: PlanState, pending: Sequence[Segment]) -> bool:
    if state.chunks >= MAX_CHUNKS - 1:
        return False
    size = sum(_size(state, segment) for segment in pending)
    length = sum(segment.duration_s for segment in pending)
    return size >= target_chunk_bytes(state.chunks) or length >= MAX_CHUNK_S


def _size(state: PlanState, segment: Segment) -> float:
    if segment.byte_range is not None:
        return segment.byte_range.length
    if segment.size_bytes is not None:
        return segment.size_bytes
    return segment.duration_s * state.bytes_per_s


def _cut(state: PlanState, pending: Sequence[Segment]) -> tuple[PlanState, ChunkSpec]:
    chunk = ChunkSpec(
        index=state.chunks,
        segments=tuple(pending),
        start_s=state.planned_s,
        anchor_s=state.anchor_s,
    )
    length = sum(segment.duration_s for segment in pending)
    return replace(
        state, chunks=state.chunks + 1, planned_s=state.planned_s + length, pending=()
    ), chunk
