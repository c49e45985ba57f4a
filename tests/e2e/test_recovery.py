"""Processes end in the middle of a live recording: it goes on where it was, and nothing is missing.

All cases make the same object as a recording that nobody disturbed, to the byte.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from minio import Minio

from tests.e2e.conftest import NewBroadcast
from tests.e2e.heavy import STEP, begin, finish, step
from tests.e2e.service import STOP_S, Service
from tests.e2e.world import Broadcast, World, eventually
from tests.media import assert_same_packets, remux_with_ffmpeg

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def service(patient_service: Service) -> Service:
    return patient_service


@pytest.fixture
def world(service: Service) -> Iterator[World]:
    with closing(World(service.endpoints)) as world:
        yield world


@pytest.fixture(scope="module")
def undisturbed(service: Service, heavy: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The object of a recording in which nothing happened."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with closing(World(service.endpoints)) as world:
        live = begin(Broadcast(world=world, playlist=heavy))
        step(live)
        done = finish(live)
        report = world.report(done)
        mp4 = world.fetch(done, folder)
    assert len(report["chunks"]) > 3
    assert report["frames_in"] == report["frames_out"]
    assert_same_packets(mp4, remux_with_ffmpeg(heavy, folder / "reference.mp4"), tolerance_s=1e-4)
    return mp4.read_bytes()


@pytest.mark.parametrize(
    "actor",
    ["Worker", "RecordingProcess", "CaptureProcess", "Pool", "Reconciler", "KafkaProcess"],
)
def test_an_actor_is_killed(
    actor: str,
    service: Service,
    world: World,
    undisturbed: bytes,
    broadcast: NewBroadcast,
    heavy: Path,
    tmp_path: Path,
) -> None:
    live = begin(broadcast(heavy))
    live.show(STEP)
    service.kill_actor(actor)
    eventually(lambda: live.recording()["progress"]["segments"] == live.shown)
    done = finish(live)
    assert world.fetch(done, tmp_path).read_bytes() == undisturbed
    after = broadcast()
    after.show_whole()
    after.task("process")
    after.completed()


def test_the_upload_is_aborted(
    world: World, undisturbed: bytes, broadcast: NewBroadcast, heavy: Path, tmp_path: Path
) -> None:
    """By a rule of the bucket, say: what was in it is made again from what was captured."""
    live = begin(broadcast(heavy))
    bucket = str(world.endpoints["bucket"])
    (upload,) = world.store.uploads(bucket, live.key)
    world.store.abort_upload(bucket, upload.key, upload.upload_id)
    step(live)
    done = finish(live)
    assert world.fetch(done, tmp_path).read_bytes() == undisturbed
    assert world.store.uploads(bucket, live.key) == ()


def test_the_api_is_killed(service: Service, world: World, broadcast: NewBroadcast) -> None:
    """The next one listens on the same port, although connections of clients linger there."""
    assert world.http.get("/health").status_code == 200
    with httpx.Client(base_url=service.endpoints["http"]) as lingering:
        assert lingering.get("/health").status_code == 200
        service.kill_actor("ServeReplica")

        def is_back() -> bool:
            try:
                return world.http.get("/health").status_code == 200
            except httpx.TransportError:
                return False

        eventually(is_back, within_s=30)
    after = broadcast()
    after.show_whole()
    after.tell("ended")
    after.completed()


_PROCESSES = {
    "serving": r"\S+ -P -m serve_app\.serving\b",
    "raylet": r"\S*/raylet\b",
    "gcs_server": r"\S*/gcs_server\b",
}


@pytest.mark.parametrize(
    "how",
    [
        *("kill", "raylet"),
        # A service is stopped in the middle of a stream in tests/e2e/test_ingest.py; in the other
        # two it ends, and begins anew, as it does without its raylet.
        *(pytest.param(name, marks=pytest.mark.soak) for name in ("stop", "serving", "gcs_server")),
    ],
)
def test_the_service_or_ray_ends_and_is_started_again(
    how: str,
    service: Service,
    undisturbed: bytes,
    broadcast: NewBroadcast,
    heavy: Path,
    tmp_path: Path,
) -> None:
    live = begin(broadcast(heavy))
    recording = live.recording()
    before = live.world.finished_chunks(recording["id"])
    if how == "stop":
        assert service.stop() < STOP_S
    elif how == "kill":
        service.kill()
    if how in ("stop", "kill"):
        service.start()
    else:
        service.lose(_PROCESSES[how])
    with closing(World(service.endpoints)) as live.world:
        assert live.recording()["id"] == recording["id"]
        step(live)
        assert before.items() <= live.world.finished_chunks(recording["id"]).items()
        done = finish(live)
        assert live.world.fetch(done, tmp_path).read_bytes() == undisturbed


@pytest.mark.parametrize("which", ["bucket", "hls_bucket"])
def test_a_bucket_is_gone(which: str, world: World, broadcast: NewBroadcast) -> None:
    bucket = str(world.endpoints[which])
    lost = broadcast()
    if which == "bucket":
        lost.show_whole()
    keys = [found.key for found in world.store.list(bucket, "")]
    world.store.delete(bucket, keys)
    endpoint = world.endpoints["s3"].removeprefix("http://")
    secrets = (world.endpoints["s3_access_key"], world.endpoints["s3_secret_key"])
    Minio(endpoint, *secrets, secure=False).remove_bucket(bucket)
    try:
        assert world.http.get("/health").status_code == 503
        lost.tell("ended")
        (recording,) = lost.finished()
        assert recording["status"] == "failed"
        assert bucket in recording["error"]
        assert "Check MINIO_BUCKET and MINIO_HLS_BUCKET" in recording["error"]
    finally:
        world.store.ensure_bucket(bucket)
    after = broadcast()
    after.show_whole()
    after.tell("ended")
    after.completed()
