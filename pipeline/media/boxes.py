"""ISO base media boxes (ISO/IEC 14496-12 4.2): walking over them and writing them."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from pipeline.errors import MediaInvalid

# Side by side: a second's work. Frames in fragments of their own make as many in an hour.
_MAX_BOXES = 2**19


class Box(NamedTuple):
    """Where a box lies in its buffer: header at ``start``, content from ``body`` to ``end``."""

    kind: bytes
    start: int
    body: int
    end: int


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Content that is shorter than it says becomes ``MediaInvalid``; also as a decorator."""
    try:
        yield
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise MediaInvalid(f"{what} is cut off or damaged") from error


def read_header(data: bytes | memoryview, at: int, limit: int) -> Box:
    """The box that begins at ``at``; its end may lie behind the data, never behind ``limit``."""
    if at + 8 > len(data):
        raise MediaInvalid(f"box header cut off at byte {at}")
    size, kind = struct.unpack_from(">I4s", data, at)
    body = at + 8
    if size == 1:
        if at + 16 > len(data):
            raise MediaInvalid(f"box header cut off at byte {at}")
        (size,) = struct.unpack_from(">Q", data, at + 8)
        body = at + 16
    elif size == 0:
        size = limit - at
    if size < body - at or at + size > limit:
        raise MediaInvalid(f"box {kind!r} at byte {at} claims {size} bytes")
    return Box(kind, at, body, at + size)


def walk(data: bytes | memoryview, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes one after the other between ``start`` and ``end``."""
    limit = len(data) if end is None else end
    at = start
    for _ in range(_MAX_BOXES):
        if at >= limit:
            return
        found = read_header(data, at, limit)
        yield found
        at = found.end
    raise MediaInvalid(f"more than {_MAX_BOXES} boxes side by side")


def find(data: bytes | memoryview, path: str, start: int = 0, end: int | None = None) -> Box | None:
    """The first box at a path such as ``"moov/trak/mdia"``."""
    head, _, rest = path.partition("/")
    for found in walk(data, start, end):
        if found.kind == head.encode("latin-1"):
            if not rest:
                return found
            inner = find(data, rest, found.body, found.end)
            if inner is not None:
                return inner
    return None


def need(data: bytes | memoryview, path: str, start: int = 0, end: int | None = None) -> Box:
    found = find(data, path, start, end)
    if found is None:
        raise MediaInvalid(f"box {path} is missing")
    return found


def make(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def wrap(kind: bytes, pieces: Sequence[bytes]) -> list[bytes]:
    """As ``make``, of content that is too large to be copied at each level."""
    return [struct.pack(">I4s", 8 + sum(map(len, pieces)), kind), *pieces]


def make_full(kind: bytes, version: int, flags: int, *content: bytes) -> bytes:
    return make(kind, struct.pack(">I", version << 24 | flags), *content)


def free_space(size: int) -> bytes:
    """A ``free`` box of exactly ``size`` bytes (at least 8)."""
    return struct.pack(">I4s", size, b"free") + bytes(size - 8)
