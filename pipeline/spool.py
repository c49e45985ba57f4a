"""What was captured and cannot be stored now, on this machine's disk: bounded, and found again by
a process that comes after this one.

Each file is a line of JSON, which says what it is, and the bytes.
"""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from pipeline.errors import ObjectMissing
from pipeline.model import Segment
from pipeline.stores.catalog_json import SEGMENT

_HEADER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Bytes for the object ``key`` of the results bucket. ``segment``: which one they are, the
    ``number``-th that was taken of its ``playlist``; None for an init or a key. ``is_stored``: the
    object is there, and only the catalogue does not know of it: there are no bytes here."""

    key: str
    playlist: int = 0
    number: int = 0
    segment: Segment | None = None
    is_stored: bool = False


class Spool:
    """Blocks while it works; any thread may call. ``limit_bytes``: of all files together."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder, self._limit = folder, limit_bytes
        self._lock = threading.Lock()
        # What was cut off while it was written is of no use.
        for path in folder.glob("*/*.half"):
            path.unlink(missing_ok=True)
        self._used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def write(self, recording_id: UUID, waiting: Waiting, data: bytes) -> Path | None:
        """The file that has it now, or None where there is no room."""
        header = json.dumps(
            {
                "key": waiting.key,
                "playlist": waiting.playlist,
                "number": waiting.number,
                "segment": waiting.segment and SEGMENT.dump(waiting.segment),
                "is_stored": waiting.is_stored,
            }
        ).encode()
        size = len(header) + 1 + len(data)
        with self._lock:
            if self._used + size > self._limit:
                return None
            self._used += size
        path = self._path(recording_id, waiting.key)
        half = path.with_suffix(".half")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with half.open("wb") as file:
                file.writelines((header, b"\n", data))
                file.flush()
                os.fsync(file.fileno())
            half.rename(path)
        except OSError:
            with suppress(OSError):
                half.unlink(missing_ok=True)
            with self._lock:
                self._used -= size
            return None
        return path

    def read(self, path: Path) -> bytes:
        """Raises ``ObjectMissing`` if somebody has taken it away."""
        try:
            with path.open("rb") as file:
                file.readline(_HEADER_BYTES)
                return file.read()
        except OSError as error:
            raise ObjectMissing(f"{path.name} waited on disk and is gone") from error

    def drop(self, path: Path) -> None:
        with suppress(OSError):
            size = path.stat().st_size
            path.unlink()
            with self._lock:
                self._used -= size

    def left(self, recording_id: UUID) -> Iterator[tuple[Waiting, Path]]:
        """What an earlier process has left of the recording, in the order of its keys. What cannot
        be read is left out."""
        for path in sorted(self._folder.glob(f"{recording_id}/*.kept")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                with path.open("rb") as file:
                    found = json.loads(file.readline(_HEADER_BYTES))
                segment = found["segment"] and SEGMENT.load(found["segment"])
                yield Waiting(**found | {"segment": segment}), path

    def forget(self, recording_id: UUID) -> None:
        """All of the recording."""
        folder = self._folder / str(recording_id)
        size = 0
        for path in folder.glob("*"):
            with suppress(OSError):
                size += path.stat().st_size
        shutil.rmtree(folder, ignore_errors=True)
        with self._lock:
            self._used -= size

    def recordings(self) -> set[UUID]:
        """Those that it holds something of."""
        found = set()
        for path in self._folder.glob("*"):
            with suppress(ValueError):
                found.add(UUID(path.name))
        return found

    def _path(self, recording_id: UUID, key: str) -> Path:
        return self._folder / str(recording_id) / (key.rpartition("/")[2] + ".kept")
