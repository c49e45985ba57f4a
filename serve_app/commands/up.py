"""``vodray up``: the whole service on this machine, until it is told to stop."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.table import Table

from pipeline.errors import WorkerLost

# Ray that dies sooner would die again.
_SOON_S = 10.0


@click.command("up")
@click.option(
    "--data-dir",
    default=".vodray",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where embedded services keep their data and credentials.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="HTTP port; 0: any free one. Default: PORT, else 8083.",
)
@click.option("--num-cpus", type=click.IntRange(min=1), help="Workers to run. Default: all cores.")
def command(data_dir: Path, port: int | None, num_cpus: int | None) -> None:
    """Start the service with whatever the environment does not name.

    Without any variable set, PostgreSQL, an S3 server, a Kafka broker and Ray are started here,
    on free ports of the loopback interface, with generated credentials kept in DATA_DIR. With
    DATABASE_URL, MINIO_ENDPOINT, KAFKA_BROKERS or RAY_ADDRESS set, those are used instead.

    Prints one table of endpoints and credentials, then `ready`. Ctrl-C and SIGTERM stop it within
    15 seconds; the next `up` carries on with every unfinished recording. If Ray itself dies, it is
    started again.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    # Imported here: `vodray up --help` must not wait for Ray.
    from pipeline import logs
    from pipeline.settings import load_settings
    from serve_app.server import running, wait_for_port

    settings = load_settings(**({} if port is None else {"port": port}))
    logs.configure(settings)
    with running(settings, data_dir, num_cpus, _say) as endpoints:
        # Ray and its libraries may have set handlers of their own meanwhile.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        _print(endpoints)
        is_lost = _wait(stop, time.monotonic())
    sys.stdout.flush()
    sys.stderr.flush()
    if is_lost:
        # In a process of its own again: what is left of the old Ray in this one is of no use.
        port = urlsplit(endpoints.http).port or 0
        wait_for_port(port)
        os.execv(sys.executable, [*sys.orig_argv, "--port", str(port)])  # noqa: S606 - our own
    click.echo("stopped")
    sys.stdout.flush()
    # Nothing is left to do, and Ray's own exit handlers may wait for processes that are gone.
    os._exit(0)


def _wait(stop: threading.Event, begin: float) -> bool:
    """Until it is to stop, or Ray is lost: True, unless that was soon after the start."""
    from serve_app.local_ray import lost_processes

    while not stop.wait(timeout=1.0):
        if lost := lost_processes():
            problem = f"Ray's {' and '.join(lost)} died"
            if time.monotonic() - begin < _SOON_S:
                raise WorkerLost(f"{problem} soon after the start", "See the logs under /tmp/ray")
            _say(f"{problem}; starting again")
            return True
    return False


def _say(step: str) -> None:
    click.echo(f"{step} ...", err=True)


def _print(endpoints: Any) -> None:
    rows = [
        ("HTTP API", endpoints.http),
        ("webhook", f"{endpoints.http}/webhook/stream"),
        ("PostgreSQL", endpoints.postgres),
        ("S3", endpoints.s3),
        ("S3 access key", endpoints.s3_access_key),
        ("S3 secret key", endpoints.s3_secret_key),
        ("live segments in", f"s3://{endpoints.hls_bucket}/{{stream_key}}/stream.m3u8"),
        ("recordings in", f"s3://{endpoints.bucket}"),
        ("Kafka", endpoints.kafka or "off"),
        ("Ray dashboard", endpoints.ray_dashboard or "off"),
        ("data", endpoints.data_dir),
    ]
    console = Console()
    if console.is_terminal:
        table = Table(show_header=False)
        for row in rows:
            table.add_row(*row)
        # Long values are wrapped by the terminal, if at all, so that they can be copied whole.
        console.print(table, width=max(console.width, console.measure(table).maximum))
    else:
        for name, value in rows:
            click.echo(f"{name}\t{value}")
    for note in endpoints.notes:
        click.echo(f"note: {note}")
    click.echo("ready")
