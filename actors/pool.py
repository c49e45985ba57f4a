"""The pool: all worker actors of the cluster, and the queue of jobs in front of them.

One core, one worker. Jobs wait here, not in Ray, so that the most urgent goes next and no recording
holds up another (``actors.assigner``, ``actors.fair_queue``).
"""

import asyncio
import contextlib
import time
from typing import Any

import ray
import structlog

from actors import names, worker
from actors.assigner import SLOTS, Assigner
from actors.fair_queue import Urgency
from actors.faults import LOST, actor_errors
from pipeline.activity import Activity, WorkerActivity
from pipeline.errors import VodrayError, WorkerLost
from pipeline.jobs import Answer, Job
from pipeline.measured import PoolMeasure
from pipeline.metrics import COUNTS, Counted

JOB_TIMEOUT_S = 900.0
_PING_TIMEOUT_S = 20.0
_PING_EVERY_S = 0.2
_RESTART_TIMEOUT_S = 120.0
_NODE_TIMEOUT_S = 0.5
_RESIZE_EVERY_S = 5.0
_RESIZE_RETRY_S = 0.2

log = structlog.get_logger()


class Pool:
    """Async actor. ``workers``: how many; 0: one per CPU of the cluster, also when it grows.
    ``job_timeout_s``: a worker that takes longer is killed."""

    def __init__(self, workers: int = 0, job_timeout_s: float = JOB_TIMEOUT_S) -> None:
        self._fixed = workers
        self._workers = _WorkerActors(job_timeout_s)
        self._assigner = Assigner(self._workers)
        self._resizer = asyncio.get_running_loop().create_task(self._resize_for_ever())

    async def submit(self, job: Job, recording: str, urgency: Urgency) -> Answer:
        """See ``Assigner.submit``."""
        return await self._assigner.submit(job, recording, urgency)

    async def slots(self) -> int:
        """How many jobs can run at the same time."""
        return max(1, len(self._workers.handles)) * SLOTS

    async def check(self) -> None:
        """Raise ``WorkerLost`` unless at least one worker answers."""
        pings = [_as_future(handle.ping.remote()) for handle in self._workers.handles.values()]
        for answer in asyncio.as_completed(pings, timeout=_PING_TIMEOUT_S):
            with contextlib.suppress(*LOST, TimeoutError):
                await answer
                return
        raise WorkerLost("No worker answers")

    async def activity(self, recording: str | None = None) -> Activity:
        """What the workers do, of one recording or of all."""
        await self._workers.learn_nodes()
        nodes = self._workers.nodes
        workers = [
            WorkerActivity(number=number, name=names.worker(number), node=nodes.get(number))
            for number in sorted(self._workers.handles)
        ]
        return self._assigner.board.tell(workers, recording)

    async def count(self, counted: Counted) -> None:
        """What another process has counted: the totals are here."""
        COUNTS.add(counted)

    async def measure(self) -> PoolMeasure:
        return self._assigner.measure()

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
        started = []
        try:
            for number in range(max(1, wanted)):
                if number not in self._workers.handles:
                    self._workers.handles[number] = _start_worker(number)
                    started.append(number)
        finally:
            self._assigner.add(started)


class _WorkerActors:
    """Those of Ray. See ``Workers``."""

    def __init__(self, job_timeout_s: float) -> None:
        self._job_timeout_s = job_timeout_s
        self.handles: dict[int, Any] = {}
        self.nodes: dict[int, str] = {}

    async def ask(self, number: int, job: Job) -> Answer:
        with actor_errors(f"worker {number}"):
            call = self.handles[number].run.remote(job)
            try:
                answer: Answer | VodrayError
                answer, counted = await asyncio.wait_for(_as_future(call), self._job_timeout_s)
            except TimeoutError as error:
                ray.kill(self.handles[number], no_restart=False)
                raise WorkerLost(
                    f"worker {number} took over {self._job_timeout_s:g} s (JOB_TIMEOUT)"
                ) from error
            COUNTS.add(counted)
            if isinstance(answer, VodrayError):
                raise answer
            return answer

    async def wait_alive(self, number: int) -> None:
        # It may come back on another.
        self.nodes.pop(number, None)
        give_up = time.monotonic() + _RESTART_TIMEOUT_S
        while time.monotonic() < give_up:
            try:
                await asyncio.wait_for(
                    _as_future(self.handles[number].ping.remote()), _PING_TIMEOUT_S
                )
                return
            except (*LOST, TimeoutError):
                await asyncio.sleep(_PING_EVERY_S)

    async def learn_nodes(self) -> None:
        """Ask those whose machine is not known; who does not answer at once is asked next time."""
        unknown = [number for number in self.handles if number not in self.nodes]
        answers = await asyncio.gather(*map(self._node, unknown))
        self.nodes |= {n: node for n, node in zip(unknown, answers, strict=True) if node}

    async def _node(self, number: int) -> str | None:
        with contextlib.suppress(*LOST, TimeoutError):
            ping = _as_future(self.handles[number].ping.remote())
            return str(await asyncio.wait_for(ping, _NODE_TIMEOUT_S))
        return None


def _start_worker(number: int) -> Any:
    return worker.WorkerActor.options(name=names.worker(number), **worker.OPTIONS).remote()


def cluster_cpus() -> int:
    """How many there are by now."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 1))


async def _as_future(call: Any) -> Any:
    return await call


PoolActor = ray.remote(Pool)
# A waiting job is a call that has not returned: thousands may wait.
OPTIONS: dict[str, Any] = {"num_cpus": 0, "max_concurrency": 10_000, "max_restarts": -1}
