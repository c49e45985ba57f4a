"""The life of a stream that is taken in, as a pure fold: what is known of it, and what each event
makes of that. Whoever calls writes the result down before acting on it.

A *broadcast* is what becomes one playlist; a *run* of it is one connection of its publisher.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pipeline.model import EventKind, Origin, StreamEvent


class Phase(StrEnum):
    """``LOST``: the publisher may come back within the window. ``ENDING``: what is left is stored,
    and the end not told yet."""

    WAITING = "waiting"
    LIVE = "live"
    LOST = "reconnecting"
    ENDING = "ending"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a caller says of a stream: ``status`` is ``waiting``, ``live`` or ``stopped``.
    ``only_own``: the caller may speak of streams of ``user_id`` only."""

    stream_id: str
    status: str
    stream_key: str | None = None
    user_id: str | None = None
    title: str | None = None
    only_own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest:
    """``secret``: who knows it may publish. ``port``: of its SRT listener. ``started_at``: of the
    broadcast; ``resumed_at``: of what was told last as a start. ``last_at``: when its publisher was
    lost last. ``runs``: how many have begun."""

    stream_id: str
    stream_key: str
    secret: str
    port: int
    asked_at: datetime
    user_id: str | None = None
    title: str | None = None
    phase: Phase = Phase.WAITING
    broadcast: str | None = None
    runs: int = 0
    started_at: datetime | None = None
    resumed_at: datetime | None = None
    last_at: datetime | None = None
    is_start_told: bool = False
    protocol: str | None = None

    @property
    def is_active(self) -> bool:
        return self.phase is not Phase.ENDED

    @property
    def listens(self) -> bool:
        return self.phase in (Phase.WAITING, Phase.LIVE, Phase.LOST)


def may_speak(notice: Notice, state: Ingest) -> bool:
    """Whether whoever gave the notice may speak of this stream, whatever its phase is."""
    return not notice.only_own or notice.user_id == state.user_id


def asked_again(state: Ingest, notice: Notice, now: datetime) -> Ingest:
    """``waiting`` was said of it once more."""
    return replace(
        state,
        asked_at=now,
        user_id=notice.user_id or state.user_id,
        title=notice.title or state.title,
        phase=Phase.WAITING if state.phase is Phase.ENDED else state.phase,
    )


def connected(state: Ingest, protocol: str, now: datetime, window: timedelta) -> Ingest:
    """A publisher is there: another run of the broadcast, or the first of the next one."""
    assert state.listens
    live = replace(state, phase=Phase.LIVE, protocol=protocol, runs=state.runs + 1)
    if state.phase is not Phase.WAITING:
        return live
    if state.broadcast is not None and state.last_at is not None and now - state.last_at <= window:
        # Its end was told, and is taken back by another start.
        return replace(live, resumed_at=now, is_start_told=False)
    return replace(
        live,
        broadcast=f"{now.astimezone(UTC):%Y%m%dT%H%M%S%f}"[:-3],
        runs=1,
        started_at=now,
        resumed_at=now,
        is_start_told=False,
        last_at=None,
    )


def disconnected(state: Ingest, now: datetime, *, has_media: bool) -> Ingest:
    """Its publisher is gone. One who has sent nothing of use was none."""
    if state.phase is not Phase.LIVE:
        return state
    if not has_media:
        return replace(state, phase=Phase.WAITING, broadcast=None, runs=0, started_at=None)
    return replace(state, phase=Phase.LOST, last_at=now)


def stopped(state: Ingest, now: datetime) -> Ingest:
    """Somebody says that the broadcast is over."""
    match state.phase:
        case Phase.WAITING:
            return replace(state, phase=Phase.ENDED)
        case Phase.LIVE:
            return replace(state, phase=Phase.ENDING, last_at=now)
        case Phase.LOST:
            return replace(state, phase=Phase.ENDING)
    return state


def at_time(state: Ingest, now: datetime, window: timedelta, patience: timedelta) -> Ingest:
    """What time alone does. ``patience``: how long a publisher is waited for that never came."""
    if state.phase is Phase.LOST and state.last_at is not None and now - state.last_at > window:
        return replace(state, phase=Phase.ENDING)
    if state.phase is Phase.WAITING and now - state.asked_at > patience:
        return replace(state, phase=Phase.ENDED)
    return state


def restarted(state: Ingest, now: datetime) -> Ingest:
    """The process that took it in is another one now: nobody could publish meanwhile."""
    if state.phase in (Phase.LIVE, Phase.LOST):
        return replace(state, phase=Phase.LOST, last_at=now)
    return state


def finished(state: Ingest) -> Ingest:
    return replace(state, phase=Phase.ENDED)


def start_event(state: Ingest) -> StreamEvent:
    assert state.resumed_at is not None
    return _event(state, EventKind.STARTED, state.resumed_at)


def end_event(state: Ingest) -> StreamEvent:
    assert state.last_at is not None
    return _event(state, EventKind.ENDED, state.last_at)


def _event(state: Ingest, kind: EventKind, at: datetime) -> StreamEvent:
    return StreamEvent(
        kind=kind,
        stream_id=state.stream_id,
        stream_key=state.stream_key,
        user_id=state.user_id,
        occurred_at=at,
        origin=Origin.INGEST,
        started_at=state.resumed_at if kind is EventKind.ENDED else None,
    )
