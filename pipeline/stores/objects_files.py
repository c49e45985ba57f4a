"""Objects as files: what ``FolderStore`` and ``file`` URLs do on the file system.

Files appear by an atomic rename. ETags are made of size and modification time. Names that begin
with ``HIDDEN`` are ours and no objects.
"""

import os
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from typing_extensions import Buffer

from pipeline.errors import (
    MediaInvalid,
    ObjectMissing,
    SourceForbidden,
    SourceMissing,
    SourceUnavailable,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from pipeline.model import Part
from pipeline.stores.objects import ObjectInfo

HIDDEN = ".vodray-"
UPLOADS = f"{HIDDEN}uploads"


def read_url(url: str, offset: int, length: int | None, max_bytes: int) -> bytes:
    """Read a ``file`` URL whose path the caller has checked. Raises the ``SourceError`` branch."""
    path = file_of(url)
    try:
        return read(path, offset, length, max_bytes)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceMissing(f"{path} is not there") from error
    except (PermissionError, IsADirectoryError) as error:
        raise SourceForbidden(f"{path} cannot be read: {error.strerror}") from error
    except OSError as error:
        raise SourceUnavailable(f"{path} cannot be read: {error.strerror}") from error


def write_url(url: str, pieces: Sequence[Buffer]) -> str:
    """Write to a ``file`` URL that a ``FolderStore`` has presigned; returns the ETag.

    A part whose upload was aborted is ``ObjectMissing``, as in S3.
    """
    path = file_of(url)
    with store_errors(str(path)):
        if path.parent.parent.name != UPLOADS:
            path.parent.mkdir(parents=True, exist_ok=True)
        return write(path, pieces)


@contextmanager
def store_errors(what: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ObjectMissing(f"There is no object {what}") from error
    except PermissionError as error:
        raise StoreDenied(f"{what}: {error.strerror}") from error
    except OSError as error:
        raise StoreUnavailable(f"{what}: {error.strerror}") from error


def file_of(url: str) -> Path:
    """That a ``file://`` URL names."""
    return Path(unquote(urlsplit(url).path))


def read(path: Path, offset: int, length: int | None, max_bytes: int) -> bytes:
    # O_NONBLOCK: a named pipe must not hold the caller.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise IsADirectoryError(0, "not a regular file", str(path))
        here = max(status.st_size - offset, 0)
        wanted = here if length is None else min(length, here)
        if wanted > max_bytes:
            raise MediaInvalid(f"{path} is larger than the limit of {max_bytes} bytes")
        file.seek(offset)
        return file.read(wanted)


def write(path: Path, pieces: Sequence[Buffer]) -> str:
    """Write beside ``path`` and rename, so that nobody sees half of it; returns the ETag."""
    with _replacing(path) as file:
        for piece in pieces:
            file.write(piece)
    return _etag(path.stat())


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    beside = path.with_name(f"{HIDDEN}{uuid.uuid4().hex}")
    try:
        with beside.open("xb") as file:
            yield file
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def join(folder: Path, parts: Sequence[Part], path: Path) -> None:
    """Make the part files in ``folder`` one file at ``path``, on disk when this returns."""
    ordered = sorted(parts, key=lambda part: part.number)
    for part in ordered:
        if describe_part(folder / part_name(part.number)) != part:
            raise StoreError(f"Part {part.number} of {path} is not the one that was uploaded")
    joined = folder / f"{HIDDEN}joined-{uuid.uuid4().hex}"
    with joined.open("wb") as out:
        for part in ordered:
            with (folder / part_name(part.number)).open("rb") as piece:
                _append(piece, out, part.size_bytes)
        out.flush()
        os.fsync(out.fileno())
    path.parent.mkdir(parents=True, exist_ok=True)
    joined.replace(path)
    _sync_folder(path.parent)


def _append(piece: BinaryIO, out: BinaryIO, size: int) -> None:
    """Copy inside the kernel."""
    left = size
    while left:
        copied = os.sendfile(out.fileno(), piece.fileno(), size - left, left)
        if not copied:
            raise OSError(0, "a part became shorter while it was read")
        left -= copied


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def walk(base: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    """Files whose key begins with ``prefix``; folders that cannot hold any are not entered."""
    for folder, folders, files in os.walk(base):
        here = Path(folder).relative_to(base).as_posix()
        start = "" if here == "." else f"{here}/"
        folders[:] = [
            name
            for name in folders
            if not name.startswith(HIDDEN)
            and (f"{start}{name}/".startswith(prefix) or prefix.startswith(f"{start}{name}/"))
        ]
        for name in files:
            path = Path(folder, name)
            wanted = f"{start}{name}".startswith(prefix) and not name.startswith(HIDDEN)
            if wanted and path.is_file():
                yield f"{start}{name}", path


def remove_empty(folder: Path, stop: Path) -> None:
    """S3 has no folders: those that hold nothing any more go, up to ``stop``."""
    while folder != stop and folder.is_relative_to(stop):
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def part_name(number: int) -> str:
    return f"{number:05d}"


def describe_part(path: Path) -> Part:
    status = path.stat()
    return Part(number=int(path.name), etag=_etag(status), size_bytes=status.st_size)


def _etag(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def describe(key: str, status: os.stat_result) -> ObjectInfo:
    if not stat.S_ISREG(status.st_mode):
        raise IsADirectoryError(0, "not a regular file", key)
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    return ObjectInfo(
        key=key, size_bytes=status.st_size, etag=_etag(status), last_modified=modified
    )
