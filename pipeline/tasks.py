"""Which recording an event belongs to: a pure decision over what the catalogue knows.

Events arrive twice, late and out of order; one broadcast gives one recording. Times are compared
on the sender's clock only (``occurred_at`` against ``started_at``/``ended_at`` of recordings,
which come from events or, for a source that ended by itself, from the media's duration). The order
of arrival decides nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from pipeline.model import EndReason, EventKind, Recording, StreamEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """The event speaks of this recording.

    ``ends`` where it tells the end for the first time, or a later end than was told before;
    ``resumes`` where the stream is back within the reconnect window and the end is taken back,
    also of a recording that is completed already.
    """

    recording_id: UUID
    reason: str
    ends: bool = False
    resumes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """The event announces a broadcast that nobody has recorded yet."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAtSource:
    """Only the source can tell whether this is the broadcast that ``last`` has recorded.
    ``resumes``: if it holds another one, that continues ``last``."""

    last: UUID
    reason: str
    resumes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """It cannot be decided before what is being done now is done."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignore:
    """The event speaks of a broadcast that can no longer be recorded."""

    reason: str


Decision = Attach | Create | LookAtSource | Wait | Ignore

NOT_THEIRS = Ignore(reason="the stream is not the sender's")


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
    if not known:
        return Create(reason="first event of this broadcast")
    if event.only_own and any(recording.user_id != event.user_id for recording in known):
        return NOT_THEIRS
    timeline = sorted(known, key=lambda recording: (recording.started_at, recording.created_at))
    decide = _resolve_start if event.kind is EventKind.STARTED else _resolve_end
    decision = decide(event, timeline, reconnect_window)
    if looked and isinstance(decision, LookAtSource):
        return _after_look(event, known, decision, fingerprint)
    return decision


def is_same_stream(one: StreamEvent | Recording, recording: Recording) -> bool:
    """Whether they have the stream id or the stream key in common."""
    if one.stream_id == recording.stream_id:
        return True
    return one.stream_key is not None and one.stream_key == recording.stream_key


def told_start(event: StreamEvent) -> datetime | None:
    """When the broadcast began, as far as the event tells it."""
    if event.kind is EventKind.STARTED:
        return event.started_at or event.occurred_at
    if event.started_at is not None and event.started_at <= event.occurred_at:
        return event.started_at
    return None


def _resolve_start(
    event: StreamEvent, timeline: Sequence[Recording], window: timedelta
) -> Decision:
    at = event.started_at or event.occurred_at
    before, after = _around(timeline, at)
    if before is not None and not _is_over(before, at):
        return Attach(recording_id=before.id, reason="a start of the recording that was on then")
    if after is not None:
        if after.last_start_at is None:
            return Attach(recording_id=after.id, reason="the start of one whose end came first")
        if after.started_at - at <= window:
            return Attach(recording_id=after.id, reason="another copy of its start")
        return _passed(event, timeline, after)
    return _resolve_restart(at, timeline[-1], window)


def _resolve_restart(at: datetime, last: Recording, window: timedelta) -> Decision:
    is_back_in_time = not _is_over(last, at, window)
    if not is_back_in_time:
        return Create(reason="a later broadcast")
    if last.publishing and not last.status.is_final:
        return Wait(reason="back while the earlier part is being published")
    is_told = last.end_reason is EndReason.EVENT
    if not last.status.is_final or (last.resumable and is_told):
        return Attach(recording_id=last.id, resumes=True, reason="back within the reconnect window")
    if is_told:
        return Create(reason="a later broadcast")
    return LookAtSource(
        last=last.id,
        reason="may be the broadcast that is recorded already",
        resumes=last.resumable,
    )


def _resolve_end(event: StreamEvent, timeline: Sequence[Recording], window: timedelta) -> Decision:
    at, began = event.occurred_at, told_start(event)
    meant = None if began is None else _most_alike(began, at, timeline)
    if meant is not None:
        return _resolve_end_of(event, meant, window)
    before, after = _around(timeline, at)
    if after is not None and (before is None or _is_over(before, at, window)):
        if after.last_start_at is None and _end(after) - at <= window:
            return Attach(recording_id=after.id, reason="another copy of its end")
        return _passed(event, timeline, after)
    last = before or timeline[-1]
    if began is not None and _is_over(last, began, window):
        return Create(reason="a later broadcast whose start was missed")
    return _resolve_end_of(event, last, window)


def _resolve_end_of(event: StreamEvent, meant: Recording, window: timedelta) -> Decision:
    """The event is an end at a time when ``meant`` was on, or is the last that was."""
    at, began = event.occurred_at, told_start(event)
    is_told = meant.end_reason is EndReason.EVENT
    if meant.last_start_at is not None and at < meant.last_start_at:
        return Attach(recording_id=meant.id, reason="an end before its last start")
    if not is_told and not meant.status.is_final:
        return Attach(recording_id=meant.id, ends=True, reason="its end")
    if meant.ended_at is not None:
        if at <= meant.ended_at + window:
            is_news = not is_told or at > meant.ended_at
            return Attach(recording_id=meant.id, ends=is_news, reason="another sign of its end")
        if began is not None and began <= meant.ended_at:
            return Attach(recording_id=meant.id, ends=not is_told, reason="late word of its end")
    if not meant.status.is_final and meant.fingerprint is None:
        return Attach(recording_id=meant.id, reason="it has yet to look at the source")
    return LookAtSource(last=meant.id, reason="may be the broadcast that is recorded already")


def _passed(event: StreamEvent, timeline: Sequence[Recording], later: Recording) -> Decision:
    """The event is about a time before ``later`` of which nothing is known."""
    if event.hls_path is not None and all(r.source != event.hls_path for r in timeline):
        return LookAtSource(last=later.id, reason="has a playlist of its own")
    return Ignore(reason="an earlier broadcast; its source holds a later one by now")


def _after_look(
    event: StreamEvent, known: Sequence[Recording], asked: LookAtSource, fingerprint: str | None
) -> Decision:
    is_end = event.kind is EventKind.ENDED
    last = next(r for r in known if r.id == asked.last)
    if fingerprint is not None:
        meant = next((r for r in known if r.fingerprint == fingerprint), None)
    else:
        meant = last if is_end and last.end_reason is not EndReason.EVENT else None
    if meant is None and asked.resumes:
        return Attach(recording_id=last.id, resumes=True, reason="back within the reconnect window")
    if meant is None:
        return Create(reason="the source holds another broadcast")
    was_on = (meant.last_start_at or meant.started_at) <= event.occurred_at
    ends = is_end and was_on and meant.end_reason is not EndReason.EVENT
    return Attach(recording_id=meant.id, ends=ends, reason="the source holds nothing new")


def _around(
    timeline: Sequence[Recording], at: datetime
) -> tuple[Recording | None, Recording | None]:
    """The last recording that began by ``at`` and the first that began after it."""
    before = [r for r in timeline if r.started_at <= at]
    after = timeline[len(before) :]
    return (before[-1] if before else None), (after[0] if after else None)


def _most_alike(
    began: datetime, ended: datetime, timeline: Sequence[Recording]
) -> Recording | None:
    """The recording that overlaps the broadcast and is nearest to it at either end."""

    def overlaps(recording: Recording) -> bool:
        return recording.started_at <= ended and not _is_over(recording, began)

    def distance(recording: Recording) -> timedelta:
        apart = abs(recording.started_at - began)
        return apart if recording.ended_at is None else min(apart, abs(recording.ended_at - ended))

    return min(filter(overlaps, timeline), key=distance, default=None)


def _is_over(recording: Recording, at: datetime, slack: timedelta = timedelta(0)) -> bool:
    if recording.ended_at is None and not recording.status.is_final:
        return False
    return at - slack > _end(recording)


def _end(recording: Recording) -> datetime:
    return recording.ended_at or recording.started_at
