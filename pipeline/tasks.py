"""Which recording an event belongs to: a pure decision over what the catalogue knows.

Events arrive twice, late and out of order; one broadcast gives one recording. Times are compared
on the sender's clock only (``occurred_at`` against ``started_at``/``ended_at`` of recordings,
which come from events or, for a source that ended by itself, from the media's duration).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from pipeline.model import EndReason, EventKind, Recording, StreamEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """The event speaks of this recording. ``ends`` where it tells the end for the first time."""

    recording_id: UUID
    ends: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """The event announces a broadcast that nobody has recorded yet."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAtSource:
    """Only the source can tell whether this is the broadcast that ``last`` has recorded."""

    last: UUID
    reason: str


Decision = Attach | Create | LookAtSource


def resolve(
    event: StreamEvent,
    known: Sequence[Recording],
    *,
    reconnect_window: timedelta,
    looked: bool = False,
    fingerprint: str | None = None,
) -> Decision:
    """Decide what ``event`` means.

    ``known`` are recordings of the same stream id or stream key, newest first. With ``looked``
    the answer is never ``LookAtSource``; ``fingerprint`` is then what the source holds, None if
    nothing was found there.
    """
    running = next((r for r in known if not r.status.is_final), None)
    if running is not None:
        earlier = next((r for r in known if r.status.is_final and r.ended_at), None)
        if event.kind is EventKind.ENDED and earlier and event.occurred_at < running.started_at:
            return Attach(recording_id=earlier.id, ends=False, reason="late end of an earlier one")
        return _resolve_running(event, running, reconnect_window)
    if not known:
        return Create(reason="first event of this broadcast")
    last = max(known, key=lambda r: r.ended_at or r.started_at)
    last_end = last.ended_at or last.started_at
    began = event.started_at or event.occurred_at
    if began <= last_end:
        return Attach(recording_id=last.id, ends=False, reason="late copy of an event")
    end_was_told = last.end_reason is EndReason.EVENT
    if event.kind is EventKind.STARTED and (end_was_told or began > last_end + reconnect_window):
        return Create(reason="a later broadcast")
    if event.kind is EventKind.ENDED and event.started_at is not None:
        return Create(reason="a later broadcast whose start was missed")
    if event.kind is EventKind.ENDED and end_was_told and _near(began, last_end, reconnect_window):
        return Attach(recording_id=last.id, ends=False, reason="another copy of the end")
    if not looked:
        return LookAtSource(last=last.id, reason="may be the broadcast that is recorded already")
    if fingerprint is not None and fingerprint == last.fingerprint:
        return Attach(recording_id=last.id, ends=False, reason="the source is recorded already")
    return Create(reason="the source holds another broadcast")


def _resolve_running(event: StreamEvent, running: Recording, window: timedelta) -> Decision:
    if event.kind is EventKind.ENDED:
        return Attach(
            recording_id=running.id,
            ends=running.end_reason is not EndReason.EVENT,
            reason="end of the running recording",
        )
    told_end = running.ended_at if running.end_reason is EndReason.EVENT else None
    began = event.started_at or event.occurred_at
    if told_end is not None and began > told_end + window:
        return Create(reason="a later broadcast while the earlier one is being finished")
    return Attach(recording_id=running.id, ends=False, reason="start of the running recording")


def _near(a: datetime, b: datetime, window: timedelta) -> bool:
    return abs(a - b) <= window
