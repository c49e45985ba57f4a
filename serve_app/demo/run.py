"""The demo itself: start the service, be the platform, judge the results."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from pipeline.errors import WorkerLost
from pipeline.settings import Settings, load_settings
from pipeline.stores.connect import make_store
from serve_app.demo.platform import Platform
from serve_app.demo.stream import check_input, make_stream, read_stream

_UP_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 20.0
_STREAM_S = 60
# A live segment every 0.4 s: ten times as fast as life.
_LIVE_PAUSE_S = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One recording. ``waited_s``: from the last sign of the end to the finished VOD."""

    title: str
    recording: dict[str, Any]
    report: dict[str, Any]
    waited_s: float
    verified: bool


def run(input_ref: str | None, data_dir: Path) -> list[Result]:
    """Record ``input_ref``, or a stream made here. Raises ``VodrayError``."""
    if input_ref is not None:
        check_input(input_ref, load_settings())
    with _service(data_dir) as endpoints:
        settings = load_settings(
            minio_endpoint=endpoints["s3"].split("://")[1],
            minio_use_ssl=endpoints["s3"].startswith("https"),
            minio_access_key=endpoints["s3_access_key"],
            minio_secret_key=endpoints["s3_secret_key"],
        )
        brokers = tuple((endpoints["kafka"] or "").split(","))
        platform = Platform(
            endpoints["http"],
            replace(settings.kafka_access, brokers=brokers),
            make_store(settings),
            endpoints["hls_bucket"],
        )
        with tempfile.TemporaryDirectory() as folder:
            reference = input_ref
            if reference is None:
                with _step(f"encoding {_STREAM_S} s of 720p25 H.264 + AAC as HLS"):
                    reference = str(make_stream(Path(folder), _STREAM_S))
            results = [_live(platform, settings, reference, hurry=input_ref is not None)]
            if endpoints["kafka"]:
                results.append(_ended(platform, settings, reference))
        return [_judged(result, settings, data_dir) for result in results]


def _live(platform: Platform, settings: Settings, reference: str, *, hurry: bool) -> Result:
    """A live stream, announced twice by webhook: one recording."""
    key = stream_id = f"demo-live-{int(time.time())}"
    with _step("live: webhook stream.started, segments appear, webhook stream.ended") as took:
        platform.webhook("stream.started", key, stream_id)
        platform.webhook("stream.started", key, stream_id)
        pause_s = 0.0 if hurry else _LIVE_PAUSE_S
        count = platform.publish(key, read_stream(reference, settings), pause_s, ended=True)
        begin = time.monotonic()
        platform.webhook("stream.ended", key, stream_id)
        recording = platform.wait_done(stream_id)
        waited = time.monotonic() - begin
        took(f"{count} segments")
    return _result("live, by webhook", platform, recording, waited)


def _ended(platform: Platform, settings: Settings, reference: str) -> Result:
    """A stream that has ended already, announced twice by Kafka: one recording."""
    key = stream_id = f"demo-ended-{int(time.time())}"
    with _step("ended: segments are all there, Kafka message 'process'") as took:
        count = platform.publish(key, read_stream(reference, settings), 0.0, ended=True)
        begin = time.monotonic()
        platform.message(settings.kafka_topic, "process", key, stream_id)
        platform.message(settings.kafka_topic, "process", key, stream_id)
        recording = platform.wait_done(stream_id)
        waited = time.monotonic() - begin
        took(f"{count} segments")
    return _result("ended, by Kafka", platform, recording, waited)


def _result(title: str, platform: Platform, recording: dict[str, Any], waited_s: float) -> Result:
    done = recording["status"] == "completed"
    return Result(
        title=title,
        recording=recording,
        waited_s=waited_s,
        verified=False,
        report=platform.report(recording["id"]) if done else {},
    )


def _judged(result: Result, settings: Settings, data_dir: Path) -> Result:
    """Verified again from the bucket by ``vodray verify``, and copied out of it to look at."""
    path = result.recording["file_path"]
    if not path:
        return result
    with _step(f"vodray verify s3://{path}"):
        answer = subprocess.run(
            [sys.executable, "-m", "serve_app.cli", "verify", f"s3://{path}"],
            env=os.environ
            | {
                "MINIO_ENDPOINT": settings.minio_endpoint or "",
                "MINIO_ACCESS_KEY": settings.minio_access_key,
                "MINIO_SECRET_KEY": settings.minio_secret_key.get_secret_value(),
                "MINIO_USE_SSL": str(settings.minio_use_ssl).lower(),
            },
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    if answer.returncode != 0:
        click.echo(answer.stderr.strip(), err=True)
    _copy_out(path, settings, data_dir)
    return Result(
        title=result.title,
        recording=result.recording,
        report=result.report,
        waited_s=result.waited_s,
        verified=answer.returncode == 0,
    )


def _copy_out(path: str, settings: Settings, data_dir: Path) -> None:
    store, (bucket, _, key) = make_store(settings), path.partition("/")
    name = key.removesuffix(".mp4")
    for found in list(store.list(bucket, name)):
        target = results_folder(data_dir) / found.key
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(store.get(bucket, found.key, max_bytes=2**40))


def results_folder(data_dir: Path) -> Path:
    return data_dir / "results"


@contextmanager
def _step(title: str) -> Iterator[Callable[[str], None]]:
    """Time a step and tell it when it is done; the yielded function adds a detail."""
    details: list[str] = []
    begin = time.monotonic()
    yield details.append
    _tell(", ".join([title, *details]), time.monotonic() - begin)


def _tell(title: str, seconds: float) -> None:
    click.echo(f"{seconds:7.1f} s  {title}")


@contextmanager
def _service(data_dir: Path) -> Iterator[dict[str, Any]]:
    """``vodray up`` as a user starts it, in a process of its own."""
    data_dir.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    endpoints = data_dir / "endpoints.json"
    endpoints.unlink(missing_ok=True)
    log = data_dir / "demo.log"
    log.unlink(missing_ok=True)
    # It holds the credentials that `up` prints.
    log.touch(mode=0o600)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "serve_app.cli",
                "up",
                "--data-dir",
                str(data_dir),
                "--port",
                "0",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        give_up = time.monotonic() + _UP_TIMEOUT_S
        while not endpoints.exists():
            if process.poll() is not None or time.monotonic() > give_up:
                said = [line for line in log.read_text(errors="replace").splitlines() if line]
                raise WorkerLost(
                    f"vodray up did not start: {said[-1] if said else 'no output'}", f"See {log}"
                )
            time.sleep(0.1)
        _tell("vodray up: PostgreSQL, S3, Kafka, Ray, HTTP", time.monotonic() - begin)
        yield json.loads(endpoints.read_text())
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
