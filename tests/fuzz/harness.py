"""Gives seeds to child processes, one at a time each, and sees what becomes of them."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

# Of processor time; a machine that does other things as well gives that in so many times as long.
LIMIT_S = 20.0
_SHARE = 10
_START_S = 60.0
_LAST_WORDS = 6000
# Heaps of short-lived threads grow and stay: a leak could not be told from that.
_FEW_ARENAS = {"MALLOC_ARENA_MAX": "2"}
_REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of one seed. ``problem`` is empty if all is well; ``rss_bytes``: of the child
    behind it, 0 if that is dead; ``child``: which one it was, by process id."""

    seed: str
    outcome: str
    problem: str
    story: str
    seconds: float
    child: int
    rss_bytes: int

    def __str__(self) -> str:
        return f"python -m tests.fuzz {self.seed}\n  {self.story}\n  {self.problem}"


class Child:
    """One child process; a new one if it has died. Not for several threads."""

    def __init__(self, clips: Path, log: Path) -> None:
        self._clips, self._log = clips, log
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()

    def try_seed(self, seed: str) -> Finding:
        process = self._process or self._start()
        begin = time.monotonic()
        assert process.stdin is not None
        process.stdin.write(f"{seed}\n")
        process.stdin.flush()
        line = self._answer(psutil.Process(process.pid))
        seconds = time.monotonic() - begin
        if line:
            rss = psutil.Process(process.pid).memory_info().rss
            return Finding(
                seed=seed, seconds=seconds, child=process.pid, rss_bytes=rss, **json.loads(line)
            )
        outcome = "died" if process.poll() is not None else f"hangs after {LIMIT_S:.0f} s"
        if process.poll() is None:
            process.send_signal(signal.SIGUSR1)
            time.sleep(0.5)
        self.close()
        said = self._log.read_text(errors="replace")[-_LAST_WORDS:]
        problem = f"{outcome}, return code {process.returncode}\n{said}"
        return Finding(
            seed=seed,
            outcome=outcome,
            problem=problem,
            story="",
            seconds=seconds,
            child=process.pid,
            rss_bytes=0,
        )

    def _answer(self, process: psutil.Process) -> str:
        used_s, waited_s = _cpu_s(process), 0.0
        while waited_s < _SHARE * LIMIT_S:
            line = self._next_line(LIMIT_S)
            waited_s += LIMIT_S
            if line or _cpu_s(process) - used_s >= LIMIT_S:
                return line
        return ""

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._process = None

    def _start(self) -> subprocess.Popen[str]:
        with self._log.open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.child", str(self._clips)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=_REPOSITORY,
                env={**os.environ, **_FEW_ARENAS},
            )
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_read, args=(process, lines), daemon=True).start()
        self._process, self._lines = process, lines
        if self._next_line(_START_S) != "ready\n":
            self.close()
            raise RuntimeError(f"The child does not start: {self._log.read_text()[-_LAST_WORDS:]}")
        return process

    def _next_line(self, within_s: float) -> str:
        """Empty if it has died or does not answer in time."""
        try:
            return self._lines.get(timeout=within_s)
        except queue.Empty:
            return ""


def _cpu_s(process: psutil.Process) -> float:
    """Endless for one that is dead."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return float("inf")
    return float(times.user + times.system)


def _read(process: subprocess.Popen[str], lines: "queue.Queue[str]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    process.wait()
    lines.put("")


def run(seeds: Sequence[str], folder: Path, *, children: int = 1) -> Iterator[Finding]:
    """Findings as they come, in any order. ``folder`` holds the clips."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for seed in seeds:
        waiting.put(seed)
    found: queue.SimpleQueue[Finding | None] = queue.SimpleQueue()

    def work(number: int) -> None:
        child = Child(folder, folder / f"child-{number}.log")
        try:
            while True:
                found.put(child.try_seed(waiting.get_nowait()))
        except queue.Empty:
            pass
        finally:
            child.close()
            found.put(None)

    with ThreadPoolExecutor(children) as threads:
        jobs = [threads.submit(work, number) for number in range(children)]
        running = children
        while running:
            finding = found.get()
            if finding is None:
                running -= 1
            else:
                yield finding
        for job in jobs:
            job.result()
