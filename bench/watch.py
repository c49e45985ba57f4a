"""What processes cost while something runs: CPU, memory and disk of whole process trees, by kind.

Samples ``/proc`` from a thread. A process that ends between two samples loses at most one interval
of its CPU; FFmpeg runs as our own child, whose CPU the kernel tells exactly once it has ended.
"""

import os
import resource
import threading
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

_EVERY_S = 0.25
# In samples. Finding new processes costs 10 ms, and the kernel adds up shares of memory for so long
# that asking often would itself be the load.
_TREE_EVERY = 4
_SHARES_EVERY = 40
# So much more memory is a peak that is worth it.
_GROWN = 1.05
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

SERVERS = frozenset({"weed", "postgres", "tansu"})
_RAY_SYSTEM = {
    "gcs_server": "ray gcs",
    "raylet": "raylet",
    "dashboard": "ray dashboard",
    "monitor.py": "ray dashboard",
    "agent": "ray dashboard",
}
_OUR_ACTORS = {
    "ray::Worker": "worker",
    "ray::RecordingProcess": "supervisor",
    "ray::Pool": "pool",
    "ray::Capture": "capture",
    "ray::Reconciler": "reconciler",
    "ray::Kafka": "kafka intake",
    "ray::Serve": "http",
    "ray::ProxyActor": "http",
    "ray::IDLE": "ray idle",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One kind of process over one run. Memory: the largest that one process of the kind had at
    any time; ``pss``/``uss`` are looked at less often, and where ``rss`` has grown.
    ``written_bytes``: given to file systems."""

    kind: str
    processes: int
    cpu_s: float
    peak_rss_bytes: int
    peak_pss_bytes: int
    peak_uss_bytes: int
    written_bytes: int

    @property
    def is_server(self) -> bool:
        return self.kind in SERVERS


def kind_of(command: str) -> str:
    """What a process is to us, from its command line (words separated by spaces)."""
    title = command.partition(" ")[0]
    for prefix, kind in _OUR_ACTORS.items():
        if title.startswith(prefix):
            return kind
    if title.startswith("postgres") or title.endswith("/postgres"):
        return "postgres"
    for name in ("weed", "tansu"):
        if title.endswith(f"/{name}"):
            return name
    if "ffmpeg" in title.rpartition("/")[2]:
        return "ffmpeg"
    if "/ray/" in command or title.startswith("ray"):
        words = command.lower()
        return next((kind for name, kind in _RAY_SYSTEM.items() if name in words[:400]), "ray idle")
    if "serve_app.cli" in command:
        return "vodray up"
    return "bench"


@dataclass(slots=True)
class _Seen:
    kind: str = "bench"
    cpu_from_s: float = 0.0
    cpu_s: float = 0.0
    written_from: int = 0
    written: int = 0
    rss: int = 0
    rss_at_shares: int = 0
    pss: int = 0
    uss: int = 0


class Watch:
    """Everything below the processes ``roots``, and what this process starts meanwhile, from
    entering to leaving the context."""

    def __init__(self, roots: Iterable[int]) -> None:
        self._roots = tuple(roots)
        self._seen: dict[tuple[str, int], _Seen] = {}
        self._pids: set[int] = set()
        self._others: frozenset[int] = frozenset()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._children_s = 0.0

    def __enter__(self) -> Self:
        self._children_s = -_ended_children_s()
        self._others = frozenset(_own_children()) - set(_trees(self._roots))
        self._look(is_first=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look(shares=True)
        self._children_s += _ended_children_s()

    def usage(self) -> tuple[Usage, ...]:
        """By kind, most CPU first."""
        kinds: dict[str, list[_Seen]] = defaultdict(list)
        for seen in self._seen.values():
            kinds[seen.kind].append(seen)
        found = [
            Usage(
                kind=kind,
                processes=len(members),
                cpu_s=round(self._cpu_s(kind, members), 2),
                peak_rss_bytes=max(m.rss for m in members),
                peak_pss_bytes=max(m.pss for m in members),
                peak_uss_bytes=max(m.uss for m in members),
                written_bytes=sum(m.written - m.written_from for m in members),
            )
            for kind, members in kinds.items()
        ]
        return tuple(sorted(found, key=lambda usage: -usage.cpu_s))

    def _cpu_s(self, kind: str, members: Iterable[_Seen]) -> float:
        return (
            self._children_s if kind == "ffmpeg" else sum(m.cpu_s - m.cpu_from_s for m in members)
        )

    def _run(self) -> None:
        number = 1
        while not self._stop.wait(_EVERY_S):
            self._look(trees=number % _TREE_EVERY == 0, shares=number % _SHARES_EVERY == 0)
            number += 1

    def _look(self, *, is_first: bool = False, trees: bool = True, shares: bool = False) -> None:
        if trees:
            self._pids = set(_trees(self._roots))
        self._pids |= set(_own_children()) - self._others
        for pid in self._pids:
            # It may end at any time; a zombie has no memory to show.
            with suppress(OSError, IndexError, ValueError):
                folder = Path("/proc") / str(pid)
                seen = self._look_at(folder, is_first=is_first, closely=trees)
                if shares or seen.rss > seen.rss_at_shares * _GROWN:
                    _look_at_shares(seen, folder)

    def _look_at(self, folder: Path, *, is_first: bool, closely: bool) -> _Seen:
        began, cpu_s, rss = _times_and_rss(folder)
        seen = self._seen.get((folder.name, began))
        if seen is None:
            seen = self._seen[folder.name, began] = _Seen()
            # What was there before counts from here; what has started since counts as a whole.
            if is_first:
                seen.cpu_from_s, seen.written_from = cpu_s, _written(folder)
            closely = True
        seen.cpu_s, seen.rss = cpu_s, max(seen.rss, rss)
        if closely:
            seen.written = _written(folder)
            # Ray names its processes anew when an actor moves in.
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            seen.kind = kind_of(words.strip()) if words else seen.kind
        return seen


def _look_at_shares(seen: _Seen, folder: Path) -> None:
    pss, uss = _shares(folder)
    seen.pss, seen.uss = max(seen.pss, pss), max(seen.uss, uss)
    seen.rss_at_shares = seen.rss


def _times_and_rss(folder: Path) -> tuple[int, float, int]:
    """``(start in ticks, CPU seconds, RSS in bytes)``."""
    # The name may hold spaces and parentheses; what follows it does not.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return int(fields[19]), cpu_s, int(fields[21]) * _PAGE_BYTES


def _trees(roots: Iterable[int]) -> Iterable[int]:
    for root in roots:
        with suppress(psutil.Error):
            yield root
            yield from (child.pid for child in psutil.Process(root).children(recursive=True))


def _own_children() -> Iterable[int]:
    """Cheap to find, and FFmpeg may need less than a second."""
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            yield from map(int, (thread / "children").read_text().split())


def _written(folder: Path) -> int:
    text = (folder / "io").read_text()
    return int(text.partition("\nwrite_bytes: ")[2].partition("\n")[0])


def _shares(folder: Path) -> tuple[int, int]:
    """``(PSS, USS)`` in bytes."""
    sizes: dict[str, int] = defaultdict(int)
    for line in (folder / "smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        sizes[name] += int(rest.split()[0]) * 1024
    return sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"]


def _ended_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
