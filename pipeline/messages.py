"""What stands in Kafka messages (contract section 4): tasks in, state changes out. Pure.

Every byte of a task is hostile: the answer is always a ``StreamEvent`` or ``InvalidTask``.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipeline.errors import InvalidTask
from pipeline.instants import format_instant, parse_instant
from pipeline.model import EventKind, Origin, StreamEvent
from pipeline.names import check_hls_path, check_label, check_stream_name
from pipeline.stores.catalog import StateChange

MAX_TASK_BYTES = 64 * 1024
MAX_ERROR_CHARS = 2000

_KINDS = {
    "start": EventKind.STARTED,
    "stop": EventKind.ENDED,
    "process": EventKind.ENDED,
    "record": EventKind.ENDED,
}


def parse_task(value: bytes | None, *, sent_at: datetime, now: datetime) -> StreamEvent:
    """The event that a message of the tasks topic announces. Raises ``InvalidTask``.

    ``sent_at`` is the message's own timestamp, used where the value carries none; ``now`` bounds
    how far in the future a time may lie. Unknown fields are ignored; of a repeated field the last
    one counts, as in Go's and Python's JSON readers.
    """
    fields = _read_object(value)
    kind = _kind(fields.get("action"))
    stream_id = check_stream_name(fields.get("stream_id"), "stream_id")
    hls_path, profile = fields.get("hls_path"), fields.get("profile")
    timestamp, started, ended = (
        parse_instant(fields.get(name), name, now=now)
        for name in ("timestamp", "start_time", "end_time")
    )
    if started and ended and ended < started:
        raise InvalidTask("end_time is before start_time")
    own_time = started if kind is EventKind.STARTED else ended
    return StreamEvent(
        kind=kind,
        stream_id=stream_id,
        occurred_at=own_time or timestamp or sent_at,
        origin=Origin.KAFKA,
        started_at=started,
        hls_path=None if hls_path in (None, "") else check_hls_path(hls_path),
        profile=None if profile in (None, "") else check_label(profile, "profile"),
    )


def state_event(change: StateChange) -> bytes:
    """The value of a message of the events topic: one JSON object for one change of a status.

    ``{"recording_id","stream_id","status","file_path","duration","file_size","error",
    "timestamp"}``: ``status`` is the one changed to and ``timestamp`` (RFC 3339, UTC) when;
    ``duration`` in whole seconds and ``file_size`` in bytes as far as known then; ``file_path``
    and ``error`` may be null. A change may be published twice; changes of one stream come in
    order (the key is its id).
    """
    recording = change.recording
    return json.dumps(
        {
            "recording_id": str(recording.id),
            "stream_id": recording.stream_id,
            "status": change.status.value,
            "file_path": recording.file_path,
            "duration": recording.duration,
            "file_size": recording.file_size,
            "error": recording.error[:MAX_ERROR_CHARS] if recording.error else None,
            "timestamp": format_instant(change.changed_at),
        },
        separators=(",", ":"),
    ).encode()


def _read_object(value: bytes | None) -> Mapping[str, Any]:
    if value is None:
        raise InvalidTask("the message has no value")
    if len(value) > MAX_TASK_BYTES:
        raise InvalidTask(f"the value is {len(value)} bytes, more than {MAX_TASK_BYTES}")
    try:
        fields = json.loads(value.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise InvalidTask("the value is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise InvalidTask(f"the value is not JSON: {error.msg} at {error.pos}") from error
    except RecursionError as error:
        raise InvalidTask("the value is nested too deeply") from error
    except ValueError as error:
        raise InvalidTask("the value holds a number that is too large") from error
    if not isinstance(fields, dict):
        raise InvalidTask("the value is JSON, but no object")
    return fields


def _refuse_constant(name: str) -> None:
    raise InvalidTask(f"the value is not JSON: {name} is no JSON number")


def _kind(action: object) -> EventKind:
    if action is None or action == "":
        return EventKind.ENDED
    kind = _KINDS.get(action) if isinstance(action, str) else None
    if kind is None:
        known = ", ".join(_KINDS)
        raise InvalidTask(f"action {_shorten(action)} is unknown", f"Known are {known}")
    return kind


def _shorten(value: object) -> str:
    """For a reason: printable ASCII, at most 64 characters."""
    text = ascii(value) if isinstance(value, str) else type(value).__name__
    return text if len(text) <= 64 else text[:61] + "..."
