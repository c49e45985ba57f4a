"""Nodes of Ray with a network of their own each, as on machines of their own: one is cut off in the
middle of live recordings. They share their files, so that ``up`` is on the head: of the nodes whose
sockets it finds, Ray takes that one."""

import secrets
import time
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from serve_app.embedded.postgres import PostgresServer
from serve_app.embedded.s3 import S3Server
from tests.e2e.heavy import step
from tests.e2e.namespaces import Network, network, ray_node
from tests.e2e.service import STOP_S, Service
from tests.e2e.test_nodes import HANGS_S, IMPATIENT, begun, ended, undisturbed
from tests.e2e.world import World, eventually
from tests.faults.relay import Relay

Variables = dict[str, str]

HEAD, FIRST, SECOND = 1, 2, 3
RECORDINGS = 4


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_host_is_cut_off_and_comes_back(heavy: Path, tmp_path: Path) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), **IMPATIENT}
    with ExitStack() as undo:
        net = undo.enter_context(network(HEAD, FIRST, SECOND))
        stores = _stores(undo, net, tmp_path)
        address = f"{net.address(HEAD)}:6379"
        start = ["--head", "--port=6379", "--num-cpus=0", "--include-dashboard=false"]
        # Paths of sockets are short.
        folder = undo.enter_context(TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
        start += [f"--temp-dir={folder}"]
        _node(undo, net, HEAD, tmp_path, start, token)
        for host in (FIRST, SECOND):
            _node(undo, net, host, tmp_path, [f"--address={address}", "--num-cpus=1"], token)
        service = Service(
            tmp_path,
            within=net.within(HEAD),
            RAY_ADDRESS=address,
            STALL_TIMEOUT="300s",
            **token,
            **stores,
        )
        endpoints = service.start()
        http = endpoints["http"].replace("127.0.0.1", net.address(HEAD))
        with closing(World({**endpoints, "http": http})) as world:
            eventually(lambda: _answering(world) == 2)
            wanted = undisturbed(world, heavy, tmp_path)
            streams = begun(world, heavy, RECORDINGS)
            net.cut(FIRST)
            for live in streams:
                step(live)
            time.sleep(HANGS_S)
            net.mend(FIRST)
            assert ended(world, streams, tmp_path) == [wanted] * RECORDINGS
        assert service.stop() < STOP_S


def _answering(world: World) -> int:
    """How many workers tell where they are."""
    workers = world.http.get("/workers").json()["workers"]
    return sum(worker["node"] is not None for worker in workers)


def _stores(undo: ExitStack, net: Network, folder: Path) -> dict[str, str]:
    """PostgreSQL and S3 of this machine, as all hosts reach them."""
    postgres = PostgresServer(folder / "postgres", folder, "secret")
    s3 = S3Server(folder / "s3", folder, "test-access", "test-secret-key")
    for server in (postgres, s3):
        server.start()
        undo.callback(server.stop)
    behind = postgres.dsn.rpartition("@")[2].partition("/")[0]
    database = undo.enter_context(Relay(behind, host=net.here)).address
    objects = undo.enter_context(Relay(s3.endpoint, host=net.here)).address
    return {
        "DATABASE_URL": postgres.dsn.replace(behind, database),
        "MINIO_ENDPOINT": objects,
        "MINIO_ACCESS_KEY": s3.access_key,
        "MINIO_SECRET_KEY": s3.secret_key,
    }


def _node(
    undo: ExitStack,
    net: Network,
    host: int,
    folder: Path,
    options: list[str],
    token: dict[str, str],
) -> None:
    log = folder / f"ray-{host}.log"
    undo.enter_context(ray_node(net, host, log, *options, variables=token))
    eventually(lambda: "Ray runtime started" in log.read_text(), within_s=120)
