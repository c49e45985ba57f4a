"""AMF0 (Adobe, "Action Message Format", 2007): the values in RTMP commands, read from strangers and
written to them."""

import struct
from typing import Any

from pipeline.errors import MediaInvalid

MAX_DEPTH = 8
MAX_VALUES = 512

_NUMBER, _BOOLEAN, _STRING, _OBJECT, _NULL, _END = 0, 1, 2, 3, 5, 9


def decode(data: bytes) -> list[Any]:
    """All values of a command. Objects become ``dict``, null and undefined None.

    Raises ``MediaInvalid`` for what is no AMF0, or too much of it.
    """
    reader = _Reader(data)
    values = []
    try:
        while not reader.is_done:
            values.append(reader.value(0))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise MediaInvalid("an RTMP command is no AMF0") from error
    return values


def encode(*values: Any) -> bytes:
    """The values one after the other: numbers, booleans, text, None and dicts of those."""
    return b"".join(map(_encode, values))


def _encode(value: Any) -> bytes:
    match value:
        case bool():
            return bytes((_BOOLEAN, value))
        case int() | float():
            return struct.pack(">Bd", _NUMBER, value)
        case str():
            return bytes((_STRING,)) + _short(value)
        case None:
            return bytes((_NULL,))
        case dict():
            pairs = b"".join(_short(name) + _encode(each) for name, each in value.items())
            return bytes((_OBJECT,)) + pairs + bytes((0, 0, _END))
    raise TypeError(f"{type(value).__name__} has no form in AMF0")


def _short(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._count = data, 0, 0

    @property
    def is_done(self) -> bool:
        return self._at >= len(self._data)

    def value(self, depth: int) -> Any:
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_VALUES:
            raise MediaInvalid("an RTMP command has too many values")
        kind = self._unpack(">B")
        match kind:
            case 0:
                return self._unpack(">d")
            case 1:
                return bool(self._unpack(">B"))
            case 2:
                return self._text(">H")
            case 12:
                return self._text(">I")
            case 3:
                return self._object(depth)
            case 8:
                self._unpack(">I")
                return self._object(depth)
            case 5 | 6:
                return None
            case 10:
                return [self.value(depth + 1) for _ in range(self._unpack(">I"))]
        raise MediaInvalid(f"an RTMP command has a value of unknown kind {kind}")

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while True:
            name = self._text(">H")
            if not name and self._data[self._at] == _END:
                self._at += 1
                return found
            found[name] = self.value(depth + 1)

    def _text(self, length: str) -> str:
        return self._take(int(self._unpack(length))).decode()

    def _unpack(self, form: str) -> Any:
        (found,) = struct.unpack(form, self._take(struct.calcsize(form)))
        return found

    def _take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise IndexError
        self._at += count
        return self._data[self._at - count : self._at]
