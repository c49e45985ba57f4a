"""A Ray cluster of several nodes: one dies in the middle of a live recording, another one comes."""

import secrets
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.heavy import begin, finish, step
from tests.e2e.nodes import cluster
from tests.e2e.service import STOP_S, Service
from tests.e2e.world import Broadcast, World, eventually
from tests.media import assert_same_packets, remux_with_ffmpeg

pytestmark = pytest.mark.timeout(300)


def test_a_node_dies_and_another_one_comes(heavy: Path, tmp_path: Path) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with cluster(**token) as nodes:
        lost, stays = nodes.add(), nodes.add()
        service = Service(tmp_path, RAY_ADDRESS=nodes.address, STALL_TIMEOUT="120s", **token)
        with closing(World(service.start())) as world:
            live = begin(Broadcast(world=world, playlist=heavy))
            assert nodes.workers(lost)
            assert nodes.workers(stays)
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
