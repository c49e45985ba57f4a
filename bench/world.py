"""The service under measurement, started as a user starts it, and the buckets that all share."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from minio import Minio

from bench.flame import flame_graph
from bench.peers import Place
from pipeline.errors import WorkerLost
from pipeline.model import Recording, Status
from pipeline.settings import Settings, load_settings
from pipeline.stores.connect import make_catalog, make_store
from pipeline.stores.objects import ObjectStore

_UP_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 20.0
_DONE_TIMEOUT_S = 1800.0
_UPLOADS = 4
# The service makes ready for the next recording meanwhile, as it would between two streams.
_CALM_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A running service. ``settings`` name its stores and brokers; ``pid`` is the root of its
    processes; ``folder`` goes when it ends."""

    folder: Path
    http: str
    settings: Settings
    store: ObjectStore
    pid: int

    def publish(self, folder: Path, prefix: str) -> Place:
        """Put a folder of HLS into the bucket where live segments appear."""
        files = sorted(path for path in folder.iterdir() if path.is_file())
        with ThreadPoolExecutor(_UPLOADS) as pool:
            for done in [pool.submit(self._put, path, prefix) for path in files]:
                done.result()
        return Place(
            objects=self.store,
            source_bucket=self.settings.minio_hls_bucket,
            playlist_key=f"{prefix}/stream.m3u8",
            bucket=self.settings.minio_bucket,
            scratch=self.folder / "scratch",
        )

    def _put(self, path: Path, prefix: str) -> None:
        kind = "video/mp2t" if path.suffix == ".ts" else "application/vnd.apple.mpegurl"
        key = f"{prefix}/{path.name}"
        self.store.put(self.settings.minio_hls_bucket, key, path.read_bytes(), kind)

    def record(self, stream_id: str, hls_path: str, profile: str = "copy") -> Recording:
        """Announce that a stream has ended; returns once its recording is final."""
        self.announce("stream.ended", stream_id, hls_path, profile)
        return _completed(self.wait_for(stream_id, lambda recording: recording.status.is_final))

    @property
    def webhook(self) -> str:
        return f"{self.http}/webhook/stream"

    def announce(self, event: str, stream_id: str, hls_path: str, profile: str = "copy") -> None:
        """By webhook."""
        body = webhook_body(event, stream_id, hls_path, profile)
        httpx.post(self.webhook, json=body, timeout=30.0).raise_for_status()

    def wait_for(self, stream_id: str, is_reached: Callable[[Recording], bool]) -> Recording:
        """The latest recording, if it is of this stream, once it is as it should be."""
        return asyncio.run(self._wait_for(stream_id, is_reached))

    async def _wait_for(self, stream_id: str, is_reached: Callable[[Recording], bool]) -> Recording:
        """Told by PostgreSQL: asking again and again would be a load of its own."""
        catalog = make_catalog(self.settings)
        await catalog.open()
        try:
            async with asyncio.timeout(_DONE_TIMEOUT_S), aclosing(catalog.changes()) as changes:
                while True:
                    for recording in await catalog.list(limit=1):
                        if recording.stream_id == stream_id and is_reached(recording):
                            return recording
                    await anext(changes)
        except TimeoutError:
            raise WorkerLost(f"{stream_id}: nothing came in {_DONE_TIMEOUT_S:.0f} s") from None
        finally:
            await catalog.close()

    def report(self, recording: Recording) -> dict[str, Any]:
        answer = httpx.get(f"{self.http}/recordings/{recording.id}/report", timeout=30.0)
        answer.raise_for_status()
        report: dict[str, Any] = answer.json()
        return report

    def settle(self, expected_bytes: int) -> None:
        """Behind one contender, so that nobody pays for what the one before has left to write or to
        delete. Raises ``WorkerLost``, see ``check_result``."""
        self.check_result(expected_bytes)
        self.empty_results()
        os.sync()
        time.sleep(_CALM_S)

    def check_result(self, expected_bytes: int) -> None:
        """Raise unless there is one MP4 of about this size: nobody wins by leaving things out."""
        bucket = self.settings.minio_bucket
        found = [o for o in self.store.list(bucket, "") if "/" not in o.key]
        sizes = [o.size_bytes for o in found if o.key.endswith(".mp4")]
        if len(sizes) != 1 or not 0.9 < sizes[0] / expected_bytes < 1.1:
            raise WorkerLost(f"Not one MP4 of {expected_bytes} bytes came out: {sizes}")

    def take_results(self, folder: Path) -> None:
        """Copy all MP4s but init segments to ``folder``, under their keys."""
        bucket = self.settings.minio_bucket
        for found in self.store.list(bucket, ""):
            if found.key.endswith(".mp4") and ".init" not in found.key:
                path = folder / found.key
                path.parent.mkdir(parents=True, exist_ok=True)
                data = self.store.get(bucket, found.key, max_bytes=found.size_bytes)
                path.write_bytes(data)

    def empty_results(self) -> None:
        """Drop all results, bucket and all: SeaweedFS frees their disk at once then."""
        settings = self.settings
        assert settings.minio_endpoint is not None
        client = Minio(
            settings.minio_endpoint,
            settings.minio_access_key,
            settings.minio_secret_key.get_secret_value(),
            secure=settings.minio_use_ssl,
        )
        client.remove_bucket(settings.minio_bucket)
        self.store.ensure_bucket(settings.minio_bucket)


def webhook_body(
    event: str, stream_id: str, hls_path: str, profile: str = "copy"
) -> dict[str, str]:
    return {
        "event": event,
        "stream_id": stream_id,
        "stream_key": stream_id,
        "user_id": "bench",
        "timestamp": datetime.now(UTC).isoformat(),
        "hls_path": hls_path,
        "profile": profile,
    }


def _completed(recording: Recording) -> Recording:
    if recording.status is not Status.COMPLETED or recording.gaps:
        raise WorkerLost(f"The recording failed: {recording.error or recording.gaps}")
    return recording


@contextmanager
def running(folder: Path, workers: int = 0, flame: Path | None = None) -> Iterator[World]:
    """``vodray up`` with embedded services and their data below ``folder``, until the end of the
    context. ``workers``: 0: one per core; ``flame``: where to draw what they do. Raises
    ``WorkerLost``."""
    folder.mkdir(parents=True, exist_ok=True)
    data_dir = Path(tempfile.mkdtemp(prefix="service-", dir=folder))
    log = data_dir / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "serve_app.cli", "up",
             "--data-dir", str(data_dir), "--port", "0",
             *(["--num-cpus", str(workers)] if workers else [])],
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True, env=_environment(),
        )  # fmt: skip
    try:
        _wait_ready(process, log)
        with flame_graph(process.pid, flame):
            endpoints = json.loads((data_dir / "endpoints.json").read_text())
            yield _world(endpoints, process.pid, data_dir)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_TIMEOUT_S)
        shutil.rmtree(data_dir, ignore_errors=True)


def _environment() -> dict[str, str]:
    """Ours without what would name services of somebody else."""
    foreign = ("DATABASE_URL", "DB_HOST", "MINIO_ENDPOINT", "KAFKA_", "RAY_ADDRESS")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def _wait_ready(process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up = time.monotonic() + _UP_TIMEOUT_S
    while b"\nready" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > give_up:
            raise WorkerLost("vodray up did not start", log.read_text(errors="replace")[-2000:])
        time.sleep(0.1)


def _world(endpoints: dict[str, Any], pid: int, folder: Path) -> World:
    settings = load_settings(
        database_url=endpoints["postgres"],
        minio_endpoint=endpoints["s3"].split("://")[1],
        minio_use_ssl=False,
        minio_access_key=endpoints["s3_access_key"],
        minio_secret_key=endpoints["s3_secret_key"],
        kafka_brokers=endpoints["kafka"],
    )
    return World(
        folder=folder,
        http=endpoints["http"],
        settings=settings,
        store=make_store(settings),
        pid=pid,
    )
