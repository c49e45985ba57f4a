"""Which recording an event belongs to: every branch, as cases.

Times are seconds after ``T0``; recordings are written newest first. The letter in ``want`` names
the recording that is meant.
"""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from uuid import UUID, uuid5

import pytest

from pipeline.model import EndReason, EventKind, Origin, Recording, Status, StreamEvent
from pipeline.stores.folds import attached, created_from
from pipeline.tasks import Attach, Create, Decision, Ignore, LookAtSource, Wait, resolve

T0 = datetime(2025, 10, 5, 18, tzinfo=UTC)
WINDOW = timedelta(seconds=60)
NAMES = UUID(int=0)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def started(seconds: float, **more: object) -> StreamEvent:
    return _event(EventKind.STARTED, seconds, **more)


def ended(seconds: float, began: float | None = None, **more: object) -> StreamEvent:
    return _event(EventKind.ENDED, seconds, started_at=None if began is None else at(began), **more)


def _event(kind: EventKind, seconds: float, **more: object) -> StreamEvent:
    fields = {"stream_id": "s", "origin": Origin.WEBHOOK, **more}
    return StreamEvent(kind=kind, occurred_at=at(seconds), **fields)


def recording(
    name: str,
    start: float,
    end: float | None = None,
    *,
    by: EndReason = EndReason.EVENT,
    status: Status = Status.RECORDING,
    last_start: float | None = None,
    only_end_told: bool = False,
    fingerprint: str | None = None,
    source: str | None = None,
    publishing: bool = False,
    resumable: bool = False,
) -> Recording:
    return Recording(
        id=uuid5(NAMES, name),
        stream_id="s",
        status=status,
        started_at=at(start),
        created_at=at(start),
        updated_at=at(start),
        ended_at=None if end is None else at(end),
        end_reason=None if end is None else by,
        last_start_at=None if only_end_told else at(start if last_start is None else last_start),
        fingerprint=fingerprint,
        source=source,
        publishing=publishing,
        resumable=resumable,
    )


def live(name: str, start: float, **more: object) -> Recording:
    return recording(name, start, **more)


def finishing(name: str, start: float, end: float, **more: object) -> Recording:
    return recording(name, start, end, status=Status.PROCESSING, **more)


def done(name: str, start: float, end: float, **more: object) -> Recording:
    return recording(name, start, end, status=Status.COMPLETED, **more)


def failed(name: str, start: float, end: float | None = None, **more: object) -> Recording:
    return recording(name, start, end, status=Status.FAILED, **more)


def short(decision: Decision) -> str:
    """``attach a``, ``ends a``, ``resumes a``, ``look a``, ``create``, ``wait`` or ``ignore``."""
    match decision:
        case Attach(recording_id=id_, ends=ends, resumes=resumes):
            return f"{'ends' if ends else 'resumes' if resumes else 'attach'} {_letter(id_)}"
        case LookAtSource(last=id_):
            return f"look {_letter(id_)}"
        case Create():
            return "create"
        case Wait():
            return "wait"
        case Ignore():
            return "ignore"


def _letter(id_: UUID) -> str:
    return next(letter for letter in "abc" if uuid5(NAMES, letter) == id_)


STALL, ENDLIST = EndReason.STALL, EndReason.ENDLIST
LATER_OPEN = [live("b", 500), done("a", 0, 100)]
POINT = [finishing("a", 100, 100, only_end_told=True)]

CASES = [
    ("start of a first broadcast", started(0), [], "create"),
    ("end of a broadcast that nobody knows", ended(100), [], "create"),
    # a broadcast that is on
    ("start twice", started(0), [live("a", 0)], "attach a"),
    ("start from another sender, later", started(3), [live("a", 0)], "attach a"),
    ("start from another sender, earlier", started(0), [live("a", 3)], "attach a"),
    ("a reconnect that nobody told the end of", started(300), [live("a", 0)], "attach a"),
    ("its end", ended(100), [live("a", 0)], "ends a"),
    ("its end at the second of its start", ended(0), [live("a", 0)], "ends a"),
    ("its end, with its start", ended(100, began=0), [live("a", 0)], "ends a"),
    ("an end before it began", ended(-200), [live("a", 0)], "ignore"),
    ("the end before its reconnect, late", ended(50), [live("a", 0, last_start=55)], "attach a"),
    ("the end after its reconnect", ended(90), [live("a", 0, last_start=55)], "ends a"),
    ("told end of one that stalled", ended(95), [finishing("a", 0, 90, by=STALL)], "ends a"),
    ("told end, long after it stalled", ended(900), [finishing("a", 0, 90, by=STALL)], "ends a"),
    # a broadcast that is being finished
    ("end twice", ended(100), [finishing("a", 0, 100)], "attach a"),
    ("end from another sender, later", ended(102), [finishing("a", 0, 100)], "ends a"),
    ("start, late", started(0), [finishing("a", 0, 100)], "attach a"),
    ("start at the second of its end", started(100), [finishing("a", 0, 100)], "attach a"),
    ("back within the window", started(160), [finishing("a", 0, 100)], "resumes a"),
    ("back soon after a stall", started(95), [finishing("a", 0, 90, by=STALL)], "resumes a"),
    ("back when published", started(160), [finishing("a", 0, 100, publishing=True)], "wait"),
    ("back when completed", started(160), [done("a", 0, 100, resumable=True)], "resumes a"),
    ("back when settled", started(160), [done("a", 0, 100)], "create"),
    ("back too late", started(161), [done("a", 0, 100, resumable=True)], "create"),
    (
        "back after it ended by itself",
        started(160),
        [done("a", 0, 100, by=ENDLIST, resumable=True)],
        "look a",
    ),
    ("back after the window", started(161), [finishing("a", 0, 100)], "create"),
    ("back long after a stall", started(900), [finishing("a", 0, 90, by=STALL)], "create"),
    ("end of a second one, source not seen", ended(900), [finishing("a", 0, 100)], "attach a"),
    (
        "end of a second one, source seen",
        ended(900),
        [finishing("a", 0, 100, fingerprint="x")],
        "look a",
    ),
    # two broadcasts, the second is on
    ("end of the first, again", ended(100), LATER_OPEN, "attach a"),
    ("end of the first, again, while it is being finished", ended(100),
     [live("b", 500), finishing("a", 0, 100)], "attach a"),
    ("start of the first, again", started(0), LATER_OPEN, "attach a"),
    ("end of the second", ended(600), LATER_OPEN, "ends b"),
    ("start of the second from another sender, earlier", started(490), LATER_OPEN, "attach b"),
    ("start of one between, of which nothing is left", started(300), LATER_OPEN, "ignore"),
    ("end of one between, of which nothing is left", ended(300), LATER_OPEN, "ignore"),
    ("one between with its own playlist", ended(300, hls_path="x/y.m3u8"), LATER_OPEN, "look b"),
    ("Kafka's late word of the first", ended(550, began=0), LATER_OPEN, "attach a"),
    ("Kafka's word of the second", ended(600, began=500), LATER_OPEN, "ends b"),
    # an end came first
    ("the start after the end", started(0), POINT, "attach a"),
    ("the end from another sender, earlier", ended(98), POINT, "attach a"),
    ("the end from another sender, with a start", ended(98, began=0), POINT, "attach a"),
    ("the end from another sender, later", ended(103), POINT, "ends a"),
    ("the start after the end of a second", started(500),
     [finishing("b", 600, 600, only_end_told=True), done("a", 0, 100)], "attach b"),
    # all is final
    ("start, late, of a finished one", started(0), [done("a", 0, 100)], "attach a"),
    ("end, late", ended(100), [done("a", 0, 100)], "attach a"),
    ("end from another sender, late", ended(130), [done("a", 0, 100)], "ends a"),
    ("Kafka's word of it, late", ended(900, began=0), [done("a", 0, 100)], "attach a"),
    ("a start right after a told end", started(101), [done("a", 0, 100)], "create"),
    ("a later start", started(900), [done("a", 0, 100)], "create"),
    ("a start near an end that nobody told", started(101), [done("a", 0, 100, by=STALL)], "look a"),
    ("a later start after an end that nobody told", started(900),
     [done("a", 0, 100, by=STALL)], "create"),
    ("the told end near an end of our own", ended(130), [done("a", 0, 100, by=STALL)], "ends a"),
    ("an end long after a told one", ended(900), [done("a", 0, 100)], "look a"),
    ("an end long after one of our own", ended(900), [done("a", 0, 100, by=STALL)], "look a"),
    ("Kafka's end of a second one", ended(900, began=500), [done("a", 0, 100)], "create"),
    ("Kafka's end of a reconnect", ended(900, began=120), [done("a", 0, 100)], "look a"),
    ("Kafka's late word after an end of our own", ended(900, began=0),
     [done("a", 0, 100, by=STALL)], "ends a"),
    ("an end before it, long ago", ended(-900), [done("a", 0, 100)], "ignore"),
    ("an end just before a short one", ended(-5), [done("a", 0, 10)], "ignore"),
    ("an end long before one whose start is not known", ended(-500), POINT, "ignore"),
    ("an end soon after the first of two", ended(130), LATER_OPEN, "ends a"),
    ("a start as long before the second as the window", started(440), LATER_OPEN, "attach b"),
    ("an end as long after the told one as the window", ended(160), [done("a", 0, 100)], "ends a"),
    ("late word, begun as it ended", ended(900, began=100), [done("a", 0, 100)], "attach a"),
    ("Kafka's word of a second one whose end came first", ended(600, began=500),
     [finishing("b", 603, 603, only_end_told=True), done("a", 0, 100)], "attach b"),
    ("a start that follows its end", ended(100, began=700), [done("a", 0, 100)], "attach a"),
    # failed ones
    ("end of one that failed early", ended(100), [failed("a", 0)], "look a"),
    ("Kafka's end of one that failed early", ended(100, began=0), [failed("a", 0)], "look a"),
    ("start, late, of one that failed early", started(0), [failed("a", 0)], "attach a"),
    ("a new try after a failure", started(900), [failed("a", 0)], "create"),
    ("end of one that failed at its end", ended(100), [failed("a", 0, 100)], "attach a"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "known", "want"), [pytest.param(*c[1:], id=c[0]) for c in CASES])
def test_what_an_event_means(event: StreamEvent, known: list[Recording], want: str) -> None:
    assert short(resolve(event, known, reconnect_window=WINDOW)) == want


LOOKS = [
    ("back after it ended by itself", started(160),
     [done("a", 0, 100, by=ENDLIST, resumable=True, fingerprint="x")], "y", "resumes a"),
    ("another word of what ended by itself", started(101),
     [done("a", 0, 100, by=ENDLIST, resumable=True, fingerprint="x")], "x", "attach a"),
    ("same broadcast", ended(900), [done("a", 0, 100, fingerprint="x")], "x", "attach a"),
    ("another broadcast", ended(900), [done("a", 0, 100, fingerprint="x")], "y", "create"),
    ("nothing there, end was told", ended(900), [done("a", 0, 100)], None, "create"),
    ("the told end of the same", ended(900), [done("a", 0, 100, by=STALL, fingerprint="x")], "x",
     "ends a"),
    ("nothing there, end was not told", ended(900), [done("a", 0, 100, by=STALL)], None, "ends a"),
    ("two without a fingerprint are not the same", started(101), [done("a", 0, 100, by=STALL)],
     None, "create"),
    ("an older one's playlist", ended(900), [done("b", 500, 600, fingerprint="y"),
     done("a", 0, 100, fingerprint="x")], "x", "attach a"),
    ("failed, now there is something", ended(100), [failed("a", 0)], "x", "create"),
    ("failed, still nothing", ended(100), [failed("a", 0)], None, "ends a"),
    ("own playlist, is that of the one that is on", ended(-300, hls_path="p"),
     [live("a", 0, fingerprint="x")], "x", "attach a"),
    ("own playlist, nothing there, must not end the one that is on", ended(-300, hls_path="p"),
     [live("a", 0, fingerprint="x")], None, "attach a"),
    ("own playlist, known under that name", ended(-300, hls_path="p"),
     [live("a", 0, source="p")], "x", "ignore"),
    ("no need to look", ended(100), [live("a", 0)], "x", "ends a"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("event", "known", "fingerprint", "want"), [pytest.param(*c[1:], id=c[0]) for c in LOOKS]
)
def test_what_it_means_after_a_look(
    event: StreamEvent, known: list[Recording], fingerprint: str | None, want: str
) -> None:
    decision = resolve(event, known, reconnect_window=WINDOW, looked=True, fingerprint=fingerprint)
    assert short(decision) == want


def play(events: list[StreamEvent]) -> list[Recording]:
    """The recordings, oldest first, after the events came in this order."""
    known: list[Recording] = []
    for number, event in enumerate(events):
        decision = resolve(event, known, reconnect_window=WINDOW, looked=True)
        if isinstance(decision, Create):
            id_ = uuid5(NAMES, str(number))
            known.insert(0, created_from(event, recording_id=id_, now=at(number), profile="copy"))
        elif isinstance(decision, Attach):
            known = [
                attached(r, event, decision) if r.id == decision.recording_id else r for r in known
            ]
    return sorted(known, key=lambda r: r.started_at)


BROADCASTS = {
    "both signs by both senders": (
        [started(0), started(2), ended(3600), ended(3602, began=0)],
        [(0, 3602)],
    ),
    "a reconnect": ([started(0), ended(100), started(130), ended(900)], [(0, 900)]),
    "start and end in one second": ([started(0), ended(0), started(0), ended(0)], [(0, 0)]),
    "two broadcasts": ([started(0), ended(100), started(500), ended(600)], [(0, 100), (500, 600)]),
    "ends only, from two senders": ([ended(100), ended(103), ended(101, began=0)], [(0, 103)]),
}


@pytest.mark.parametrize(("events", "want"), BROADCASTS.values(), ids=BROADCASTS)
def test_in_order(events: list[StreamEvent], want: list[tuple[float, float]]) -> None:
    assert [(r.started_at, r.ended_at) for r in play(events)] == [(at(s), at(e)) for s, e in want]


@pytest.mark.parametrize("name", ["both signs by both senders", "start and end in one second"])
def test_one_broadcast_gives_one_recording_in_any_order_and_twice(name: str) -> None:
    events, want = BROADCASTS[name]
    for order in permutations(events):
        found = play([*order, *order])
        assert [r.ended_at for r in found] == [at(want[0][1])], order
        assert found[0].started_at <= at(2), order


def test_late_copies_change_nothing_of_two_broadcasts() -> None:
    events, _ = BROADCASTS["two broadcasts"]
    before = play(events)
    for late in permutations(events):
        assert play([*events, *late]) == before


def test_a_reconnect_takes_the_end_back() -> None:
    (found,) = play([started(0), ended(100), started(130)])
    assert (found.ended_at, found.end_reason, found.status) == (None, None, Status.RECORDING)


def test_a_reconnect_whose_signs_came_the_wrong_way_round() -> None:
    (found,) = play([started(0), started(130), ended(100)])
    assert found.ended_at is None


def test_an_event_fills_in_what_was_not_known() -> None:
    (found,) = play(
        [
            started(0, origin=Origin.KAFKA),
            started(1, stream_key="k", user_id="u", hls_path="b/k.m3u8", profile="abr"),
            ended(9, stream_key="other"),
        ]
    )
    assert (found.stream_key, found.user_id, found.source) == ("k", "u", "b/k.m3u8")
    assert (found.profile, found.started_at) == ("copy", at(0))
