"""A Ray cluster of several nodes: one dies in the middle of a live recording, another one comes."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from ray.cluster_utils import Cluster

from tests.e2e.heavy import begin, finish, step
from tests.e2e.service import STOP_S, Service
from tests.e2e.world import Broadcast, World, eventually
from tests.media import assert_same_packets, remux_with_ffmpeg

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Its head does no media work."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        yield cluster
    finally:
        cluster.shutdown()


def workers(node: object) -> list[int]:
    """Of the pool, those on this node."""
    (raylet,) = node.all_processes["raylet"]  # type: ignore[attr-defined]
    children = psutil.Process(raylet.process.pid).children(recursive=True)
    return [child.pid for child in children if "".join(child.cmdline()).startswith("ray::Worker")]


def test_a_node_dies_and_another_one_comes(cluster: Cluster, heavy: Path, tmp_path: Path) -> None:
    lost, stays = (cluster.add_node(num_cpus=1) for _ in range(2))
    service = Service(tmp_path, RAY_ADDRESS=cluster.address, STALL_TIMEOUT="120s")
    service.start()
    with closing(World(service.endpoints)) as world:
        live = begin(Broadcast(world=world, playlist=heavy))
        assert workers(lost)
        assert workers(stays)
        recording_id = live.recording()["id"]
        before = world.finished_chunks(recording_id)
        cluster.remove_node(lost, allow_graceful=False)
        step(live)
        added = cluster.add_node(num_cpus=1)
        eventually(lambda: workers(added), within_s=60)
        assert before.items() <= world.finished_chunks(recording_id).items()
        mp4 = world.fetch(finish(live), tmp_path)
    assert_same_packets(mp4, remux_with_ffmpeg(heavy, tmp_path / "reference.mp4"), tolerance_s=1e-4)
    assert service.stop() < STOP_S
