"""An HTTP proxy in front of S3 that spoils the requests that its rules choose.

Everything else goes through byte for byte, ``Host`` included, which signatures cover: S3 servers
take the one that the client has signed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from tests.faults.acts import (
    Act,
    Answer,
    Chance,
    Cut,
    Delay,
    Hang,
    Length,
    Reset,
    Rule,
    Slow,
    Truncate,
)
from tests.faults.relay import Link, Relay

_CHUNK = 1 << 16
_STEP_S = 0.05


class S3Proxy(Relay):
    """A relay that knows requests. ``calls``: each as ``METHOD /path?query``; ``spoiled``: those
    that something was done to, with what."""

    def __init__(self, behind: str, *rules: Rule | Chance) -> None:
        self.calls: list[str] = []
        self.spoiled: list[tuple[str, Act]] = []
        self._rules = rules
        super().__init__(behind)

    def script(self, *rules: Rule | Chance) -> None:
        """From now on these, of which the first that applies is taken."""
        self._rules = rules
        self.spoiled = []

    def _choose(self, call: str) -> Act | None:
        """Every rule counts what it could have been for."""
        self.calls.append(call)
        acts = [act for rule in self._rules if (act := rule.choose(call)) is not None]
        if not acts:
            return None
        self.spoiled.append((call, acts[0]))
        return acts[0]

    async def _serve(self, link: Link) -> None:
        while (request := await _read_head(link.asking)) is not None:
            if not await self._exchange(link, request, self._choose(request.call)):
                return

    async def _exchange(self, link: Link, request: "Head", act: Act | None) -> bool:
        """Whether the connection can be used further."""
        match act:
            case Reset(after=False):
                raise ConnectionResetError
            case Hang(seconds):
                await asyncio.sleep(seconds)
                raise ConnectionResetError
            case Answer():
                return await self._answer(link, request, act)
            case Delay(seconds):
                await asyncio.sleep(seconds)
        if link.answering.at_eof():
            # What the server ends while nothing is asked is nobody's failure.
            link.to_server.close()
            link.answering, link.to_server = await self._connect()
        asking = asyncio.create_task(self._ask(link, request))
        try:
            lasts = await self._hand_back(link, request, act)
            return asking.done() and lasts and not request.says_close
        finally:
            asking.cancel()

    async def _ask(self, link: Link, request: "Head") -> None:
        # A server that answers before it has heard all may hang up on the rest.
        with suppress(OSError, EOFError):
            await self._send(link, link.to_server, request.raw)
            async for piece in _body(link.asking, request, request.length or 0):
                await self._send(link, link.to_server, piece)

    async def _hand_back(self, link: Link, request: "Head", act: Act | None) -> bool:
        answer = await _read_head(link.answering)
        while answer is not None and answer.status < 200:
            await self._send(link, link.to_client, answer.raw)
            answer = await _read_head(link.answering)
        if answer is None:
            raise ConnectionResetError
        bare = request.method == "HEAD" or answer.status in (204, 304)
        pieces = _body(link.answering, answer, 0 if bare else answer.length)
        if act is None or isinstance(act, Delay):
            await self._send(link, link.to_client, answer.raw)
            async for piece in pieces:
                await self._send(link, link.to_client, piece)
            return (bare or answer.length is not None or answer.chunked) and not answer.says_close
        await self._spoil(link, answer, [piece async for piece in pieces], act)
        return isinstance(act, Length | Truncate | Slow)

    async def _spoil(self, link: Link, answer: "Head", pieces: list[bytes], act: Act) -> None:
        """The whole answer is here, so the server has done what it was asked to."""
        body = b"".join(pieces)
        client = link.to_client
        match act:
            case Reset():
                raise ConnectionResetError
            case Cut(share, reset):
                await self._send(link, client, answer.raw + body[: int(len(body) * share)])
                if reset:
                    raise ConnectionResetError
            case Truncate(share):
                kept = body[: int(len(body) * share)]
                await self._send(link, client, answer.promising(len(kept)) + kept)
            case Length(size_bytes):
                await self._send(link, client, answer.promising(size_bytes) + body)
            case Slow(rate):
                await self._send(link, client, answer.raw)
                step = max(1, int(rate * _STEP_S))
                for at in range(0, len(body), step):
                    await self._send(link, client, body[at : at + step])
                    await asyncio.sleep(_STEP_S)

    async def _answer(self, link: Link, request: "Head", answer: Answer) -> bool:
        if request.waits:
            lasts = False
        else:
            lasts = not request.says_close
            async for _ in _body(link.asking, request, request.length or 0):
                pass
        head = (
            f"HTTP/1.1 {answer.status} Spoiled\r\nContent-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(answer.body)}\r\n\r\n"
        )
        body = b"" if request.method == "HEAD" else answer.body
        await self._send(link, link.to_client, head.encode() + body)
        return lasts


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request or of an answer, as it came."""

    raw: bytes

    @property
    def _first(self) -> list[str]:
        return self.raw.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)

    @property
    def method(self) -> str:
        return self._first[0]

    @property
    def call(self) -> str:
        return " ".join(self._first[:2])

    @property
    def status(self) -> int:
        return int(self._first[1])

    def _get(self, name: str) -> str:
        for line in self.raw.decode("latin-1").split("\r\n")[1:]:
            found, _, value = line.partition(":")
            if found.lower() == name:
                return value.strip().lower()
        return ""

    @property
    def length(self) -> int | None:
        """None: as long as the connection lasts, or in chunks."""
        told = self._get("content-length")
        return int(told) if told else None

    @property
    def chunked(self) -> bool:
        return self._get("transfer-encoding") == "chunked"

    @property
    def says_close(self) -> bool:
        return self._get("connection") == "close"

    @property
    def waits(self) -> bool:
        """The body comes only after a ``100 Continue``."""
        return self._get("expect") != ""

    def promising(self, size_bytes: int) -> bytes:
        """The same with another length."""
        told = (b"content-length:", b"transfer-encoding:")
        lines = [line for line in self.raw.split(b"\r\n")[:-2] if not line.lower().startswith(told)]
        return b"\r\n".join([*lines, b"Content-Length: %d" % size_bytes, b"", b""])


async def _read_head(reader: asyncio.StreamReader) -> Head | None:
    """None at the end of the connection."""
    try:
        return Head(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None


async def _body(
    reader: asyncio.StreamReader, head: Head, length: int | None
) -> AsyncIterator[bytes]:
    """The bytes after the head, as they come. ``length`` None: up to the end."""
    if head.chunked:
        async for piece in _chunks(reader):
            yield piece
        return
    while length is None or length > 0:
        piece = await reader.read(_CHUNK if length is None else min(_CHUNK, length))
        if not piece:
            if length is not None:
                raise EOFError
            return
        yield piece
        length = None if length is None else length - len(piece)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """With their framing."""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        yield line
        if not size:
            break
        yield await reader.readexactly(size + 2)
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        yield line
    yield line
