"""The pool: all worker actors of the cluster, and the queue of jobs in front of them.

One core, one worker. Jobs wait here, not in Ray, so that the most urgent goes next and no recording
holds up another (``actors.assigner``, ``actors.fair_queue``).
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Coroutine
from typing import Any

import ray
import structlog
from ray._private.state import state

from actors import names, worker
from actors.assigner import SLOTS, Assigner, WorkerAway
from actors.fair_queue import Urgency
from actors.faults import LOST, actor_errors
from pipeline.activity import Activity, WorkerActivity
from pipeline.errors import VodrayError, WorkerLost
from pipeline.jobs import Answer, Job
from pipeline.measured import PoolMeasure
from pipeline.metrics import COUNTS, Counted

JOB_TIMEOUT_S = 900.0
SURPLUS_S = 60.0
_PING_TIMEOUT_S = 20.0
# Who has had a job for so long without an answer is asked whether it is there.
_SILENT_S = 5.0
_PING_EVERY_S = 0.2
_NODE_TIMEOUT_S = 0.5
_RESIZE_EVERY_S = 5.0
_RESIZE_RETRY_S = 0.2

log = structlog.get_logger()


class Pool:
    """Async actor. ``workers``: how many; 0: one per CPU of the cluster, also when it grows.
    ``most``: as many as the queue needs, up to this; workers that wait for a CPU are what Ray's
    autoscaler adds nodes for, and nodes without workers what it takes away.
    ``job_timeout_s``: a worker that takes longer is killed."""

    def __init__(
        self, workers: int = 0, job_timeout_s: float = JOB_TIMEOUT_S, most: int | None = None
    ) -> None:
        self._fixed, self._most = workers, None if workers else most
        self._surplus_since: dict[int, float] = {}
        self._joining: set[int] = set()
        self._workers = _WorkerActors(job_timeout_s)
        self._assigner = Assigner(self._workers)
        self._moving: dict[int, asyncio.Task[None]] = {}
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
        await self._workers.learn_places()
        machines = {number: machine for number, (machine, _) in self._workers.places.items()}
        workers = [
            WorkerActivity(number=number, name=names.worker(number), node=machines.get(number))
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
                wanted = self._wanted()
                self._grow(wanted)
                if self._most:
                    self._shrink(wanted)
                await self._leave_nodes_that_end()
                await asyncio.sleep(_RESIZE_EVERY_S)
            except ValueError as error:
                # Workers of a pool that has just died hold their names for a moment.
                log.warning("worker_not_started", error=str(error))
                await asyncio.sleep(_RESIZE_RETRY_S)

    def _wanted(self) -> int:
        if self._most:
            return min(self._most, max(1, math.ceil(self._assigner.jobs / SLOTS)))
        return max(1, self._fixed or cluster_cpus())

    def _grow(self, wanted: int) -> None:
        for number in range(wanted):
            if number not in self._workers.handles:
                self._workers.handles[number] = _start_worker(number)
                self._joining.add(number)
                self._move(number, self._join(number))

    async def _join(self, number: int) -> None:
        """A worker that waits for a CPU must not have jobs that others could do."""
        await self._workers.wait_alive(number)
        self._joining.remove(number)
        self._assigner.add([number])

    def _shrink(self, wanted: int) -> None:
        """Those that have not been needed for a while."""
        now = time.monotonic()
        surplus = [number for number in self._workers.handles if number >= wanted]
        self._surplus_since = {n: self._surplus_since.get(n, now) for n in surplus}
        for number, since in self._surplus_since.items():
            if now - since < SURPLUS_S:
                continue
            if number in self._joining:
                self._moving[number].cancel()
                self._joining.remove(number)
                self._drop(number)
            elif number not in self._moving:
                self._move(number, self._end(number))

    async def _end(self, number: int) -> None:
        await self._assigner.rest(number)
        self._assigner.remove(number)
        self._drop(number)

    def _drop(self, number: int) -> None:
        log.info("worker_not_needed", worker=number)
        ray.kill(self._workers.handles.pop(number), no_restart=True)
        self._workers.places.pop(number, None)

    async def _leave_nodes_that_end(self) -> None:
        """Nodes that are drained (a spot machine that was told to go, a node that an operator takes
        away) go on until they are killed: their workers finish what they have, elsewhere."""
        ending = await asyncio.to_thread(_draining_nodes)
        if not ending:
            return
        await self._workers.learn_places()
        for number, (machine, node_id) in self._workers.places.items():
            if node_id in ending and number not in self._moving:
                log.info("worker_moves", worker=number, machine=machine)
                self._move(number, self._leave(number, node_id))

    async def _leave(self, number: int, node_id: str) -> None:
        await self._assigner.rest(number)
        # It may have died meanwhile, and be on another node already.
        await self._workers.learn_places()
        if self._workers.places.get(number, ("", node_id))[1] == node_id:
            ray.kill(self._workers.handles[number], no_restart=False)
            await self._workers.wait_alive(number)
        self._assigner.add([number])

    def _move(self, number: int, move: Coroutine[Any, Any, None]) -> None:
        task = self._moving[number] = asyncio.get_running_loop().create_task(move)
        task.add_done_callback(lambda done: self._moved(number, done))

    def _moved(self, number: int, task: "asyncio.Task[None]") -> None:
        # Another one may have taken its place.
        if self._moving.get(number) is task:
            del self._moving[number]


class _WorkerActors:
    """Those of Ray. See ``Workers``."""

    def __init__(self, job_timeout_s: float) -> None:
        self._job_timeout_s = job_timeout_s
        self.handles: dict[int, Any] = {}
        # Machine and node of Ray, where they are known.
        self.places: dict[int, tuple[str, str]] = {}

    async def ask(self, number: int, job: Job, name: str) -> Answer:
        with actor_errors(f"worker {number}"):
            call = self.handles[number].run.options(name=name).remote(job)
            answering = asyncio.ensure_future(_as_future(call))
            give_up = time.monotonic() + self._job_timeout_s
            await asyncio.wait({answering}, timeout=min(_SILENT_S, self._job_timeout_s))
            if not answering.done() and not await self._ping(number, _PING_TIMEOUT_S):
                # Ray would hold the job until the worker finds a CPU somewhere.
                ray.cancel(call)
                answering.cancel()
                raise WorkerAway(f"worker {number} is not there")
            await asyncio.wait({answering}, timeout=max(0.0, give_up - time.monotonic()))
            if not answering.done():
                answering.cancel()
                ray.kill(self.handles[number], no_restart=False)
                raise WorkerLost(
                    f"worker {number} took over {self._job_timeout_s:g} s (JOB_TIMEOUT)"
                )
            answer: Answer | VodrayError
            answer, counted = answering.result()
            COUNTS.add(counted)
            if isinstance(answer, VodrayError):
                raise answer
            return answer

    async def wait_alive(self, number: int) -> None:
        # It may come back on another.
        self.places.pop(number, None)
        while True:
            if await self._ping(number, _PING_TIMEOUT_S):
                return
            await asyncio.sleep(_PING_EVERY_S)

    async def learn_places(self) -> None:
        """Ask those whose node is not known; who does not answer at once is asked next time."""
        unknown = [number for number in self.handles if number not in self.places]
        answers = await asyncio.gather(*(self._ping(n, _NODE_TIMEOUT_S) for n in unknown))
        self.places |= {n: place for n, place in zip(unknown, answers, strict=True) if place}

    async def _ping(self, number: int, timeout_s: float) -> tuple[str, str] | None:
        """Where it is, if it answers in time: it does so when it is busy, too."""
        if number not in self.handles:
            return None
        with contextlib.suppress(*LOST, TimeoutError):
            async with asyncio.timeout(timeout_s):
                place: tuple[str, str] = await self.handles[number].ping.remote()
                return place
        return None


def _start_worker(number: int) -> Any:
    return worker.WorkerActor.options(name=names.worker(number), **worker.OPTIONS).remote()


def cluster_cpus() -> int:
    """How many there are by now."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 1))


def _draining_nodes() -> set[str]:
    return set(state.get_draining_nodes())


async def _as_future(call: Any) -> Any:
    return await call


PoolActor = ray.remote(Pool)
# A waiting job is a call that has not returned: thousands may wait.
OPTIONS: dict[str, Any] = {"num_cpus": 0, "max_concurrency": 10_000, "max_restarts": -1}
