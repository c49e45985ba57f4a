"""The end of a stream, as a fold over looks at it."""

from typing import Any

import pytest

from pipeline.model import EndReason
from pipeline.progress import Look, Watch, advance, seconds_to_next_look


def look(now_s: float, **seen: Any) -> Look:
    usual = {
        "new_segments": 0,
        "endlist": False,
        "told": False,
        "readable": True,
        "target_duration_s": 4.0,
    }
    return Look(now_s=now_s, **{**usual, **seen})


def end_of(*looks: Look, stall_s: float = 90.0) -> tuple[float, EndReason] | None:
    """When the stream counts as ended, and why."""
    watch = Watch(changed_s=0.0)
    for seen in looks:
        watch, reason = advance(watch, seen, stall_timeout_s=stall_s)
        if reason is not None:
            return seen.now_s, reason
    return None


def test_endlist_ends_at_once_with_the_last_batch() -> None:
    assert end_of(look(1, new_segments=3, endlist=True)) == (1, EndReason.ENDLIST)
    assert end_of(look(1, endlist=True, told=True)) == (1, EndReason.EVENT)


def test_endlist_of_an_earlier_broadcast_ends_nothing() -> None:
    assert end_of(look(1, endlist=True, repeats=True)) is None
    assert end_of(look(1, endlist=True, repeats=True, told=True)) == (1, EndReason.EVENT)


def test_when_told_the_last_segments_get_time_to_appear() -> None:
    told = [look(t, told=True) for t in (10, 12, 13.9, 14)]
    assert end_of(*told) == (14, EndReason.EVENT)
    late = [look(10, told=True), look(13, told=True, new_segments=1), look(16, told=True)]
    assert end_of(*late) is None
    assert end_of(*late, look(17, told=True)) == (17, EndReason.EVENT)


@pytest.mark.parametrize(("target_s", "settle_s"), [(0.2, 1.0), (4.0, 4.0), (60.0, 10.0)])
def test_the_settle_time_is_bounded(target_s: float, settle_s: float) -> None:
    told = [look(100 + t / 10, told=True, target_duration_s=target_s) for t in range(200)]
    found = end_of(*told)
    assert found is not None
    assert found[0] - 100 == pytest.approx(settle_s, abs=0.11)


def test_an_end_that_is_taken_back_is_forgotten() -> None:
    looks = [look(10, told=True), look(11), look(20, told=True), look(21, told=True)]
    assert end_of(*looks) is None


def test_silence_is_a_stall_and_absence_says_so() -> None:
    quiet = [look(t) for t in range(0, 200, 10)]
    assert end_of(*quiet) == (90, EndReason.STALL)
    alive = [look(t, new_segments=t % 80 == 0) for t in range(0, 2000, 10)]
    assert end_of(*alive) is None
    gone = [look(t, readable=t < 50) for t in range(0, 200, 10)]
    assert end_of(*gone) == (90, EndReason.GONE)


def test_waits_between_looks() -> None:
    assert seconds_to_next_look(look(0, new_segments=1), 10.0) == 4.0
    assert seconds_to_next_look(look(0), 10.0) == 2.0
    assert seconds_to_next_look(look(0, new_segments=1), 3.0) == 3.0
    assert seconds_to_next_look(look(0, target_duration_s=0.0), 10.0) == 0.5
    assert seconds_to_next_look(look(0, told=True), 10.0) == 0.5
    assert seconds_to_next_look(look(0, told=True), 0.2) == 0.2
