"""One process per data directory. The kernel releases the lock however its holder ends."""

import fcntl
import os
from pathlib import Path
from typing import IO

from pipeline.errors import DataDirBusy


class DataDirLock:
    """Held from construction until ``release``. Raises ``DataDirBusy`` naming the holder."""

    def __init__(self, data_dir: Path) -> None:
        self._file = _open_private(data_dir / "lock")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise DataDirBusy(
                f"{data_dir} is in use by another vodray (process {holder})",
                "Stop that one, or choose another folder with --data-dir",
            ) from error
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        self._file.close()


def _open_private(path: Path) -> IO[str]:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")
