"""Rows of PostgreSQL as the values they stand for, and back."""

from typing import Any

import asyncpg

from pipeline.model import (
    AS_IT_IS,
    ChunkRecord,
    EndReason,
    Part,
    Recording,
    SourceState,
    Status,
    Upload,
)
from pipeline.stores.catalog_json import (
    GAPS,
    OPENED,
    OUTPUT,
    PROGRESS,
    RENDITIONS,
    REPORT,
    storable,
)
from pipeline.stores.queries import load_queries

_COLUMNS = (
    "id", "stream_id", "stream_key", "user_id", "title", "video_id", "file_path", "thumbnail_path",
    "duration", "file_size", "status", "started_at", "completed_at", "created_at", "profile",
    "source", "ended_at", "end_reason", "last_start_at", "object_name", "fingerprint", "progress",
    "gaps", "renditions", "error", "publishing", "resumable", "deleted_at",
    "keep",
)  # fmt: skip
"""In the order of the parameters of ``save_recording``."""

_INGEST = (
    "stream_id", "stream_key", "secret", "port", "asked_at", "user_id", "title", "phase",
    "broadcast", "runs", "started_at", "resumed_at", "last_at", "is_start_told", "protocol",
)  # fmt: skip
"""In the order of the fields of ``Ingest``."""

COLUMNS = ", ".join(f"recordings.{name}" for name in (*_COLUMNS, "updated_at"))
SQL = load_queries(recording=COLUMNS, ingest=", ".join(_INGEST))


def recording_from(row: asyncpg.Record) -> Recording:
    plain = {name: row[name] for name in (*_COLUMNS, "updated_at")}
    return Recording(
        **plain
        | {
            "status": Status(row["status"]),
            "end_reason": None if row["end_reason"] is None else EndReason(row["end_reason"]),
            "progress": PROGRESS.load(row["progress"]),
            "gaps": GAPS.load(row["gaps"]),
            "renditions": RENDITIONS.load(row["renditions"]),
        }
    )


def recording_parameters(recording: Recording) -> tuple[Any, ...]:
    """The parameters of ``save_recording``."""
    plain = {name: getattr(recording, name) for name in _COLUMNS}
    plain |= {
        "progress": PROGRESS.dump(recording.progress),
        "gaps": GAPS.dump(recording.gaps),
        "renditions": RENDITIONS.dump(recording.renditions),
    }
    return tuple(storable(v) if isinstance(v, str) else v for v in plain.values())


def source_from(row: asyncpg.Record) -> SourceState:
    return SourceState(
        opened=None if row["opened"] is None else OPENED.load(row["opened"]),
        is_complete=row["is_complete"],
        last_start_at=row["last_start_at"],
        problem=row["problem"],
    )


def chunk_from(row: asyncpg.Record) -> ChunkRecord:
    part = None
    if row["part_number"] is not None:
        part = Part(
            number=row["part_number"], etag=row["part_etag"], size_bytes=row["part_size_bytes"]
        )
    return ChunkRecord(
        index_number=row["number"],
        size_bytes=row["size_bytes"],
        part=part,
        staging_key=row["staging_key"],
        index=row["sample_index"],
        report=REPORT.load(row["report"]),
        rendition=row["rendition"],
    )


def chunk_parameters(record: ChunkRecord) -> tuple[Any, ...]:
    """The parameters of ``finish_chunk`` after the recording."""
    part = record.part
    return (
        record.index_number,
        record.rendition,
        record.size_bytes,
        part and part.number,
        part and part.etag,
        part and part.size_bytes,
        record.staging_key,
        record.index,
        REPORT.dump(dict(record.report)),
    )


def upload_from(row: asyncpg.Record) -> Upload:
    return Upload(
        key=row["key"],
        upload_id=row["upload_id"],
        # Begun before there were others.
        output=AS_IT_IS if row["output"] is None else OUTPUT.load(row["output"]),
        number=row["number"],
    )


def upload_parameters(upload: Upload) -> tuple[Any, ...]:
    """The parameters of ``save_upload`` after the recording."""
    output = OUTPUT.dump(upload.output)
    return upload.rendition, upload.key, upload.upload_id, upload.number, output
