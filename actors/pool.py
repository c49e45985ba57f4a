"""The pool: all worker actors of the cluster, and the queue of jobs in front of them.

One core, one worker. Jobs wait here, not in Ray, so that the most urgent goes next and no recording
holds up another (``actors.fair_queue``).
"""

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import ray
import structlog

from actors import names, worker
from actors.fair_queue import FairQueue, Urgency
from actors.faults import LOST, actor_errors
from actors.worker import SLOTS
from pipeline.errors import JobIsPoison, WorkerLost
from pipeline.jobs import Answer, Job

JOB_TIMEOUT_S = 900.0
MAX_DEATHS = 3
_PING_TIMEOUT_S = 20.0
_PING_EVERY_S = 0.2
_RESTART_TIMEOUT_S = 120.0
_RESIZE_EVERY_S = 5.0
_RESIZE_RETRY_S = 0.2

log = structlog.get_logger()


@dataclass(slots=True)
class _Waiting:
    """``deaths``: how many workers died while they did the job."""

    job: Job
    recording: str
    urgency: Urgency
    answer: "asyncio.Future[Answer]"
    deaths: int = 0

    @property
    def slots(self) -> int:
        """A job whose worker died gets a worker for itself: if that dies too, it was this job."""
        return SLOTS if self.deaths else 1


class Pool:
    """Async actor. ``workers``: how many; 0: one per CPU of the cluster, also when it grows.
    ``job_timeout_s``: a worker that takes longer is killed."""

    def __init__(self, workers: int = 0, job_timeout_s: float = JOB_TIMEOUT_S) -> None:
        self._fixed, self._job_timeout_s = workers, job_timeout_s
        self._handles: dict[int, Any] = {}
        self._idle: Counter[int] = Counter()
        self._queue: FairQueue[_Waiting] = FairQueue()
        self._running: set[asyncio.Task[None]] = set()
        self._resizer = asyncio.get_running_loop().create_task(self._resize_for_ever())

    async def submit(self, job: Job, recording: str, urgency: Urgency) -> Answer:
        """Queue a job, wait for its answer.

        A job whose worker dies is done again. Raises the job's ``VodrayError``, or ``JobIsPoison``
        when ``MAX_DEATHS`` workers died of it.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(job, recording, urgency, answer)
        self._queue.push(waiting, recording, urgency)
        self._assign()
        return await answer

    async def slots(self) -> int:
        """How many jobs can run at the same time."""
        return max(1, len(self._handles)) * SLOTS

    async def check(self) -> None:
        """Raise ``WorkerLost`` unless at least one worker answers."""
        pings = [_as_future(handle.ping.remote()) for handle in self._handles.values()]
        for answer in asyncio.as_completed(pings, timeout=_PING_TIMEOUT_S):
            with contextlib.suppress(*LOST, TimeoutError):
                await answer
                return
        raise WorkerLost("No worker answers")

    def _assign(self) -> None:
        while self._queue and self._idle:
            # The worker with most free slots, so that the first jobs get a core each.
            number = max(self._idle, key=lambda n: (self._idle[n], -n))
            waiting = self._queue.peek()
            if self._idle[number] < waiting.slots:
                return
            self._queue.pop()
            if waiting.answer.cancelled():
                continue
            self._idle[number] -= waiting.slots
            task = asyncio.get_running_loop().create_task(self._run(waiting, number))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, waiting: _Waiting, number: int) -> None:
        slots = waiting.slots
        try:
            _settle(waiting.answer, await self._ask(number, waiting.job))
        except WorkerLost as error:
            self._again(waiting, error)
            await self._wait_alive(number)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the answer
            _settle(waiting.answer, error)
        finally:
            self._idle[number] += slots
            self._assign()

    async def _ask(self, number: int, job: Job) -> Answer:
        with actor_errors(f"worker {number}"):
            call = self._handles[number].run.remote(job)
            try:
                answer: Answer = await asyncio.wait_for(_as_future(call), self._job_timeout_s)
            except TimeoutError as error:
                ray.kill(self._handles[number], no_restart=False)
                raise WorkerLost(
                    f"worker {number} took over {self._job_timeout_s:g} s (JOB_TIMEOUT)"
                ) from error
            return answer

    async def _wait_alive(self, number: int) -> None:
        """Until the restarted worker answers: a job sent before would fail without being done."""
        give_up = time.monotonic() + _RESTART_TIMEOUT_S
        while time.monotonic() < give_up:
            try:
                await asyncio.wait_for(
                    _as_future(self._handles[number].ping.remote()), _PING_TIMEOUT_S
                )
                return
            except (*LOST, TimeoutError):
                await asyncio.sleep(_PING_EVERY_S)

    def _again(self, waiting: _Waiting, error: WorkerLost) -> None:
        waiting.deaths += 1
        log.warning(
            "worker_died", recording=waiting.recording, deaths=waiting.deaths, error=str(error)
        )
        if waiting.deaths < MAX_DEATHS:
            self._queue.push(waiting, waiting.recording, waiting.urgency)
        else:
            _settle(waiting.answer, JobIsPoison(f"{MAX_DEATHS} workers died of it: {error}"))

    async def _resize_for_ever(self) -> None:
        while True:
            try:
                self._resize(self._fixed or cluster_cpus())
                await asyncio.sleep(_RESIZE_EVERY_S)
            except ValueError as error:
                # Workers of a pool that has just died hold their names for a moment.
                log.warning("worker_not_started", error=str(error))
                await asyncio.sleep(_RESIZE_RETRY_S)

    def _resize(self, wanted: int) -> None:
        for number in range(max(1, wanted)):
            if number not in self._handles:
                self._handles[number] = _start_worker(number)
                self._idle[number] = SLOTS
        self._assign()


def _start_worker(number: int) -> Any:
    return worker.WorkerActor.options(name=names.worker(number), **worker.OPTIONS).remote()


def cluster_cpus() -> int:
    """How many there are by now."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 1))


async def _as_future(call: Any) -> Any:
    return await call


def _settle(future: "asyncio.Future[Answer]", result: Answer | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


PoolActor = ray.remote(Pool)
# A waiting job is a call that has not returned: thousands may wait.
OPTIONS: dict[str, Any] = {"num_cpus": 0, "max_concurrency": 10_000, "max_restarts": -1}
