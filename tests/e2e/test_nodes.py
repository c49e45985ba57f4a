"""A Ray cluster of several nodes: they die, come, hang and are drained while streams are live."""

import hashlib
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.e2e.heavy import begin, finish, step
from tests.e2e.nodes import Nodes, cluster
from tests.e2e.service import STOP_S, Service
from tests.e2e.world import Broadcast, World, eventually
from tests.media import assert_same_packets, remux_with_ffmpeg

pytestmark = pytest.mark.timeout(300)

RECORDINGS = 10
# So that Ray gives up a node that hangs after half a minute at most, not after more than one.
IMPATIENT = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "4",
}
HANGS_S = 45


def test_a_node_dies_and_another_one_comes(heavy: Path, tmp_path: Path) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with cluster(**token) as nodes:
        lost, stays = nodes.add(), nodes.add()
        service = Service(tmp_path, RAY_ADDRESS=nodes.address, STALL_TIMEOUT="120s", **token)
        with closing(World(service.start())) as world:
            live = begin(Broadcast(world=world, playlist=heavy))
            eventually(lambda: nodes.workers(lost) and nodes.workers(stays))
            recording_id = live.recording()["id"]
            before = world.finished_chunks(recording_id)
            nodes.lose(lost)
            step(live)
            added = nodes.add()
            eventually(lambda: nodes.workers(added), within_s=60)
            assert before.items() <= world.finished_chunks(recording_id).items()
            mp4 = world.fetch(finish(live), tmp_path)
        assert service.stop() < STOP_S
    assert_same_packets(mp4, remux_with_ffmpeg(heavy, tmp_path / "reference.mp4"), tolerance_s=1e-4)


@contextmanager
def service_on(
    folder: Path, count: int, **variables: str
) -> Iterator[tuple[World, Nodes, list[int]]]:
    """A service, and its cluster with so many nodes that work. ``variables``: of both."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with cluster(**token, **variables) as nodes:
        working = [nodes.add() for _ in range(count)]
        variables |= {"RAY_ADDRESS": nodes.address, "STALL_TIMEOUT": "300s", **token}
        service = Service(folder, **variables)
        with closing(World(service.start())) as world:
            eventually(lambda: all(nodes.workers(node) for node in working))
            yield world, nodes, working
        assert service.stop() < STOP_S


def begun(world: World, playlist: Path, count: int) -> list[Broadcast]:
    """Live streams, each of which has a finished chunk."""
    streams = [Broadcast(world=world, playlist=playlist) for _ in range(count)]
    for live in streams:
        live.show(1)
        live.tell("started")
    for live in streams:
        live.recording()
        step(live, 5)
    for live in streams:
        step(live)
    for live in streams:
        eventually(lambda live=live: world.finished_chunks(live.recording()["id"]))
    return streams


def ended(world: World, streams: list[Broadcast], folder: Path) -> list[str]:
    """What became of them, as SHA-256 of the media; nothing may be missing."""
    found = []
    for live in streams:
        mp4 = world.fetch(finish(live), folder / live.key)
        found.append(hashlib.sha256(mp4.read_bytes()).hexdigest())
    return found


def undisturbed(world: World, playlist: Path, folder: Path) -> str:
    """The same in quiet."""
    streams = begun(world, playlist, 1)
    step(streams[0])
    (digest,) = ended(world, streams, folder)
    return digest


def die(nodes: Nodes, node: int) -> None:
    nodes.signal(node, signal.SIGKILL)


def hang(nodes: Nodes, node: int) -> None:
    """As a machine that is cut off, and back when everybody has given it up."""
    nodes.signal(node, signal.SIGSTOP)
    time.sleep(HANGS_S)
    nodes.signal(node, signal.SIGCONT)


def be_drained(nodes: Nodes, node: int) -> None:
    """Its workers go elsewhere, before its machine goes."""
    nodes.drain(node)
    eventually(lambda: not nodes.workers(node), within_s=60)
    nodes.signal(node, signal.SIGKILL)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("happen", "is_ups"), [(die, False), (die, True), (hang, False), (be_drained, False)]
)
def test_ten_recordings_outlive_a_node(
    happen: Callable[[Nodes, int], None], is_ups: bool, heavy: Path, tmp_path: Path
) -> None:
    """``is_ups``: it is the node that ``up`` is on, with the actors that there is one of."""
    with service_on(tmp_path, 3, **IMPATIENT) as (world, nodes, working):
        wanted = undisturbed(world, heavy, tmp_path)
        streams = begun(world, heavy, RECORDINGS)
        happen(nodes, next(node for node in working if nodes.has_pool(node) == is_ups))
        for live in streams:
            step(live)
        assert ended(world, streams, tmp_path) == [wanted] * RECORDINGS
        added = nodes.add()
        eventually(lambda: nodes.workers(added), within_s=60)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_cluster_follows_the_work(heavy: Path, tmp_path: Path) -> None:
    """Who adds nodes is played here: Ray's autoscaler does it for the same reason."""
    with service_on(tmp_path, 1, MAX_WORKERS="3", PROFILE="h264") as (world, nodes, _):
        assert not nodes.lack()
        streams = [Broadcast(world=world, playlist=heavy) for _ in range(2)]
        for live in streams:
            live.show_whole()
            live.tell("ended")
        eventually(nodes.lack)
        added = nodes.add()
        eventually(lambda: nodes.workers(added))
        for live in streams:
            assert live.completed(within_s=400)["gaps"] == []
        eventually(lambda: not nodes.workers(added), within_s=180)
        assert not nodes.lack()
