"""Segments on this machine's disk: as FFmpeg writes them, until they are in the bucket. Together
they have a bound. A process that comes after this one finds them by their names."""

import re
import shutil
import threading
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

_NAME = re.compile(r"(\d{3,})-(\d{5,})\.ts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """One segment: the ``number``-th file of a ``run``."""

    path: Path
    run: int
    number: int
    size_bytes: int


class Disk:
    """How much all segments that wait may take. Any thread may call."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self._limit, self._used, self._lock = limit_bytes, 0, threading.Lock()

    def take(self, size_bytes: int) -> bool:
        """Whether there is room; then it is taken."""
        with self._lock:
            if self._used + size_bytes > self._limit:
                return False
            self._used += size_bytes
            return True

    def give_back(self, size_bytes: int) -> None:
        with self._lock:
            self._used -= size_bytes

    def of_broadcast(self, stream_id: str, broadcast: str) -> Path:
        """Its folder. Stream ids are no names of files: they may be as long as one."""
        return self.of_stream(stream_id) / broadcast

    def of_stream(self, stream_id: str) -> Path:
        return self.folder / sha256(stream_id.encode()).hexdigest()[:32]

    def forget_others(self, stream_ids: Collection[str]) -> None:
        """Nothing stays of streams that nobody knows."""
        known = {self.of_stream(stream_id) for stream_id in stream_ids}
        for folder in self.folder.glob("*"):
            if folder not in known:
                shutil.rmtree(folder, ignore_errors=True)


def pattern(folder: Path, run: int) -> Path:
    """For FFmpeg."""
    return folder / f"{run:03}-%05d.ts"


def found(folder: Path, run: int | None = None) -> Iterator[Local]:
    """What is there, in order; of one run only, or of all. Empty files are none."""
    names = ((path, _NAME.fullmatch(path.name)) for path in folder.glob("*.ts"))
    placed = sorted((int(name[1]), int(name[2]), path) for path, name in names if name)
    for its_run, number, path in placed:
        if run in (None, its_run):
            with suppress(OSError):
                if size := path.stat().st_size:
                    yield Local(path=path, run=its_run, number=number, size_bytes=size)
