"""What a finished chunk and a finished recording add to the metrics."""

from collections.abc import Sequence

from pipeline.gap_kinds import gap_kind
from pipeline.metrics import (
    BYTES,
    CAPTURED,
    CHUNK_REMEDIES,
    CHUNKS,
    COUNTS,
    ENCODE_SPEED,
    ENCODING_STAGES,
    FINISHED,
    GAP_SECONDS,
    GAPS,
    MEDIA_SECONDS,
    SEGMENTS,
    STAGE_SECONDS,
    TIME_TO_VOD,
)
from pipeline.model import ChunkRecord, ChunkSpec, Recording, Segment, Status

_REMEDIES = {
    "program tables from nearby": "tables",
    "headers from the run's first segment": "headers",
    "mended": "mended",
}
_ENCODED_ANEW = "encoded anew"


def count_cancelled() -> None:
    """Somebody has cancelled a recording."""
    COUNTS.count(FINISHED, "cancelled")


def count_captured(segment: Segment) -> None:
    """It is in the log of its source."""
    COUNTS.count(CAPTURED, "gap" if segment.is_gap else "kept")


def count_chunk(chunk: ChunkSpec, records: Sequence[ChunkRecord]) -> None:
    """It is in the ledger; ``records``: of all outputs, the main one's, which tells of the source,
    first."""
    report = records[0].report
    pictures = [lost for lost in report["lost"] if not lost["playlist"]]
    gone = sum(lost["is_whole"] for lost in pictures)
    made = sum(record.size_bytes for record in records)
    COUNTS.count(CHUNKS, "empty" if not made else "gaps" if report["lost"] else "whole")
    COUNTS.count(SEGMENTS, "lost", amount=gone)
    COUNTS.count(SEGMENTS, "recorded", amount=len(report["segments"]) - gone)
    COUNTS.count(BYTES, "in", amount=report["bytes_in"])
    COUNTS.count(BYTES, "out", amount=made)
    COUNTS.count(MEDIA_SECONDS, amount=chunk.main.duration_s)
    for remedy in {remedy_kind(noted["remedy"]) for noted in report["remedies"]}:
        COUNTS.count(CHUNK_REMEDIES, remedy)
    spent: dict[str, float] = report["timings_s"]
    for stage, seconds in spent.items():
        COUNTS.count(STAGE_SECONDS, stage, amount=seconds)
    if spent.get("encode"):
        encoding_s = sum(spent.get(stage, 0.0) for stage in ENCODING_STAGES)
        COUNTS.observe(ENCODE_SPEED, value=chunk.main.duration_s / encoding_s)


def count_final(recording: Recording) -> None:
    """It has just become so."""
    COUNTS.count(FINISHED, recording.status)
    if recording.status is Status.FAILED:
        return
    for gap in recording.gaps:
        COUNTS.count(GAPS, gap_kind(gap.reason))
        COUNTS.count(GAP_SECONDS, gap_kind(gap.reason), amount=gap.duration_s)
    if recording.completed_at is not None:
        # The end of a stream may be told when it is long over, by a clock that is not ours.
        heard_at = max(recording.ended_at or recording.created_at, recording.created_at)
        took_s = (recording.completed_at - heard_at).total_seconds()
        COUNTS.observe(TIME_TO_VOD, value=max(0.0, took_s))


def remedy_kind(remedy: str) -> str:
    """One of ``metrics.REMEDIES``, else ``other``."""
    return "encoded" if remedy.endswith(_ENCODED_ANEW) else _REMEDIES.get(remedy, "other")
