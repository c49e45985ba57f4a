"""Which worker gets which job, and what becomes of a job whose worker dies."""

import asyncio
from collections import defaultdict

import pytest

from actors.assigner import MAX_DEATHS, SLOTS, Assigner
from actors.fair_queue import Urgency
from pipeline.errors import JobIsPoison, MediaInvalid, WorkerLost
from pipeline.jobs import Answer, Job, JoinJob
from pipeline.metrics import COUNTS
from pipeline.transfer import TransferLimits

LIMITS = TransferLimits(timeout_s=1.0, attempts=1, retry_delay_s=0.0, max_bytes=1)


def job(number: int) -> JoinJob:
    return JoinJob(number=number, head=b"", staged=(), padding=0, limits=LIMITS, part_url="")


class Workers:
    """A job is answered with its number once ``let`` says so; ``asked``: by worker."""

    def __init__(self) -> None:
        self.asked: dict[int, list[int]] = defaultdict(list)
        self.waiting: dict[int, asyncio.Future[Answer]] = {}
        self.alive = asyncio.Event()
        self.alive.set()

    async def ask(self, number: int, job: Job, name: str) -> Answer:
        assert isinstance(job, JoinJob)
        self.asked[number].append(job.number)
        self.waiting[job.number] = asyncio.get_running_loop().create_future()
        return await self.waiting[job.number]

    async def wait_alive(self, number: int) -> None:
        await self.alive.wait()

    async def let(self, number: int, error: Exception | None = None) -> None:
        """Answer job ``number``, and let everything happen that follows from it."""
        if error is None:
            self.waiting.pop(number).set_result(number)
        else:
            self.waiting.pop(number).set_exception(error)
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def submit(assigner: Assigner, number: int) -> "asyncio.Task[Answer]":
    return asyncio.create_task(assigner.submit(job(number), "a", Urgency.LIVE))


async def test_the_first_jobs_get_a_worker_each() -> None:
    workers = Workers()
    assigner = Assigner(workers)
    jobs = [submit(assigner, number) for number in range(7)]
    await settle()
    assert not workers.asked
    assigner.add(range(3))
    await settle()
    assert workers.asked == {0: [0, 3], 1: [1, 4], 2: [2, 5]}
    await workers.let(4)
    assert workers.asked[1] == [1, 4, 6]
    assert await jobs[4] == 4


async def test_a_job_whose_worker_died_gets_one_for_itself() -> None:
    workers = Workers()
    assigner = Assigner(workers)
    assigner.add(range(2))
    jobs = [submit(assigner, number) for number in range(4)]
    await settle()
    await workers.let(0, WorkerLost("dead"))
    assert workers.asked == {0: [0, 2], 1: [1, 3]}
    await workers.let(1)
    assert sum(map(len, workers.asked.values())) == 4, "no worker has all its slots free"
    await workers.let(3)
    assert workers.asked[1] == [1, 3, 0]
    others = [submit(assigner, number) for number in (4, 5)]
    await settle()
    assert workers.asked == {0: [0, 2, 4], 1: [1, 3, 0]}
    await workers.let(0)
    assert workers.asked[1] == [1, 3, 0, 5]
    for number in (2, 4, 5):
        await workers.let(number)
    assert await asyncio.gather(*jobs, *others) == list(range(6))


async def test_what_kills_every_worker_is_poison_and_what_fails_is_told() -> None:
    workers = Workers()
    assigner = Assigner(workers)
    assigner.add([0])
    poison = submit(assigner, 0)
    for _ in range(MAX_DEATHS):
        await settle()
        await workers.let(0, WorkerLost("dead"))
    with pytest.raises(JobIsPoison, match="3 workers died of it: dead"):
        await poison
    bad = submit(assigner, 1)
    await settle()
    await workers.let(1, MediaInvalid("no media"))
    with pytest.raises(MediaInvalid):
        await bad
    assert len(workers.asked[0]) == MAX_DEATHS + 1
    assert SLOTS == 2


async def test_who_no_longer_waits_costs_no_worker() -> None:
    workers = Workers()
    assigner = Assigner(workers)
    gone, there = submit(assigner, 0), submit(assigner, 1)
    await settle()
    gone.cancel()
    await settle()
    assigner.add([0])
    await settle()
    assert workers.asked[0] == [1]
    await workers.let(1)
    assert await there == 1


async def test_what_waits_and_who_works_is_told() -> None:
    workers = Workers()
    assigner = Assigner(workers)
    assigner.add([0, 1])
    jobs = [submit(assigner, number) for number in range(2 * SLOTS + 3)]
    late = asyncio.create_task(assigner.submit(job(99), "b", Urgency.BACKLOG))
    await settle()
    gone = jobs.pop()
    gone.cancel()
    await asyncio.sleep(0.05)
    told = assigner.measure()
    assert (told.workers, told.busy, told.running) == (2, 2, 2 * SLOTS)
    assert {name: one.jobs for name, one in told.waiting.items()} == {
        "finish": 0,
        "live": 2,
        "backlog": 1,
    }
    assert told.waiting["live"].oldest_s >= 0.05
    assert told.waiting["finish"].oldest_s == 0
    for task in (*jobs, late):
        task.cancel()


async def test_jobs_are_counted_by_what_became_of_them() -> None:
    COUNTS.take()
    workers = Workers()
    assigner = Assigner(workers)
    assigner.add([0])
    done, failed = submit(assigner, 0), submit(assigner, 1)
    await settle()
    await workers.let(0)
    await workers.let(1, MediaInvalid("no media"))
    poison = submit(assigner, 2)
    await settle()
    for _ in range(MAX_DEATHS):
        await workers.let(2, WorkerLost("killed"))
    await asyncio.gather(done, failed, poison, return_exceptions=True)
    assert COUNTS.take() == {
        ("vodray_jobs", ("join", "done")): [1],
        ("vodray_jobs", ("join", "failed")): [1],
        ("vodray_jobs", ("join", "poison")): [1],
        ("vodray_worker_deaths", ()): [MAX_DEATHS],
    }


async def test_a_worker_that_is_lost_gets_no_jobs_until_it_is_back() -> None:
    workers = Workers()
    workers.alive.clear()
    assigner = Assigner(workers)
    assigner.add(range(2))
    jobs = [submit(assigner, number) for number in range(2)]
    await settle()
    await workers.let(0, WorkerLost("its node is gone"))
    jobs += [submit(assigner, number) for number in (2, 3)]
    await settle()
    assert workers.asked[0] == [0], "its other slot is free, and nobody is there"
    await workers.let(1)
    assert workers.asked[1] == [1, 0]
    await workers.let(0)
    assert workers.asked[1] == [1, 0, 2, 3]
    workers.alive.set()
    await settle()
    jobs += [submit(assigner, 4)]
    await settle()
    assert workers.asked[0] == [0, 4]
    for number in (2, 3, 4):
        await workers.let(number)
    assert [await each for each in jobs] == list(range(5))


async def test_a_worker_that_rests_ends_what_it_has_and_gets_nothing_new() -> None:
    workers = Workers()
    assigner = Assigner(workers)
    assigner.add(range(2))
    jobs = [submit(assigner, number) for number in range(6)]
    await settle()
    resting = asyncio.create_task(assigner.rest(0))
    await workers.let(0)
    assert not resting.done()
    await workers.let(2)
    assert resting.done()
    assert workers.asked == {0: [0, 2], 1: [1, 3]}
    await workers.let(1)
    assert workers.asked == {0: [0, 2], 1: [1, 3, 4]}
    assigner.add([0])
    await settle()
    assert workers.asked == {0: [0, 2, 5], 1: [1, 3, 4]}
    for number in (3, 4, 5):
        await workers.let(number)
    assert [await each for each in jobs] == list(range(6))


async def test_a_worker_that_has_nothing_rests_at_once() -> None:
    assigner = Assigner(Workers())
    assigner.add([0])
    async with asyncio.timeout(1):
        await assigner.rest(0)
