"""When has a stream ended? The life of a source as a pure fold over what is seen of it."""

from dataclasses import dataclass, replace

from pipeline.model import EndReason

MIN_SETTLE_S = 1.0
MAX_SETTLE_S = 10.0
# A store that is away for longer does not hold up the end any more.
MAX_AWAY_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the source at ``now_s`` (any clock that only goes forward).

    ``told``: an event said that the stream has ended. ``repeats``: the source still shows what an
    earlier recording holds. ``readable``: the playlist could be read. ``away``: it could not, since
    the object store does not answer, which says nothing about the stream; ``silent``: another
    server does not; ``pending``: it has been asked and may still answer.
    """

    now_s: float
    new_segments: int
    endlist: bool
    told: bool
    readable: bool
    target_duration_s: float
    repeats: bool = False
    away: bool = False
    silent: bool = False
    pending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is remembered between looks. ``told_s``: when the end was first told; ``away_s``: how
    long the store has been away altogether since there was something new."""

    changed_s: float
    told_s: float | None = None
    looked_s: float | None = None
    away_s: float = 0.0


def advance(watch: Watch, look: Look, *, stall_timeout_s: float) -> tuple[Watch, EndReason | None]:
    """The end's reason once the stream has ended, else None.

    ENDLIST ends it at once. When told, segments that are on their way still get a target duration
    to appear (the settle time), or longer where nobody can tell whether they have.
    """
    since_s = look.now_s - (look.now_s if watch.looked_s is None else watch.looked_s)
    watch = replace(watch, looked_s=look.now_s)
    if look.new_segments:
        watch = replace(watch, changed_s=look.now_s, away_s=0.0)
    elif look.away and watch.away_s < MAX_AWAY_S:
        watch = _later(watch, since_s)
    watch = replace(watch, told_s=(watch.told_s or look.now_s) if look.told else None)
    if look.pending:
        return watch, None
    if look.endlist and (look.told or not look.repeats):
        return watch, EndReason.EVENT if look.told else EndReason.ENDLIST
    if watch.told_s is not None:
        settle_s = min(max(look.target_duration_s, MIN_SETTLE_S), MAX_SETTLE_S)
        if look.silent:
            settle_s = max(settle_s, stall_timeout_s)
        quiet_s = look.now_s - max(watch.told_s, watch.changed_s)
        return watch, EndReason.EVENT if quiet_s >= settle_s else None
    if look.now_s - watch.changed_s >= stall_timeout_s:
        return watch, EndReason.STALL if look.readable else EndReason.GONE
    return watch, None


def _later(watch: Watch, seconds: float) -> Watch:
    """As if the time had not passed."""
    return replace(
        watch,
        changed_s=watch.changed_s + seconds,
        told_s=None if watch.told_s is None else watch.told_s + seconds,
        away_s=watch.away_s + seconds,
    )


def seconds_to_next_look(look: Look, longest_s: float) -> float:
    """RFC 8216 6.3.4: a target duration after a change, half of it after none."""
    if look.told:
        return min(0.5, longest_s)
    wait = look.target_duration_s if look.new_segments else look.target_duration_s / 2
    return min(max(wait, 0.5), longest_s)
