"""How many workers the pool has, and where: it follows the cluster, the work, and nodes that end.

Workers are played; what Ray does with real ones is in tests/e2e/test_nodes.py.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import ray.exceptions

from actors import pool
from actors.fair_queue import Urgency
from actors.pool import Pool
from pipeline.jobs import Answer
from pipeline.metrics import Counted
from pipeline.model import Part
from tests.unit.test_assigner import job


class Call:
    """A method of an actor, as it is called from elsewhere."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.remote = call

    def options(self, **_: str) -> "Call":
        return self


class Worker:
    """``node``: where it lives; None: it waits for a CPU."""

    def __init__(self, ray: "Ray") -> None:
        self._ray = ray
        self.node = ray.free.pop() if ray.free else None
        self.is_over = False
        self.ping, self.run = Call(self._ping), Call(self._run)

    async def _ping(self) -> tuple[str, str]:
        if self.node is None:
            raise ray.exceptions.ActorUnavailableError("waits for a CPU", None)
        return "machine", self.node

    async def _run(self, _: object) -> tuple[Answer, Counted]:
        while self.node is None:
            await asyncio.sleep(0.01)
        self._ray.running += 1
        await self._ray.go.wait()
        self._ray.running -= 1
        return Part(number=1, etag="e", size_bytes=1), {}


class Ray:
    """``free``: nodes with a CPU that nobody has; ``workers``: all that were ever started."""

    def __init__(self) -> None:
        self.free: list[str] = []
        self.draining: set[str] = set()
        self.workers: dict[int, Worker] = {}
        self.running = 0
        self.go = asyncio.Event()

    def start(self, number: int) -> Worker:
        self.workers[number] = Worker(self)
        return self.workers[number]

    def kill(self, worker: Worker, *, no_restart: bool) -> None:
        worker.is_over = no_restart
        if worker.node is not None and worker.node not in self.draining:
            self.free.append(worker.node)
        worker.node = None if no_restart or not self.free else self.free.pop()

    @property
    def nodes(self) -> list[str | None]:
        return [worker.node for worker in self.workers.values() if not worker.is_over]


@pytest.fixture
async def played(monkeypatch: pytest.MonkeyPatch) -> Ray:
    played = Ray()
    monkeypatch.setattr(pool, "_start_worker", played.start)
    monkeypatch.setattr(pool.ray, "kill", played.kill)
    monkeypatch.setattr(pool.ray, "cancel", lambda _: None)
    monkeypatch.setattr(pool, "_SILENT_S", 0.05)
    monkeypatch.setattr(pool, "_draining_nodes", lambda: played.draining)
    monkeypatch.setattr(pool, "_RESIZE_EVERY_S", 0.01)
    monkeypatch.setattr(pool, "_PING_EVERY_S", 0.01)
    monkeypatch.setattr(pool, "SURPLUS_S", 0.1)
    monkeypatch.setattr(pool, "cluster_cpus", lambda: len(played.free) + len(played.nodes))
    return played


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not look():
            await asyncio.sleep(0.01)


def submit(of: Pool, count: int) -> list["asyncio.Task[Answer]"]:
    return [
        asyncio.create_task(of.submit(job(number), "a", Urgency.LIVE)) for number in range(count)
    ]


async def test_it_grows_with_the_cluster(played: Ray) -> None:
    played.free = ["a"]
    Pool()
    await until(lambda: played.nodes == ["a"])
    played.free += ["b"]
    await until(lambda: played.nodes == ["a", "b"])


async def test_a_worker_that_waits_for_a_cpu_gets_no_jobs(played: Ray) -> None:
    played.free = ["a"]
    many = Pool(workers=2)
    await until(lambda: played.nodes == ["a", None])
    jobs = submit(many, 3)
    await until(lambda: played.running == 2)
    await asyncio.sleep(0.1)
    assert played.running == 2
    played.workers[1].node = "b"
    await until(lambda: played.running == 3)
    played.go.set()
    await asyncio.gather(*jobs)


async def test_jobs_of_idle_workers_whose_node_is_gone_go_elsewhere(played: Ray) -> None:
    """However many of those there are: the job is none that workers die of."""
    played.free = ["a", "b", "c", "d", "e"]
    many = Pool(workers=5)
    await until(lambda: None not in played.nodes and len(played.nodes) == 5)
    await many.check()
    for number in range(4):
        played.workers[number].node = None
    played.go.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*submit(many, 1))
    played.workers[2].node = "f"
    await until(lambda: many._assigner.measure().busy == 3)


async def test_a_drained_node_loses_its_workers_when_they_are_done(played: Ray) -> None:
    played.free = ["a", "b"]
    many = Pool(workers=2)
    await until(lambda: set(played.nodes) == {"a", "b"})
    jobs = submit(many, 4)
    await until(lambda: played.running == 4)
    played.free, played.draining = ["c"], {"a"}
    await asyncio.sleep(0.1)
    assert set(played.nodes) == {"a", "b"}
    played.go.set()
    await asyncio.gather(*jobs)
    await until(lambda: set(played.nodes) == {"b", "c"})
    await asyncio.gather(*submit(many, 4))


async def test_it_follows_the_work(played: Ray) -> None:
    played.free = ["a"]
    many = Pool(most=3)
    await until(lambda: played.nodes == ["a"])
    jobs = submit(many, 8)
    # Those that wait are what an autoscaler adds nodes for.
    await until(lambda: played.nodes == ["a", None, None])
    played.workers[1].node = "b"
    await until(lambda: played.running == 4)
    played.go.set()
    await asyncio.gather(*jobs)
    await until(lambda: played.nodes == ["a"])
    played.go.clear()
    played.free.clear()
    jobs = submit(many, 3)
    await until(lambda: len(played.nodes) == 2)
    played.go.set()
    await asyncio.gather(*jobs)
