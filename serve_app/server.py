"""The service of this process: embedded services, Ray, actors and the Serve app, in this order up
and in the reverse order down.

What can be wrong with settings and stores is found out before Ray is imported, which takes seconds.
"""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from pipeline.errors import WorkerLost
from pipeline.settings import Settings
from pipeline.stores.connect import make_catalog, make_store
from serve_app.embedded.service import free_ports
from serve_app.embedded.services import EmbeddedServices, start_missing
from serve_app.ports import HOST, check_port

_READY_TIMEOUT_S = 90.0
ENDPOINTS_FILE = "endpoints.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where everything is. Holds secrets: for the operator's terminal and a 0600 file only."""

    http: str
    postgres: str
    s3: str
    s3_access_key: str
    s3_secret_key: str
    bucket: str
    hls_bucket: str
    kafka: str | None
    ray_dashboard: str | None
    data_dir: str
    notes: tuple[str, ...]


@contextmanager
def running(
    settings: Settings, data_dir: Path, num_cpus: int | None, say: Callable[[str], None]
) -> Iterator[Endpoints]:
    """The whole service inside; ``say`` is told each step. Raises ``VodrayError``."""
    if settings.port:
        check_port(settings.port)
    say("starting services")
    settings, services = start_missing(settings, data_dir)
    path = data_dir / ENDPOINTS_FILE
    path.unlink(missing_ok=True)
    with contextlib.ExitStack() as undo:
        undo.callback(services.stop)
        _prepare_buckets(settings)
        asyncio.run(_prepare_database(settings))
        say("starting Ray")
        from serve_app.deployment import deployed

        # Chosen now, since the embedded services take free ports too.
        port = settings.port or free_ports(1)[0]
        dashboard = undo.enter_context(deployed(settings, HOST, port, num_cpus, say))
        endpoints = _endpoints(settings, services, data_dir, port, dashboard)
        _wait_healthy(endpoints.http)
        _write_private(path, endpoints)
        undo.callback(path.unlink, missing_ok=True)
        yield endpoints
        say("stopping")


def _prepare_buckets(settings: Settings) -> None:
    """Make the buckets, so that wrong credentials are told at start and not by the first task."""
    store = make_store(settings)
    for bucket in (settings.minio_bucket, settings.minio_hls_bucket):
        store.ensure_bucket(bucket)


async def _prepare_database(settings: Settings) -> None:
    """Migrate, for the same reason. A server that is still starting is waited for."""
    catalog = make_catalog(settings)
    await catalog.open()
    await catalog.close()


def _wait_healthy(http: str) -> None:
    """Until ``/health`` says 200: the workers are up and the stores answer."""
    give_up = time.monotonic() + _READY_TIMEOUT_S
    said = "no answer"
    while time.monotonic() < give_up:
        try:
            answer = httpx.get(f"{http}/health", timeout=10.0)
            if answer.status_code == httpx.codes.OK:
                return
            said = answer.text
        except httpx.HTTPError as error:
            said = str(error)
        time.sleep(0.2)
    raise WorkerLost(f"The service did not become healthy within {_READY_TIMEOUT_S:.0f} s: {said}")


def _endpoints(
    settings: Settings,
    services: EmbeddedServices,
    data_dir: Path,
    port: int,
    dashboard: str | None,
) -> Endpoints:
    scheme = "https" if settings.minio_use_ssl else "http"
    return Endpoints(
        http=f"http://127.0.0.1:{port}",
        postgres=settings.database_dsn or "",
        s3=f"{scheme}://{settings.minio_endpoint}",
        s3_access_key=settings.minio_access_key,
        s3_secret_key=settings.minio_secret_key.get_secret_value(),
        bucket=settings.minio_bucket,
        hls_bucket=settings.minio_hls_bucket,
        kafka=",".join(settings.kafka_brokers) or None,
        ray_dashboard=dashboard,
        data_dir=str(data_dir.resolve()),
        notes=(*services.notes, *_open_doors(settings)),
    )


def _open_doors(settings: Settings) -> list[str]:
    """What an operator may take for protected, and is not."""
    if settings.has_access_control and settings.webhook_secret is None:
        return ["WEBHOOK_SECRET is not set: whoever reaches the port may have streams recorded"]
    return []


def _write_private(path: Path, endpoints: Endpoints) -> None:
    text = json.dumps({name: getattr(endpoints, name) for name in endpoints.__slots__}, indent=2)
    draft = path.with_name(f"{path.name}.draft-{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
    # Whoever waits for it finds it whole.
    draft.rename(path)
