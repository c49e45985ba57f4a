"""``vodray`` as a user starts it: a process of its own, nothing of our environment in it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from serve_app.embedded import launch

ROOT = Path(__file__).parents[2]
READY_S = 120.0
# The contract's bound.
STOP_S = 15.0
# Everything that waits waits short.
QUICK = {
    "MONITOR_INTERVAL": "500ms",
    "STALL_TIMEOUT": "6s",
    "RECONNECT_WINDOW": "5s",
    "RETRY_DELAY": "200ms",
    "MAX_RETRY_ATTEMPTS": "3",
}
_COMMAND = (sys.executable, "-m", "serve_app.cli")
_OURS = ("DATABASE_", "DB_", "MINIO_", "KAFKA_", "RAY_", "AUTH_", "WEBHOOK_", "LOG_", "VODRAY_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on stderr that says what is wrong."""
        lines = [line for line in self.err.splitlines() if line.startswith("vodray: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return {**kept, "PYTHONPATH": str(ROOT), **QUICK, **variables}


def vodray(*arguments: str | Path, cwd: Path, timeout_s: float = 100, **variables: str) -> Done:
    """Run a command to its end. ``cwd`` must hold no ``.env``."""
    process = start(*arguments, cwd=cwd, **variables)
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Done(code=process.returncode, out=out, err=err)


def start(*arguments: str | Path, cwd: Path, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*_COMMAND, *arguments],
        cwd=cwd,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _mortal() -> list[str]:
    """Makes the command end, as on SIGTERM, when this process ends without having stopped it."""
    return [sys.executable, launch.__file__, str(os.getpid()), str(int(signal.SIGTERM)), "", ""]


class Service:
    """``vodray up``, which may be stopped, killed and started again over the same data.

    ``port``: 0 is another one at each start. ``within``: the program that runs it, if any.
    """

    port = 0

    def __init__(self, folder: Path, *, within: Sequence[str] = (), **variables: str) -> None:
        self._within = within
        self.data_dir = folder / "data"
        self._folder, self._variables = folder, variables
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoints: dict[str, Any] = {}
        self.log = folder / "up.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> dict[str, Any]:
        """Returns the endpoints once ``ready`` was printed."""
        written = self.data_dir / "endpoints.json"
        written.unlink(missing_ok=True)
        options = ("--data-dir", self.data_dir, "--port", str(self.port), "--num-cpus", "2")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_mortal(), *self._within, *_COMMAND, "up", *options],
                cwd=self._folder,
                env=environment(**self._variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        give_up = time.monotonic() + READY_S
        while not written.exists():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up, self.log.read_text()
            time.sleep(0.05)
        self.endpoints = json.loads(written.read_text())
        return self.endpoints

    def stop(self) -> float:
        """SIGTERM; returns how many seconds it took to end, which it must do by itself."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(2 * STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        assert code == 0, self.log.read_text()
        return time.monotonic() - began

    def kill_actor(self, actor: str) -> None:
        """SIGKILL to all processes of this class, as the kernel does it when memory is short.

        Returns when another is there.
        """
        title = rf"ray::(\S+:)?{actor}\b"
        before = self.processes(title)
        assert before, f"there is no {actor}"
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        give_up = time.monotonic() + READY_S
        while not self.processes(title) - before:
            assert time.monotonic() < give_up, f"{actor} was not started again"
            time.sleep(0.05)

    def lose(self, title: str) -> None:
        """SIGKILL to the process that serves, or to one of Ray itself. Returns once the service has
        started again, which it must do by itself."""
        written = self.data_dir / "endpoints.json"
        before = written.stat().st_mtime_ns
        for pid in self.processes(title):
            os.kill(pid, signal.SIGKILL)
        give_up = time.monotonic() + READY_S
        while not written.exists() or written.stat().st_mtime_ns == before:
            assert self.is_running, self.log.read_text()
            assert time.monotonic() < give_up, self.log.read_text()
            time.sleep(0.05)
        self.endpoints = json.loads(written.read_text())

    def processes(self, title: str) -> set[int]:
        """Those of this service whose command line begins with ``title``, a regular expression.

        Ray names a process after its actor and, while it is in a call, the method.
        """
        wanted = re.compile(title)
        found = set()
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                # What was started first leads the session, also when it is gone.
                if os.getsid(process.pid) == self.pid and wanted.match(
                    " ".join(process.cmdline()).strip()
                ):
                    found.add(process.pid)
        return found

    @property
    def is_running(self) -> bool:
        """Whether the process that was started is."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL to the process that was started; the rest must end by itself."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)
