"""RTMP as a server of publishers speaks it (Adobe, "RTMP Specification 1.0"), without a socket:
bytes in, answers and FLV out. What comes is hostile: everything has a bound.

Messages of sound and pictures become FLV tags (Adobe, "Video File Format 10.1", E.4) untouched.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from pipeline.errors import MediaInvalid
from pipeline.ingest import amf

FLV_HEADER = b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00"
MAX_COMMAND_BYTES = 64 * 1024
MAX_MEDIA_BYTES = 16 * 2**20
MAX_CHUNK_STREAMS = 32
_MAX_CHUNK_BYTES = 2**24 - 1
_HANDSHAKE_BYTES = 1536
_OUR_CHUNK_BYTES = 65536
_WINDOW_BYTES = 2_500_000
_VERSION = 3
_EXTENDED = 0xFFFFFF

_SET_CHUNK_SIZE, _ABORT, _ACKNOWLEDGEMENT, _WINDOW, _BANDWIDTH = 1, 2, 3, 5, 6
_AUDIO, _VIDEO, _AMF3_COMMAND, _COMMAND = 8, 9, 17, 20
_HEADER_BYTES = (11, 7, 3, 0)
# Chunk streams of ours.
_CONTROL, _REPLY, _STATUS = 2, 3, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """The publisher wants to publish under ``name``: answer with ``accept`` or ``refuse``."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """More of the FLV stream."""

    flv: bytes


class Closed(Enum):
    """The publisher says that it has ended."""

    CLOSED = auto()


Event = Publish | Media | Closed


@dataclass(slots=True)
class _ChunkStream:
    """What the last chunk header of the stream said, and what is there of its message."""

    timestamp: int = 0
    delta: int = 0
    length: int = 0
    kind: int = 0
    is_extended: bool = False
    data: bytearray = field(default_factory=bytearray)


class Server:
    """One connection. ``to_send`` collects what the publisher is to be answered."""

    def __init__(self) -> None:
        self.to_send = bytearray()
        self._buffer = bytearray()
        self._step = self._read_hello
        self._streams: dict[int, _ChunkStream] = {}
        self._chunk_bytes = 128
        self._is_publishing = False
        self._received = self._acknowledged = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """What the bytes say. Raises ``MediaInvalid`` for what is no RTMP, or beyond its bounds."""
        self._buffer += data
        self._received += len(data)
        if self._received - self._acknowledged >= _WINDOW_BYTES:
            self._acknowledged = self._received
            self._control(_ACKNOWLEDGEMENT, struct.pack(">I", self._received & 0xFFFFFFFF))
        while True:
            used, events = self._step()
            yield from events
            if not used:
                return

    def accept(self) -> None:
        """Publishing begins."""
        self._is_publishing = True
        self._say_status("status", "NetStream.Publish.Start", "Publishing")

    def refuse(self, reason: str) -> None:
        """Nothing may be published there; the connection should be closed."""
        self._say_status("error", "NetStream.Publish.BadName", reason)

    # --- handshake (5.2), the simple one ---------------------------------------------------------
    def _read_hello(self) -> tuple[bool, list[Event]]:
        if self._buffer and self._buffer[0] != _VERSION:
            raise MediaInvalid("this is no RTMP")
        if len(self._buffer) < 1 + _HANDSHAKE_BYTES:
            return False, []
        theirs = bytes(self._buffer[1 : 1 + _HANDSHAKE_BYTES])
        del self._buffer[: 1 + _HANDSHAKE_BYTES]
        self.to_send += bytes((_VERSION,)) + bytes(_HANDSHAKE_BYTES) + theirs
        self._step = self._read_echo
        return True, []

    def _read_echo(self) -> tuple[bool, list[Event]]:
        if len(self._buffer) < _HANDSHAKE_BYTES:
            return False, []
        del self._buffer[:_HANDSHAKE_BYTES]
        self._step = self._read_chunk
        return True, []

    # --- chunks (5.3) ----------------------------------------------------------------------------
    def _read_chunk(self) -> tuple[bool, list[Event]]:
        header = self._header()
        if header is None:
            return False, []
        at, number, form = header
        stream = self._stream(number)
        known = (stream.timestamp, stream.delta, stream.length, stream.kind, stream.is_extended)
        at = self._read_header(stream, form, at)
        wanted = min(self._chunk_bytes, stream.length - len(stream.data))
        if at < 0 or len(self._buffer) < at + wanted:
            (stream.timestamp, stream.delta, stream.length, stream.kind, stream.is_extended) = known
            return False, []
        stream.data += self._buffer[at : at + wanted]
        if sum(len(each.data) for each in self._streams.values()) > 2 * MAX_MEDIA_BYTES:
            raise MediaInvalid("too many RTMP messages at once")
        del self._buffer[: at + wanted]
        if len(stream.data) < stream.length:
            return True, []
        message, stream.data = bytes(stream.data), bytearray()
        return True, self._take(stream.kind, stream.timestamp, message)

    def _header(self) -> tuple[int, int, int] | None:
        """Where the message header begins, the chunk stream's number, the header's form."""
        if not self._buffer:
            return None
        form, number = self._buffer[0] >> 6, self._buffer[0] & 0x3F
        at = 1 + (number + 1 if number < 2 else 0)
        if len(self._buffer) < at + _HEADER_BYTES[form]:
            return None
        if number == 0:
            number = self._buffer[1] + 64
        elif number == 1:
            number = self._buffer[1] + (self._buffer[2] << 8) + 64
        return at, number, form

    def _stream(self, number: int) -> _ChunkStream:
        if number not in self._streams and len(self._streams) >= MAX_CHUNK_STREAMS:
            raise MediaInvalid(f"more than {MAX_CHUNK_STREAMS} RTMP chunk streams")
        return self._streams.setdefault(number, _ChunkStream())

    def _read_header(self, stream: _ChunkStream, form: int, at: int) -> int:
        """Where the payload begins; -1 if not all is there. A header inside of a message goes on
        with it."""
        head = bytes(self._buffer[at : at + _HEADER_BYTES[form]])
        at += len(head)
        time = int.from_bytes(head[:3], "big") if head else 0
        if head:
            stream.is_extended = time == _EXTENDED
        if stream.is_extended:
            if len(self._buffer) < at + 4:
                return -1
            time = int.from_bytes(self._buffer[at : at + 4], "big")
            at += 4
        if form < 2:
            self._begin_message(stream, int.from_bytes(head[3:6], "big"), head[6])
        if stream.data:
            return at
        if form == 0:
            stream.timestamp, stream.delta = time, 0
        else:
            stream.delta = time if form < 3 else stream.delta
            stream.timestamp = stream.timestamp + stream.delta & 0xFFFFFFFF
        return at

    def _begin_message(self, stream: _ChunkStream, length: int, kind: int) -> None:
        is_media = kind in (_AUDIO, _VIDEO) and self._is_publishing
        if length > (MAX_MEDIA_BYTES if is_media else MAX_COMMAND_BYTES):
            raise MediaInvalid(f"an RTMP message of {length} bytes")
        if stream.data:
            raise MediaInvalid("an RTMP message begins inside of another")
        stream.length, stream.kind = length, kind

    # --- messages (5.4, 7) -----------------------------------------------------------------------
    def _take(self, kind: int, timestamp: int, data: bytes) -> list[Event]:
        if kind in (_AUDIO, _VIDEO):
            return [Media(flv=_tag(kind, timestamp, data))] if self._is_publishing and data else []
        if kind == _SET_CHUNK_SIZE and len(data) >= 4:
            self._chunk_bytes = int.from_bytes(data[:4], "big") & 0x7FFFFFFF
            if not 1 <= self._chunk_bytes <= _MAX_CHUNK_BYTES:
                raise MediaInvalid(f"RTMP chunks of {self._chunk_bytes} bytes")
        if kind == _ABORT and len(data) >= 4:
            aborted = self._streams.get(int.from_bytes(data[:4], "big"))
            if aborted is not None:
                aborted.data.clear()
        if kind in (_COMMAND, _AMF3_COMMAND):
            return self._obey(amf.decode(data[1:] if kind == _AMF3_COMMAND else data))
        return []

    def _obey(self, command: list[Any]) -> list[Event]:
        padded: list[Any] = [*command, None, None, None, None]
        name, number, wanted = padded[0], padded[1], padded[3]
        match name:
            case "connect":
                self._answer_connect(number)
            case "createStream":
                self._reply("_result", number, None, 1)
            case "releaseStream" | "FCPublish":
                self._reply("_result", number, None, None)
            case "publish":
                if not isinstance(wanted, str):
                    raise MediaInvalid("an RTMP publisher names no stream")
                return [Publish(name=wanted)]
            case "deleteStream" | "closeStream" | "FCUnpublish":
                return [Closed.CLOSED]
        return []

    def _answer_connect(self, number: Any) -> None:
        self._control(_WINDOW, struct.pack(">I", _WINDOW_BYTES))
        self._control(_BANDWIDTH, struct.pack(">IB", _WINDOW_BYTES, 2))
        self._control(_SET_CHUNK_SIZE, struct.pack(">I", _OUR_CHUNK_BYTES))
        self._reply(
            "_result",
            number,
            {"fmsVer": "FMS/3,0,1,123", "capabilities": 31.0},
            {
                "level": "status",
                "code": "NetConnection.Connect.Success",
                "description": "Connected",
                "objectEncoding": 0.0,
            },
        )

    def _reply(self, *values: Any) -> None:
        self._send(_REPLY, _COMMAND, 0, amf.encode(*values))

    def _say_status(self, level: str, code: str, description: str) -> None:
        told = {"level": level, "code": code, "description": description}
        self._send(_STATUS, _COMMAND, 1, amf.encode("onStatus", 0, None, told))

    def _control(self, kind: int, data: bytes) -> None:
        self._send(_CONTROL, kind, 0, data)

    def _send(self, chunk_stream: int, kind: int, message_stream: int, data: bytes) -> None:
        """In one chunk: before ours may be larger than 128 bytes, nothing longer is said."""
        size = len(data).to_bytes(3, "big")
        self.to_send += bytes((chunk_stream, 0, 0, 0)) + size + bytes((kind,))
        self.to_send += message_stream.to_bytes(4, "little") + data


def _tag(kind: int, timestamp: int, data: bytes) -> bytes:
    size, low = len(data).to_bytes(3, "big"), (timestamp & 0xFFFFFF).to_bytes(3, "big")
    head = bytes((kind,)) + size + low + bytes((timestamp >> 24 & 0xFF, 0, 0, 0))
    return head + data + struct.pack(">I", len(head) + len(data))
