"""The pool of workers on a real Ray: deaths of workers cost no job but the one that causes them."""

import asyncio
import os
import platform
import queue
import signal
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest
import ray

from actors import client, names
from actors.counting import hand_on
from actors.fair_queue import Urgency
from actors.recording import submit_to_pool
from pipeline.activity import Activity
from pipeline.errors import JobIsPoison, MediaInvalid, VodrayError
from pipeline.jobs import LookJob
from pipeline.measured import Measured
from pipeline.metrics import COUNTS, GAPS
from pipeline.model import Segment
from pipeline.transfer import TransferLimits
from tests.local_pool import quick_settings

LIMITS = TransferLimits(timeout_s=60.0, attempts=1, retry_delay_s=0.0, max_bytes=2**20)


class Origin(BaseHTTPRequestHandler):
    """``/poison`` and the first ``/innocent`` are never answered; other answers are no media."""

    asked: "queue.Queue[str]" = queue.Queue()
    over = threading.Event()
    innocent_seen = threading.Event()

    def do_GET(self) -> None:
        is_first = self.path == "/innocent" and not self.innocent_seen.is_set()
        if self.path == "/innocent":
            self.innocent_seen.set()
        self.asked.put(self.path)
        if self.path == "/poison" or is_first:
            self.over.wait(200)
            return
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"text")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def origin() -> Iterator[str]:
    Origin.asked = queue.Queue()
    Origin.over.clear()
    Origin.innocent_seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Origin) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        Origin.over.set()
        server.shutdown()


@pytest.fixture
def _local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def look_at(url: str) -> LookJob:
    segment = Segment(sequence=0, uri=url, duration_s=2.0)
    return LookJob(segment=segment, urls={url: url}, limits=LIMITS)


def submit(url: str, recording: str) -> "asyncio.Future[Any]":
    return asyncio.ensure_future(submit_to_pool(look_at(url), recording, Urgency.BACKLOG))


async def next_asked() -> str:
    return await asyncio.to_thread(Origin.asked.get, timeout=100)


async def kill_worker() -> None:
    worker: Any = ray.get_actor(names.worker(0))
    os.kill(await worker.__ray_call__.remote(lambda _: os.getpid()), signal.SIGKILL)


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("_local_ray")
async def test_a_job_that_kills_its_workers_is_told_so_and_the_pool_goes_on(origin: str) -> None:
    async with client.workers_only(quick_settings(), 1):
        poison, innocent = submit(f"{origin}/poison", "a"), submit(f"{origin}/innocent", "b")
        assert {await next_asked(), await next_asked()} == {"/poison", "/innocent"}
        await kill_worker()  # Both are done again, each with the worker to itself.
        deaths = 1
        while not poison.done():
            # The innocent one is answered at once now; the other hangs until its worker is killed.
            if await next_asked() == "/poison":
                await kill_worker()
                deaths += 1
                await asyncio.wait({poison}, timeout=2.0 if deaths < 3 else 100.0)
        assert deaths == 3
        with pytest.raises(JobIsPoison, match="3 workers died"):
            await poison
        with pytest.raises(MediaInvalid):
            await asyncio.wait_for(innocent, 60)
        with pytest.raises(MediaInvalid):
            await asyncio.wait_for(submit(f"{origin}/other", "c"), 60)


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("_local_ray")
async def test_a_job_that_takes_too_long_is_given_up(origin: str) -> None:
    quick = quick_settings(job_timeout=timedelta(seconds=1))
    async with client.workers_only(quick, 1):
        with pytest.raises(JobIsPoison, match="JOB_TIMEOUT"):
            await submit(f"{origin}/poison", "a")
        with pytest.raises(MediaInvalid):
            await asyncio.wait_for(submit(f"{origin}/other", "b"), 60)


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("_local_ray")
async def test_who_has_what_is_told_and_nothing_once_the_pool_is_gone(origin: str) -> None:
    recording = uuid4()
    async with client.workers_only(quick_settings(), 1):
        hanging = submit(f"{origin}/poison", str(recording))
        await next_asked()
        told = await client.Client().activity(recording)
        assert [(job.kind, job.worker, job.tries) for job in told.jobs] == [("look", 0, 1)]
        assert [(each.name, each.node) for each in told.workers] == [
            (names.worker(0), platform.node())
        ]
        await kill_worker()
        await next_asked()
        assert [job.tries for job in (await client.Client().activity(recording)).jobs] == [2]
        assert (await client.Client().activity(uuid4())).jobs == ()
        assert len((await client.Client().activity()).jobs) == 1
        Origin.over.set()
        with pytest.raises(VodrayError):
            await asyncio.wait_for(hanging, 60)
        await _count_here_and_there(origin)
    assert await client.Client().activity() == Activity()
    assert await client.Client().measure() == Measured()
    # What nobody takes is kept until somebody does.
    COUNTS.count(GAPS, "window")
    await hand_on()
    assert COUNTS.take() == {("vodray_gaps", ("window",)): [1]}


async def _count_here_and_there(origin: str) -> None:
    """What this process has counted, and what workers have, is told by the pool; once."""
    COUNTS.take()
    COUNTS.count(GAPS, "window")
    for _ in range(2):
        with pytest.raises(MediaInvalid):
            await asyncio.wait_for(submit(f"{origin}/other", "c"), 60)
        await hand_on()
    assert COUNTS.all() == {}
    told = (await client.Client().measure()).pool
    assert told is not None
    assert (told.workers, told.busy) == (1, 0)
    assert told.counted["vodray_gaps", ("window",)] == (1,)
    assert told.counted["vodray_worker_deaths", ()] == (1,)
    # The one that was killed with its first request in hand has told nothing of it.
    _, *within = told.counted["vodray_request_seconds", ("source", "get")]
    assert sum(within) == 3
