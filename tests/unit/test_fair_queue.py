"""Order of waiting jobs."""

from hypothesis import given
from hypothesis import strategies as st

from actors.fair_queue import FairQueue, Urgency


def drained(queue: FairQueue[str]) -> list[str]:
    return [queue.pop() for _ in range(len(queue))]


def test_the_end_of_a_recording_goes_before_live_and_live_before_backlog() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push("old", "a", Urgency.BACKLOG)
    queue.push("live", "b", Urgency.LIVE)
    queue.push("join", "c", Urgency.FINISH)
    assert drained(queue) == ["join", "live", "old"]


def test_a_long_recording_does_not_hold_up_a_short_one() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(100):
        queue.push(f"long{number}", "long", Urgency.BACKLOG)
    assert [queue.pop() for _ in range(10)] == [f"long{n}" for n in range(10)]
    for number in range(3):
        queue.push(f"short{number}", "short", Urgency.BACKLOG)
    following = [queue.pop() for _ in range(6)]
    assert [name for name in following if name.startswith("short")] == [
        "short0",
        "short1",
        "short2",
    ]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Urgency)), st.booleans())))
def test_nothing_is_lost_and_each_recording_keeps_its_order(
    pushes: list[tuple[str, Urgency, bool]],
) -> None:
    queue: FairQueue[tuple[str, Urgency, int]] = FairQueue()
    out = []
    for number, (recording, urgency, pops) in enumerate(pushes):
        queue.push((recording, urgency, number), recording, urgency)
        if pops:
            out.append(queue.pop())
    out += [queue.pop() for _ in range(len(queue))]
    assert sorted(number for _, _, number in out) == list(range(len(pushes)))
    for recording in "abc":
        for urgency in Urgency:
            mine = [n for r, u, n in out if (r, u) == (recording, urgency)]
            assert mine == sorted(mine)
