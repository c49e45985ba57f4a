"""Which worker gets which job, and what becomes of a job whose worker dies.

Knows nothing of Ray: whoever has workers hands in how they are asked (``Workers``).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import structlog

from actors import names
from actors.board import Board, Entry
from actors.fair_queue import FairQueue, Urgency
from pipeline.errors import JobIsPoison, WorkerLost
from pipeline.jobs import Answer, Job
from pipeline.measured import PoolMeasure, Waiting
from pipeline.metrics import COUNTS, JOBS, WORKER_DEATHS

SLOTS = 2
"""Jobs that a worker has at the same time."""
MAX_DEATHS = 3

log = structlog.get_logger()


class Workers(Protocol):
    """Workers by number."""

    async def ask(self, number: int, job: Job, name: str) -> Answer:
        """``name``: of the job, for people. Raises the job's ``VodrayError``, ``WorkerLost`` when
        the worker died of it, or ``WorkerAway``."""

    async def wait_alive(self, number: int) -> None:
        """Until a worker that died answers again, however long that takes: a job sent before would
        fail undone, and be poison for want of a node."""


class WorkerAway(WorkerLost):
    """The worker was not there when the job came: it has not died of it."""


@dataclass(slots=True)
class _Waiting:
    """``deaths``: how many workers died while they did the job."""

    job: Job
    recording: str
    urgency: Urgency
    answer: "asyncio.Future[Answer]"
    entry: Entry
    deaths: int = 0

    @property
    def name(self) -> str:
        """Ray's dashboard counts what has the same name: so it shows how far a recording is."""
        return f"{self.entry.kind} of {names.supervisor(self.recording)}"

    @property
    def slots(self) -> int:
        """A job whose worker died gets a worker for itself: if that dies too, it was this job."""
        return SLOTS if self.deaths else 1


class Assigner:
    """The queue of jobs in front of ``workers``. Belongs to one event loop. ``board``: who has
    which. ``jobs``: how many wait or run."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.board = Board()
        self.jobs = 0
        self._idle: Counter[int] = Counter()
        self._resting: dict[int, asyncio.Event] = {}
        # With how many jobs in hand: a call of such a one waits until it has found a CPU.
        self._lost: Counter[int] = Counter()
        self._queue: FairQueue[_Waiting] = FairQueue()
        self._running: set[asyncio.Task[None]] = set()

    def add(self, numbers: Iterable[int]) -> None:
        """Further workers that may be asked, or such that may be asked again."""
        for number in numbers:
            if self._resting.pop(number, None) is None:
                self._idle[number] = SLOTS
        self._assign()

    def measure(self) -> PoolMeasure:
        waiting = {urgency.name.lower(): Waiting() for urgency in Urgency}
        now = time.monotonic()
        for urgency, one in self._queue.waiting():
            if not one.answer.done():
                name = urgency.name.lower()
                waiting[name] = Waiting(
                    jobs=waiting[name].jobs + 1,
                    oldest_s=max(waiting[name].oldest_s, now - one.entry.since),
                )
        return PoolMeasure(
            workers=len(self._idle),
            busy=sum(idle < SLOTS for idle in self._idle.values()),
            running=len(self._running),
            waiting=waiting,
            counted=COUNTS.all(),
        )

    def remove(self, number: int) -> None:
        """A worker that rests will not be back."""
        self._idle.pop(number, None)
        self._resting.pop(number, None)

    async def rest(self, number: int) -> None:
        """No further job for this worker until it is added again. Returns once it has none."""
        done = self._resting[number] = asyncio.Event()
        self._tell_rested(number)
        await done.wait()

    def _tell_rested(self, number: int) -> None:
        if number in self._resting and self._idle[number] == SLOTS:
            self._resting[number].set()

    async def submit(self, job: Job, recording: str, urgency: Urgency) -> Answer:
        """Queue a job, wait for its answer.

        A job whose worker dies is done again. Raises the job's ``VodrayError``, or ``JobIsPoison``
        when ``MAX_DEATHS`` workers died of it.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        entry = self.board.queue(job, recording)
        waiting = _Waiting(job, recording, urgency, answer, entry)
        self.jobs += 1
        self._queue.push(waiting, recording, urgency)
        self._assign()
        try:
            return await answer
        finally:
            self.jobs -= 1
            is_answered = not answer.cancelled() and answer.exception() is None
            self.board.end(entry, answer.result() if is_answered else None)
            if not answer.cancelled():
                COUNTS.count(JOBS, entry.kind, _outcome(answer.exception()))

    def _assign(self) -> None:
        while self._queue and (
            awake := self._idle.keys() - self._resting.keys() - (+self._lost).keys()
        ):
            # The worker with most free slots, so that the first jobs get a core each.
            number = max(awake, key=lambda n: (self._idle[n], -n))
            waiting = self._queue.peek()
            if self._idle[number] < waiting.slots:
                return
            self._queue.pop()
            if waiting.answer.cancelled():
                continue
            self._idle[number] -= waiting.slots
            self.board.begin(waiting.entry, number)
            task = asyncio.get_running_loop().create_task(self._run(waiting, number))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, waiting: _Waiting, number: int) -> None:
        slots = waiting.slots
        try:
            answer = await self._workers.ask(number, waiting.job, waiting.name)
            _settle(waiting.answer, answer)
        except WorkerLost as error:
            self._lost[number] += 1
            self._again(waiting, error)
            self._assign()
            await self._workers.wait_alive(number)
            self._lost[number] -= 1
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the answer
            _settle(waiting.answer, error)
        finally:
            self._idle[number] += slots
            self._tell_rested(number)
            self._assign()

    def _again(self, waiting: _Waiting, error: WorkerLost) -> None:
        if isinstance(error, WorkerAway):
            log.warning("worker_away", recording=waiting.recording, error=str(error))
        else:
            waiting.deaths += 1
            COUNTS.count(WORKER_DEATHS)
            told = {"deaths": waiting.deaths, "error": str(error)}
            log.warning("worker_died", recording=waiting.recording, **told)
        if waiting.deaths < MAX_DEATHS:
            self.board.again(waiting.entry)
            self._queue.push(waiting, waiting.recording, waiting.urgency)
        else:
            _settle(waiting.answer, JobIsPoison(f"{MAX_DEATHS} workers died of it: {error}"))


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "done"
    return "poison" if isinstance(error, JobIsPoison) else "failed"


def _settle(future: "asyncio.Future[Answer]", result: Answer | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
