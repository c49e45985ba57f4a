"""How a recording changes: pure functions that both catalogues apply.

Each takes the recording as it is and returns it as it becomes (the same object where nothing
changes). A final recording never changes its status or result; ``Conflict`` says what is not
allowed.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from pipeline.errors import Conflict, InvalidTask
from pipeline.model import EndReason, EventKind, Progress, Recording, Status, StreamEvent
from pipeline.stores.catalog import Completion
from pipeline.stores.catalog_json import storable
from pipeline.tasks import Attach, Create, Decision, Ignore, LookAtSource, Wait, told_start

MAX_TEXT = 4096
"""Longest text of an event, in characters; the edges allow far less."""

LATE = timedelta(seconds=15)
"""How late word of a stream that is back may come."""

_CLOCK_LEAD = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def checked(event: StreamEvent, now: datetime) -> StreamEvent:
    """The event, if it can be stored and compared. Raises ``InvalidTask``.

    A time in the future would make every later event of the stream an old one, so it is refused.
    """
    for name in ("stream_id", "stream_key", "user_id", "hls_path", "profile"):
        text: str | None = getattr(event, name)
        if text is not None and not _is_storable(text):
            raise InvalidTask(f"{name} is empty, too long, or holds characters that are no text")
    for name in ("occurred_at", "started_at"):
        at: datetime | None = getattr(event, name)
        if at is None:
            continue
        if at.tzinfo is None or not _EPOCH <= at <= now + _CLOCK_LEAD:
            raise InvalidTask(f"{name} has no time zone, is before 1970 or lies in the future")
    return event


def _is_storable(text: str) -> bool:
    if not 0 < len(text) <= MAX_TEXT or "\0" in text:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in text)


def created_from(
    event: StreamEvent, *, recording_id: UUID, now: datetime, profile: str
) -> Recording:
    """The new recording that ``event`` announces; ``profile`` unless the event names one."""
    is_end = event.kind is EventKind.ENDED
    return Recording(
        id=recording_id,
        stream_id=event.stream_id,
        status=Status.RECORDING,
        started_at=told_start(event) or event.occurred_at,
        created_at=now,
        updated_at=now,
        stream_key=event.stream_key,
        user_id=event.user_id,
        profile=event.profile or profile,
        source=event.hls_path,
        ended_at=event.occurred_at if is_end else None,
        end_reason=EndReason.EVENT if is_end else None,
        last_start_at=told_start(event),
    )


def attached(recording: Recording, event: StreamEvent, decision: Attach) -> Recording:
    """What ``event`` adds to the recording that it speaks of."""
    recording = replace(
        recording,
        stream_key=recording.stream_key or event.stream_key,
        user_id=recording.user_id or event.user_id,
        source=recording.source or event.hls_path,
    )
    began = told_start(event)
    if began is not None:
        is_first = recording.last_start_at is None
        recording = replace(
            recording,
            started_at=min(recording.started_at, began) if is_first else recording.started_at,
            last_start_at=max(recording.last_start_at or began, began),
        )
    if decision.ends:
        ended_at = max(recording.ended_at or event.occurred_at, event.occurred_at)
        recording = replace(recording, ended_at=ended_at, end_reason=EndReason.EVENT)
    if decision.resumes and (recording.resumable or not recording.status.is_final):
        recording = replace(
            recording,
            ended_at=None,
            end_reason=None,
            status=Status.RECORDING,
            publishing=False,
            resumable=False,
        )
    return recording


def in_words(decision: Decision) -> str:
    """What became of an event, for people."""
    match decision:
        case Attach():
            verb = "attached"
        case Create():
            verb = "created"
        case LookAtSource() | Wait():
            verb = "waiting"
        case Ignore():
            verb = "ignored"
    return f"{verb}: {decision.reason}"


def sourced(recording: Recording, source: str, fingerprint: str | None) -> Recording:
    """A fingerprint that is known stays known."""
    refuse_final(recording)
    return replace(
        recording, source=storable(source), fingerprint=fingerprint or recording.fingerprint
    )


def progressed(recording: Recording, duration: int, progress: Progress) -> Recording:
    if recording.status.is_final:
        return recording
    known = recording.progress
    return replace(
        recording,
        duration=max(duration, recording.duration),
        progress=Progress(
            segments=max(progress.segments, known.segments),
            chunks_done=max(progress.chunks_done, known.chunks_done),
            chunks_total=max(progress.chunks_total, known.chunks_total),
            seconds=max(progress.seconds, known.seconds),
        ),
    )


def ended(recording: Recording, ended_at: datetime, reason: EndReason) -> Recording:
    if recording.status.is_final or recording.end_reason is EndReason.EVENT:
        return recording
    return replace(recording, ended_at=ended_at, end_reason=reason)


def processing(recording: Recording) -> Recording:
    refuse_final(recording)
    if recording.ended_at is None:
        raise Conflict("The recording has not ended")
    return replace(recording, status=Status.PROCESSING)


def publishing(recording: Recording) -> Recording:
    """From here on a stream that comes back is another recording."""
    if recording.status is not Status.PROCESSING:
        raise Conflict(f"A recording that is {recording.status} cannot be published")
    return replace(recording, publishing=True)


def completed(recording: Recording, completion: Completion, *, resumable: bool) -> Recording:
    """Only from ``processing``: a stream that came back meanwhile is ``recording`` again."""
    if recording.status is Status.COMPLETED:
        return recording
    if recording.status is not Status.PROCESSING:
        raise Conflict(f"A recording that is {recording.status} cannot become completed")
    return replace(
        recording,
        status=Status.COMPLETED,
        file_path=completion.file_path,
        thumbnail_path=completion.thumbnail_path,
        duration=completion.duration,
        file_size=completion.file_size,
        completed_at=completion.completed_at,
        gaps=tuple(completion.gaps),
        renditions=tuple(completion.renditions),
        error=None,
        resumable=resumable,
    )


def failed(recording: Recording, error: str) -> Recording:
    if recording.status is Status.FAILED:
        return recording
    if recording.status is Status.COMPLETED:
        raise Conflict("The recording is completed")
    if recording.file_path is not None:
        # What was completed before the stream came back is still there.
        return replace(recording, status=Status.COMPLETED, error=storable(error))
    return replace(recording, status=Status.FAILED, error=storable(error))


def described(recording: Recording, title: str | None, user_id: str | None) -> Recording:
    return replace(recording, title=title, user_id=user_id)


def kept(recording: Recording, keep: bool) -> Recording:
    return replace(recording, keep=keep)


def linked(recording: Recording, video_id: UUID | None) -> Recording:
    return replace(recording, video_id=video_id)


def cancelled(recording: Recording, reason: str) -> Recording:
    if recording.publishing and not recording.status.is_final:
        raise Conflict("The recording is being published: delete it once it is completed")
    return failed(recording, reason)


def retried(recording: Recording, *, has_ledger: bool) -> Recording:
    if recording.status is Status.COMPLETED:
        raise Conflict("The recording is completed")
    if recording.status is not Status.FAILED:
        return recording
    if has_ledger:
        raise Conflict("What is left of the recording is being removed: try again in a moment")
    return replace(
        recording,
        status=Status.RECORDING,
        error=None,
        publishing=False,
        duration=0,
        progress=Progress(),
    )


def deleted(recording: Recording, now: datetime, *, spare_kept: bool = False) -> Recording:
    if spare_kept and recording.keep:
        raise Conflict("The recording is to be kept")
    if not recording.status.is_final:
        raise Conflict(f"The recording is {recording.status}: cancel it first")
    return replace(recording, deleted_at=now, resumable=False)


def settled(recording: Recording) -> Recording:
    """Its ledger is gone: nothing can be added any more."""
    require_final(recording)
    return replace(recording, resumable=False)


def named(recording: Recording, name: str) -> Recording:
    return replace(recording, object_name=name)


def touched(recording: Recording, at: datetime) -> Recording:
    return replace(recording, updated_at=at)


def require_final(recording: Recording) -> None:
    if not recording.status.is_final:
        raise Conflict(f"The recording is {recording.status}: its ledger is needed")


def refuse_final(recording: Recording) -> None:
    if recording.status.is_final:
        raise Conflict(f"The recording is {recording.status}")
