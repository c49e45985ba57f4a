"""Where the time of a worker's step goes, by stage, without passing a watch through all code."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Stages:
    """``seconds`` of wall time by stage. A stage inside another takes its time from that one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage = ""
        self._since = 0.0

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        outer = self._stage
        self._go_on_with(stage)
        try:
            yield
        finally:
            self._go_on_with(outer)

    def move(self, stage: str, seconds: float) -> None:
        """Of the running stage, which has just spent them on another."""
        self._since += seconds
        self._add(stage, seconds)

    def _go_on_with(self, stage: str) -> None:
        now = time.perf_counter()
        if self._stage:
            self._add(self._stage, now - self._since)
        self._stage, self._since = stage, now

    def _add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


# Of this thread: what others do meanwhile is not waited for, or counted as that.
_current: ContextVar[Stages | None] = ContextVar("stages", default=None)


@contextmanager
def counted() -> Iterator[Stages]:
    """Count the stages of what this thread does inside."""
    stages = Stages()
    token = _current.set(stages)
    try:
        yield stages
    finally:
        _current.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Counted only inside of ``counted``."""
    stages = _current.get()
    if stages is None:
        yield
        return
    with stages.of(name):
        yield


def timed(name: str, work: Callable[_P, _T]) -> Callable[_P, _T]:
    """``work`` as a stage of its own, at a cost that calls for each packet can bear."""
    stages = _current.get()
    if stages is None:
        return work
    clock, move = time.perf_counter, stages.move

    def timed_work(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        begin = clock()
        result = work(*args, **kwargs)
        move(name, clock() - begin)
        return result

    return timed_work
