"""The API under Ray Serve, over real HTTP, with real PostgreSQL and S3 behind it.

What only shows here: state that must reach requests, pickling of the application, streaming
through Serve's proxy.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import ray
import yaml
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from actors import client as actors
from pipeline.model import EndReason
from pipeline.settings import Settings
from pipeline.stores.catalog import Completion
from pipeline.stores.catalog_postgres import PostgresCatalog
from pipeline.stores.objects_s3 import S3Store
from serve_app.app import build_app
from serve_app.local_ray import local_ray
from tests.conftest import S3

ROOT = Path(__file__).parents[2]
BODY = {
    "event": "stream.started",
    "stream_id": "bb52ba50-edc5-4056-a62c-6ef211d72d25",
    "stream_key": "d1eb2fe800d01c797c84f0b622e474d9",
    "user_id": "u1",
    "timestamp": "2025-10-05T18:00:00Z",
}


@pytest.fixture(scope="module")
def ray_serve() -> Iterator[str]:
    """The URL of Ray Serve's proxy."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with local_ray(Settings(_env_file=None), num_cpus=2):
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        yield f"http://127.0.0.1:{port}"
        serve.shutdown()


@pytest.fixture
def service(
    ray_serve: str, database: str, s3: S3, new_bucket_name: Callable[[], str]
) -> Iterator[str]:
    """The URL of the service over a database and buckets of this test's own."""
    settings = Settings(
        _env_file=None,
        database_url=database,
        minio_endpoint=s3.endpoint,
        minio_access_key=s3.access_key,
        minio_secret_key=s3.secret_key,
        minio_bucket=new_bucket_name(),
        minio_hls_bucket=new_bucket_name(),
    )
    store = S3Store(s3.endpoint, s3.access_key, s3.secret_key, secure=False)
    store.ensure_bucket(settings.minio_bucket)
    store.ensure_bucket(settings.minio_hls_bucket)
    serve.run(build_app(settings), name="vodray", route_prefix="/")
    yield ray_serve
    serve.delete("vodray")


@pytest.fixture
def deployed_by_serve(
    ray_serve: str, database: str, s3: S3, new_bucket_name: Callable[[], str]
) -> Iterator[str]:
    """The URL of the service as Serve deploys it from deploy/serve.yaml."""
    variables = {
        "DATABASE_URL": database,
        "MINIO_ENDPOINT": s3.endpoint,
        "MINIO_ACCESS_KEY": s3.access_key,
        "MINIO_SECRET_KEY": s3.secret_key,
        "MINIO_BUCKET": new_bucket_name(),
        "MINIO_HLS_BUCKET": new_bucket_name(),
    }
    config = yaml.safe_load((ROOT / "deploy" / "serve.yaml").read_text("utf-8"))
    # A real one has them where its nodes are started.
    config["applications"][0]["runtime_env"] = {"env_vars": variables}
    try:
        _get_global_client().deploy_apps(ServeDeploySchema.model_validate(config))
        yield ray_serve
    finally:
        serve.delete("vodray")
        actors.stop()


@pytest.mark.timeout(300)
async def test_serve_deploys_it_from_its_own_configuration(deployed_by_serve: str) -> None:
    async with httpx.AsyncClient(base_url=deployed_by_serve, timeout=30) as client:
        async with asyncio.timeout(200):
            while await _status(client, "/health") != 200:
                await asyncio.sleep(0.2)
        told = await client.post("/webhook/stream", json=BODY)
        assert told.status_code == 200
        (recording,) = (await client.get("/recordings")).json()["recordings"]
        assert recording["stream_id"] == BODY["stream_id"]


async def _status(client: httpx.AsyncClient, path: str) -> int | None:
    """None: no answer. A request that comes while Serve deploys may wait for ever."""
    try:
        return (await client.get(path, timeout=5)).status_code
    except httpx.HTTPError:
        return None


async def test_from_a_webhook_to_the_last_event(service: str, database: str) -> None:
    catalog = PostgresCatalog(database, reconnect_window=timedelta(seconds=60), profile="copy")
    await catalog.open()
    async with httpx.AsyncClient(base_url=service, timeout=30) as client:
        health = await client.get("/health")
        assert health.status_code == 503
        assert health.json()["checks"].pop("workers") != "ok"
        assert {health.json()["checks"][part] for part in ("postgres", "s3")} == {"ok"}

        empty = await client.get("/recordings")
        assert (empty.status_code, empty.content) == (200, b'{"recordings":[]}')

        for _ in range(2):
            told = await client.post("/webhook/stream", json=BODY)
            assert (told.status_code, told.content) == (
                200,
                b'{"message":"Webhook processed successfully"}',
            )
        (recording,) = (await client.get("/recordings")).json()["recordings"]
        assert recording["status"] == "recording"
        assert recording["stream_id"] == BODY["stream_id"]
        one = await client.get(f"/recording/{recording['id']}")
        assert one.json() == {"recording": recording}

        states = await _follow_to_the_end(client, catalog, recording["id"])
        assert [each["status"] for each in states] == ["recording", "processing", "completed"]
        assert states[-1]["file_path"] == "recordings/a.mp4"
        report = await client.get(f"/recordings/{recording['id']}/report")
        assert report.json() == {"frames_in": 1, "frames_out": 1}

        refused = await client.post("/webhook/stream", content=b"{}")
        assert (refused.status_code, refused.content) == (400, b'{"error":"Invalid event type"}')
        unknown = await client.get("/recording/7")
        assert (unknown.status_code, unknown.content) == (404, b'{"error":"Recording not found"}')
        assert (await client.get("/openapi.json")).json()["info"]["title"]
    await catalog.close()


async def _follow_to_the_end(
    client: httpx.AsyncClient, catalog: PostgresCatalog, recording_id: str
) -> list[dict[str, Any]]:
    states: list[dict[str, Any]] = []
    async with asyncio.timeout(30):
        async with client.stream("GET", f"/recordings/{recording_id}/events") as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if not line.startswith("data: "):
                    continue
                states.append(json.loads(line.removeprefix("data: ")))
                await _advance(catalog, states[-1])
    return states


async def _advance(catalog: PostgresCatalog, state: dict[str, Any]) -> None:
    """The next step in the recording's life, only when the client has seen the one before."""
    (recording,) = await catalog.list()
    if state["status"] == "recording":
        await catalog.mark_ended(
            recording.id, recording.started_at + timedelta(minutes=1), EndReason.ENDLIST
        )
        await catalog.mark_processing(recording.id)
    elif state["status"] == "processing":
        completion = Completion(
            file_path="recordings/a.mp4",
            duration=60,
            file_size=1,
            completed_at=recording.started_at + timedelta(minutes=2),
        )
        await catalog.complete(recording.id, completion, {"frames_in": 1, "frames_out": 1})


async def test_streams_of_clients_that_left_do_not_fill_the_service(service: str) -> None:
    async with httpx.AsyncClient(base_url=service, timeout=30) as client:
        for _ in range(300):
            async with client.stream("GET", "/events") as answer:
                assert answer.status_code == 200
                assert await anext(answer.aiter_lines()) == "retry: 3000"


@pytest.mark.usefixtures("service")
def test_a_ray_of_our_own_listens_to_this_machine_alone() -> None:
    listening = {
        (process.name(), connection.laddr.ip)
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {name for name, _ in listening} > {"gcs_server", "raylet"}
    # Where replicas call each other, Serve lets nobody choose the address; it wants the token.
    outside = {name for name, at in listening if not _is_loopback(at)}
    assert outside <= {"ray::ServeReplica:vodray:RecordingService"}


def _is_loopback(address: str) -> bool:
    return ip_address(address.removeprefix("::ffff:")).is_loopback


@pytest.mark.usefixtures("ray_serve")
@pytest.mark.parametrize("token", [None, "0" * 64])
def test_a_ray_of_our_own_asks_for_its_token(token: str | None) -> None:
    variables = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    if token is not None:
        variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    address = ray.get_runtime_context().gcs_address
    done = subprocess.run(
        [Path(sys.executable).with_name("ray"), "status", "--address", address],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "nauthenticated" in done.stderr, done.stderr
