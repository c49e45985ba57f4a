"""Every alert fires on its cause, and on nothing else: a real Prometheus reads the service.

What alerts wait for passes up to sixty times as fast here; when exactly they fire is told by
deploy/prometheus/alerts.test.yml. That recordings fail is provoked in tests/e2e/test_metrics.py,
that a disk is full in tests/e2e/test_ingest.py.
"""

import os
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.world import Broadcast, World, eventually
from tests.faults.acts import SLOW_DOWN, Chance
from tests.faults.kills import TITLES
from tests.faults.relay import Relay
from tests.faults.world import FaultyService, outcome
from tests.media import Form
from tests.media_fixtures import Clips
from tests.prometheus import Server

pytestmark = pytest.mark.timeout(240)
FORM = Form(seconds=12)
FIRES_S = 90.0
# Two workers have two jobs each at a time.
MORE_THAN_WORKERS_TAKE = 6


@pytest.fixture(scope="module")
def way(service: FaultyService) -> Iterator[Relay]:
    """Prometheus' own, to the service."""
    with Relay(service.endpoints["http"].removeprefix("http://")) as relay:
        yield relay


@pytest.fixture(scope="module")
def prometheus(way: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("prometheus")
    with Server(folder, way.address, is_hurried=True) as server:
        eventually(lambda: server.value("vodray_workers"), within_s=FIRES_S)
        yield server


@contextmanager
def fired(
    prometheus: Server, *names: str, besides: Collection[str] = frozenset()
) -> Iterator[None]:
    """These fire because of what is done inside, while it lasts, and no others but those that may
    fire ``besides``."""
    before = prometheus.firing()
    assert not before & set(names)
    yield
    eventually(lambda: prometheus.firing() >= set(names), within_s=FIRES_S)
    assert prometheus.firing() - before - set(besides) == set(names)


def over(prometheus: Server, *names: str) -> None:
    eventually(lambda: not prometheus.firing() & set(names), within_s=FIRES_S)


@contextmanager
def stopped(service: FaultyService) -> Iterator[set[int]]:
    """The workers are there, and do nothing: which processes they are."""

    def both() -> set[int]:
        found = service.processes(TITLES["worker"])
        return found if len(found) == 2 else set()

    pids = eventually(both)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield pids
    finally:
        for pid in pids & service.processes(TITLES["worker"]):
            os.kill(pid, signal.SIGCONT)


def test_all_is_well_and_nobody_is_called(prometheus: Server, world: World, clips: Clips) -> None:
    live = Broadcast(world=world, playlist=clips(FORM))
    live.show(2)
    live.tell("started")
    live.recording()
    live.show_whole()
    live.tell("ended")
    live.completed()
    done = 'vodray_recordings_finished_total{outcome="completed"}'
    eventually(lambda: prometheus.value(done), within_s=FIRES_S)
    assert prometheus.firing() == set()


def test_the_service_cannot_be_reached(prometheus: Server, way: Relay) -> None:
    with fired(prometheus, "VodrayDown"):
        way.down()
    way.up()
    over(prometheus, "VodrayDown")


def test_requests_to_the_store_fail(
    prometheus: Server, service: FaultyService, world: World, clips: Clips
) -> None:
    streams = [Broadcast(world=world, playlist=clips(FORM)) for _ in range(3)]
    with fired(prometheus, "VodrayRequestsFail"):
        # Of objects: the store as such is well.
        spoilt = Chance(seed=1, probability=0.5, acts=(SLOW_DOWN,), in_a_row=1, call="/.+/.+")
        service.servers.to_s3.script(spoilt)
        for one in streams:
            one.show_whole()
            one.tell("ended")
    service.servers.to_s3.script()
    for one in streams:
        (done,) = outcome(one, within_s=60)
        assert (done["status"], done["gaps"]) == ("completed", [])


def test_the_database_is_away_and_tasks_wait(
    prometheus: Server, service: FaultyService, world: World, clips: Clips
) -> None:
    live = Broadcast(world=world, playlist=clips(FORM))
    live.show_whole()
    names = ("VodrayPartDown", "VodrayTasksWait")
    with fired(prometheus, *names):
        service.servers.to_postgres.down()
        live.task("process")
    service.servers.to_postgres.up()
    over(prometheus, *names)
    (done,) = outcome(live, within_s=60)
    assert done["status"] == "completed"


def test_workers_hang_and_streams_stall(
    prometheus: Server, service: FaultyService, world: World, clips: Clips
) -> None:
    streams = [Broadcast(world=world, playlist=clips(FORM)) for _ in range(MORE_THAN_WORKERS_TAKE)]
    ended = Broadcast(world=world, playlist=clips(FORM))
    ended.show_whole()
    names = (
        *("VodrayNoWorkers", "VodrayFallingBehind"),
        *("VodrayRecordingStuck", "VodrayStreamStalled"),
    )
    with stopped(service), fired(prometheus, *names):
        for one in streams:
            one.show(1)
            one.tell("started")
        ended.tell("ended")
    for one in streams:
        one.show_whole()
        one.tell("ended")
    for one in (*streams, ended):
        (done,) = outcome(one, within_s=60)
        assert (done["status"], done["duration"], done["gaps"]) == ("completed", 12, [])
    over(prometheus, *names)


def test_workers_die(
    prometheus: Server, service: FaultyService, world: World, clips: Clips
) -> None:
    """Three, each with a job of another recording."""

    def at_work() -> bool:
        return any(worker["jobs"] for worker in world.http.get("/workers").json()["workers"])

    # Until they are started anew there is none.
    with fired(prometheus, "VodrayWorkersDie", besides={"VodrayNoWorkers"}):
        for _ in range(3):
            ended = Broadcast(world=world, playlist=clips(FORM))
            ended.show_whole()
            with stopped(service) as pids:
                ended.tell("ended")
                eventually(at_work)
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
            assert ended.completed()["gaps"] == []


def test_segments_are_lost(prometheus: Server, world: World, clips: Clips) -> None:
    live = Broadcast(world=world, playlist=clips(FORM))
    live.show_whole()
    world.store.delete(world.hls_bucket, [f"{live.key}/{live.entries[2][-1]}"])
    with fired(prometheus, "VodrayMediaLost"):
        live.tell("ended")
        assert len(live.completed()["gaps"]) == 1
