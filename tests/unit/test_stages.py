"""Which stage of a worker's step has the time."""

import threading
import time

import pytest

from pipeline import stages
from pipeline.stages import counted, stage, timed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(stages.time, "perf_counter", lambda: now[0])
    return now


def test_a_stage_inside_another_has_its_own_time(clock: list[float]) -> None:
    with counted() as spent:
        with stage("demux"):
            clock[0] += 1
            with stage("mux"):
                clock[0] += 10
            clock[0] += 100
        clock[0] += 1000
    assert spent.seconds == {"demux": 101, "mux": 10}


def test_a_stage_that_fails_ends(clock: list[float]) -> None:
    def fail() -> None:
        with stage("mux"):
            clock[0] += 1
            raise RuntimeError("no room")

    with counted() as spent:
        with stage("demux"), pytest.raises(RuntimeError, match="no room"):
            fail()
        with stage("upload"):
            clock[0] += 10
    assert spent.seconds == {"mux": 1, "demux": 0, "upload": 10}


def test_a_timed_call_takes_its_time_from_the_stage_around_it(clock: list[float]) -> None:
    def write(seconds: float) -> float:
        clock[0] += seconds
        return seconds

    with counted() as spent, stage("demux"):
        mux = timed("mux", write)
        clock[0] += 1
        assert [mux(10), mux(seconds=20)] == [10, 20]
        clock[0] += 100
    assert spent.seconds == {"demux": 101, "mux": 30}


def test_nothing_is_counted_outside(clock: list[float]) -> None:
    def work() -> None:
        clock[0] += 1

    assert timed("mux", work) is work
    with stage("demux"):
        work()
    with counted() as spent:
        pass
    assert spent.seconds == {}


def test_other_threads_do_not_count() -> None:
    def work() -> None:
        with stage("upload"):
            time.sleep(0.01)

    with counted() as spent, stage("waiting"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(10)
    assert set(spent.seconds) == {"waiting"}
