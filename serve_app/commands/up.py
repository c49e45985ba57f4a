"""``vodray up``: the whole service on this machine, until it is told to stop.

The service runs in a child, which Ray takes along when it dies: then another one is started.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import click

from serve_app.embedded.process import launch_argv

# How the child ends when there is no Ray any more: EX_TEMPFAIL of sysexits.h.
RAY_LOST = 75
# What dies sooner, so often in a row, would die again.
_SOON_S = 10.0
_MOST_DEATHS = 3
# The child promises to stop within 15 s.
_STOP_S = 20.0
_ANSWER_BYTES = 64


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
@click.pass_context
def command(ctx: click.Context, data_dir: Path, port: int | None, num_cpus: int | None) -> None:
    """Start the service with whatever the environment does not name.

    Without any variable set, PostgreSQL, an S3 server, a Kafka broker and Ray are started here,
    on free ports of the loopback interface, with generated credentials kept in DATA_DIR. With
    DATABASE_URL, MINIO_ENDPOINT, KAFKA_BROKERS or RAY_ADDRESS set, those are used instead.

    Prints one table of endpoints and credentials, then `ready`. Ctrl-C and SIGTERM stop it within
    15 seconds; the next `up` carries on with every unfinished recording. If Ray itself dies, it is
    started again.
    """
    child = _Child(data_dir, num_cpus)
    while not child.serve(port):
        # Imported here: `vodray up --help` must not wait for what the service needs.
        from serve_app.ports import wait_for_port

        click.echo(f"the service {child.how_it_ended}; starting again ...", err=True)
        port = child.port
        wait_for_port(port)
    ctx.exit(child.exit_code)


class _Child:
    """The process that serves. ``port``: the one it served at last."""

    def __init__(self, data_dir: Path, num_cpus: int | None) -> None:
        self._options = ["--data-dir", str(data_dir)]
        if num_cpus is not None:
            self._options += ["--num-cpus", str(num_cpus)]
        self._process: subprocess.Popen[bytes] | None = None
        self._told_to_stop = False
        self._deaths = 0
        self.port = self.exit_code = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGALRM, self._kill)

    def serve(self, port: int | None) -> bool:
        """Until it ends. False if it is to be started again: it served, and nobody told it to stop.
        Raises ``WorkerLost`` if it did not serve yet, or dies again and again."""
        if self._is_to_stop():
            return True
        told, tell = os.pipe()
        os.set_blocking(told, False)
        options = [*self._options, "--tell", str(tell)]
        if port is not None:
            options += ["--port", str(port)]
        argv = [sys.executable, "-P", "-m", "serve_app.serving", *options]
        self._process = subprocess.Popen(launch_argv(argv, signal.SIGKILL), pass_fds=(tell,))
        os.close(tell)
        if self._is_to_stop():
            self._process.terminate()
        self.exit_code = self._process.wait()
        served = os.read(told, _ANSWER_BYTES).split()
        os.close(told)
        if self._is_to_stop() or self.exit_code == 0:
            self.exit_code = max(0, self.exit_code)
            return True
        if served:
            was_soon = time.monotonic() - float(served[1]) < _SOON_S
            self._deaths = self._deaths + 1 if was_soon else 1
            self.port = int(served[0])
        elif self._deaths:
            # On a busy machine, to start again may take a second attempt.
            self._deaths += 1
        elif self.exit_code > 0:
            # It has said why.
            return True
        if 0 < self._deaths < _MOST_DEATHS:
            return False
        from pipeline.errors import WorkerLost

        raise WorkerLost(
            f"The service {self.how_it_ended} soon after the start", "See the logs under /tmp/ray"
        )

    def _is_to_stop(self) -> bool:
        # A signal may have changed it since it was asked last.
        return self._told_to_stop

    @property
    def how_it_ended(self) -> str:
        if self.exit_code == RAY_LOST:
            return "has lost Ray"
        if self.exit_code < 0:
            return f"was ended by {signal.Signals(-self.exit_code).name}"
        return f"ended with status {self.exit_code}"

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._told_to_stop = True
        signal.setitimer(signal.ITIMER_REAL, _STOP_S)
        if self._process is not None:
            self._process.terminate()

    def _kill(self, _number: int, _frame: FrameType | None) -> None:
        if self._process is not None:
            self._process.kill()
