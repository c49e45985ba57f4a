"""Which lines of Python have the time of a whole service, as a flame graph by py-spy."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import WorkerLost

# A sample stops each process for a moment, and there are many.
_SAMPLES_PER_S = 40
_TIMEOUT_S = 120.0


@contextmanager
def flame_graph(pid: int, path: Path | None) -> Iterator[None]:
    """Of the process and all that it starts, as long as the context lasts; None: of nothing. Raises
    ``WorkerLost`` where there is none."""
    if path is None:
        yield
        return
    command = Path(sys.executable).with_name("py-spy")
    recorder = subprocess.Popen(
        [str(command), "record", "--subprocesses", "--pid", str(pid), "--output", str(path),
         "--rate", str(_SAMPLES_PER_S), "--function"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield
    finally:
        recorder.send_signal(signal.SIGINT)
        try:
            told = recorder.communicate(timeout=_TIMEOUT_S)[1]
        except subprocess.TimeoutExpired:
            recorder.kill()
            told = recorder.communicate()[1]
    if recorder.returncode or not path.exists():
        raise WorkerLost(
            "py-spy drew no flame graph (it has to be allowed to look into other processes: root, "
            "or kernel.yama.ptrace_scope=0)",
            told.decode(errors="replace")[-500:],
        )
