"""What the platform's stream service says is live, and which starts and ends that tells. Pure.

For when a webhook was missed: what is listed as live and not recorded has started; what was listed
and is not any more has ended.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipeline.errors import InvalidTask
from pipeline.instants import parse_instant
from pipeline.model import EventKind, Origin, Recording, StreamEvent
from pipeline.names import check_hls_path, check_label, check_stream_name

MAX_STREAMS = 10_000
# An answer that lacks a stream may be a slip; two in a row are not.
_ANSWERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStream:
    """A stream that is live now. ``started_at`` on the service's clock, where it tells it."""

    stream_id: str
    stream_key: str | None = None
    user_id: str | None = None
    hls_path: str | None = None
    started_at: datetime | None = None

    def is_of(self, recording: Recording) -> bool:
        same_key = self.stream_key is not None and self.stream_key == recording.stream_key
        return self.stream_id == recording.stream_id or same_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One stream over the answers: ``since`` when, whether its start was told, and how many answers
    in a row did not have it."""

    stream: LiveStream
    since: datetime
    is_told: bool = False
    missed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What is remembered between two answers: the streams by id."""

    streams: Mapping[str, Seen] = field(default_factory=dict)


def parse_status(body: bytes, now: datetime) -> tuple[LiveStream, ...]:
    """``{"streams": [{"stream_id", "stream_key", "status", "started_at", "user_id", "hls_path"}]}``
    or the bare list; live is what has the status ``live``. Raises ``InvalidTask``."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidTask("The stream service's answer is no JSON") from error
    listed = found.get("streams") if isinstance(found, dict) else found
    if not isinstance(listed, list) or len(listed) > MAX_STREAMS:
        raise InvalidTask("The stream service's answer is no list of streams")
    return tuple(
        _stream(one, now) for one in listed if isinstance(one, dict) and one.get("status") == "live"
    )


def advance(
    watched: Watched, live: Sequence[LiveStream], unfinished: Sequence[Recording], now: datetime
) -> tuple[Watched, tuple[StreamEvent, ...]]:
    """The events that an answer tells of. ``unfinished``: the recordings that are not final."""
    events: list[StreamEvent] = []
    streams: dict[str, Seen] = {}
    for stream in live:
        before = watched.streams.get(stream.stream_id)
        since = before.since if before else now
        is_recorded = any(stream.is_of(recording) for recording in unfinished)
        is_told = is_recorded or (before is not None and before.is_told)
        # One answer's time is left to the webhook.
        if before is not None and not is_told:
            events.append(_event(EventKind.STARTED, stream, stream.started_at or since))
            is_told = True
        streams[stream.stream_id] = Seen(stream=stream, since=since, is_told=is_told)
    for stream_id, seen in watched.streams.items():
        if stream_id in streams:
            continue
        if seen.missed + 1 < _ANSWERS:
            streams[stream_id] = Seen(
                stream=seen.stream, since=seen.since, is_told=seen.is_told, missed=seen.missed + 1
            )
        elif any(seen.stream.is_of(r) and r.ended_at is None for r in unfinished):
            events.append(_event(EventKind.ENDED, seen.stream, now))
    return Watched(streams=streams), tuple(events)


def _stream(found: Mapping[str, Any], now: datetime) -> LiveStream:
    key, user, path = (found.get(name) or None for name in ("stream_key", "user_id", "hls_path"))
    return LiveStream(
        stream_id=check_stream_name(found.get("stream_id"), "stream_id"),
        stream_key=None if key is None else check_stream_name(key, "stream_key"),
        user_id=None if user is None else check_label(user, "user_id"),
        hls_path=None if path is None else check_hls_path(path),
        started_at=parse_instant(found.get("started_at"), "started_at", now=now),
    )


def _event(kind: EventKind, stream: LiveStream, at: datetime) -> StreamEvent:
    return StreamEvent(
        kind=kind,
        stream_id=stream.stream_id,
        stream_key=stream.stream_key,
        user_id=stream.user_id,
        hls_path=stream.hls_path,
        occurred_at=at,
        origin=Origin.STATUS,
    )
