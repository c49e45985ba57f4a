"""How full the disks are that we write to: one figure for metrics and for whoever acts on it."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.settings import Settings

# A disk that has become a little emptier may be over the limit again at once.
_MARGIN_PERCENT = 2.0


def watched(settings: Settings) -> Mapping[str, Path]:
    """Folders of this machine that we fill, by a name for people. Under ``vodray up`` they are in
    the data directory, unless they are named, and so on the embedded services' disk as well."""
    return {"spool": settings.spool_dir, "ingest": settings.ingest_dir}


def fill(folders: Iterable[Path]) -> float:
    """Percent used of the fullest disk that these folders are on."""
    return max(map(used_percent, folders), default=0.0)


def used_percent(folder: Path) -> float:
    """Of the disk that the folder is on, or will be once it is made; as ``df`` counts: what only
    root may use is not there. 0 where nobody can tell."""
    here = folder.absolute()
    while not here.exists() and here != here.parent:
        here = here.parent
    try:
        disk = os.statvfs(here)
    except OSError:
        return 0.0
    used = disk.f_blocks - disk.f_bfree
    return 100.0 * used / max(1, used + disk.f_bavail)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskState:
    """``percent``: used of the fullest disk; ``is_full``: what can wait has to."""

    is_full: bool = False
    percent: float = 0.0


class DiskAlert:
    """Whether a disk has filled above ``DISK_ALERT_PERCENT``, until it is clearly below again."""

    def __init__(self, settings: Settings) -> None:
        self._folders = tuple(watched(settings).values())
        self._limit = settings.disk_alert_percent
        self.state = DiskState()

    def has_changed(self) -> bool:
        """Look again; whether that has changed what may be begun."""
        before = self.state.is_full
        percent = fill(self._folders)
        limit = self._limit - _MARGIN_PERCENT if before else self._limit
        self.state = DiskState(is_full=percent > limit, percent=round(percent, 1))
        return self.state.is_full is not before
