"""Child processes that end with us: start, wait until ready, stop, and leftovers of a killed run.

A child works in a folder of its own. That is how a leftover is told from a stranger: it runs the
same program in the same folder, and whoever holds the data directory's lock is the only rightful
owner of that folder. A process id alone may have been given to someone else.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pipeline.errors import ServiceFailed

_LAUNCHER = Path(__file__).with_name("launch.py")
_POLL_S = 0.025
_LEFTOVER_STOP_S = 5.0
_MAX_LOG_BYTES = 16 * 2**20
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "TZ")

# The kernel takes the end of the thread that started a child for the parent's death.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vodray-spawn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program to run. ``user`` and ``reach`` as in ``launch.py``."""

    title: str
    argv: tuple[str, ...]
    folder: Path
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    user: str = ""
    reach: bool = False
    stop_signal: signal.Signals = signal.SIGTERM

    def launch_argv(self) -> list[str]:
        return launch_argv(self.argv, self.stop_signal, self.user, reach=self.reach)


def clean_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """What a child may see: ours would bring ``PGDATA`` or ``AWS_ACCESS_KEY_ID`` along."""
    ours = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**ours, "LC_ALL": "C.UTF-8", **(extra or {})}


def launch_argv(
    argv: Sequence[str], stop_signal: signal.Signals, user: str = "", *, reach: bool = False
) -> list[str]:
    """The command line that runs ``argv`` through ``launch.py`` as a child of ours."""
    return [
        sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()),
        str(int(stop_signal)), user, str(int(reach)), *argv,
    ]  # fmt: skip


class Child:
    """A running program."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._process = _SPAWNER.submit(self._spawn).result()

    def _spawn(self) -> subprocess.Popen[bytes]:
        log = self._command.log
        if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            return subprocess.Popen(
                self._command.launch_argv(),
                cwd=self._command.folder,
                env=clean_environment(self._command.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us, who stop children in order
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self, is_ready: Callable[[], bool], timeout_s: float) -> None:
        """Return once ``is_ready()``. Raises ``ServiceFailed`` with the last line of the log."""
        deadline = time.monotonic() + timeout_s
        while not is_ready():
            if not self.is_alive():
                raise self._failed(f"ended with status {self._process.returncode}")
            if time.monotonic() > deadline:
                raise self._failed(f"was not ready after {timeout_s:.0f} s")
            time.sleep(_POLL_S)

    def _failed(self, what: str) -> ServiceFailed:
        command = self._command
        return ServiceFailed(
            f"{command.title} {what}: {last_line(command.log)}", f"Its log is {command.log}"
        )

    def ask_to_stop(self) -> None:
        if self.is_alive():
            self._process.send_signal(self._command.stop_signal)

    def wait_stopped(self, timeout_s: float) -> None:
        """Wait for the end; kill what is left after ``timeout_s`` seconds."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_LEFTOVER_STOP_S)


def last_line(log: Path) -> str:
    """The last line of a log that says something, at most 300 characters."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "it wrote nothing"


def end_leftovers(folder: Path, program: str) -> None:
    """End processes of ``program`` (a file name) that still work in ``folder``."""
    leftovers = [process for process in psutil.process_iter() if _works(process, folder, program)]
    for verb in ("terminate", "kill"):
        for process in leftovers:
            with suppress(psutil.NoSuchProcess):
                getattr(process, verb)()
        deadline = time.monotonic() + _LEFTOVER_STOP_S
        while (leftovers := [p for p in leftovers if _is_alive(p)]) and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def _works(process: psutil.Process, folder: Path, program: str) -> bool:
    try:
        return Path(process.cwd()) == folder and Path(process.exe()).name == program
    except (psutil.Error, OSError):
        return False


def _is_alive(process: psutil.Process) -> bool:
    """A zombie is dead: in a container without an init nobody may ever collect it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
