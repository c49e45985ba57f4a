"""The process that serves for ``vodray up``, its child: Ray may end it at any time, with itself.

Ends with 0 when it was told to, with ``RAY_LOST`` when there is no Ray any more.
"""

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

from serve_app.commands._errors import explained
from serve_app.commands.up import RAY_LOST


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), required=True)
@click.option("--port", type=int)
@click.option("--num-cpus", type=int)
@click.option("--tell", type=int, required=True, help="Descriptor for the port, once it serves.")
def main(data_dir: Path, port: int | None, num_cpus: int | None, tell: int) -> None:
    stop = threading.Event()
    _heed_signals(stop)
    os.set_inheritable(tell, False)
    with explained():
        is_lost = _serve(data_dir, port, num_cpus, tell, stop)
    if not is_lost:
        click.echo("stopped")
    sys.stdout.flush()
    sys.stderr.flush()
    # Nothing is left to do, and Ray's own exit handlers may wait for processes that are gone.
    os._exit(RAY_LOST if is_lost else 0)


def _heed_signals(stop: threading.Event) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())


def _serve(
    data_dir: Path, port: int | None, num_cpus: int | None, tell: int, stop: threading.Event
) -> bool:
    """Until it is to stop, or Ray is lost: True."""
    from pipeline import logs
    from pipeline.settings import load_settings
    from serve_app.local_ray import lost_processes
    from serve_app.server import running

    settings = load_settings(**({} if port is None else {"port": port}))
    logs.configure(settings)
    with running(settings, data_dir, num_cpus, _say) as endpoints:
        # Ray and its libraries may have set handlers of their own meanwhile.
        _heed_signals(stop)
        os.write(tell, f"{urlsplit(endpoints.http).port} {time.monotonic()}".encode())
        _print(endpoints)
        while not stop.wait(timeout=1.0):
            if lost := lost_processes():
                _say(f"Ray's {' and '.join(lost)} died")
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


if __name__ == "__main__":
    main()
