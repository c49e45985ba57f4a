"""The RTMP listener: one port for all streams, and a stream's secret is what is published to."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from actors.ingest_session import Read
from pipeline.errors import VodrayError
from pipeline.ingest.commands import SILENCE_S
from pipeline.ingest.rtmp import FLV_HEADER, Closed, Media, Publish, Server

_READ_BYTES = 64 * 1024
# Until a connection has said what it wants to publish.
_HELLO_S = 10.0
_MAX_CONNECTIONS = 256
_BACKLOG = 64

# Takes a connection's bytes until it is over. None: nothing may be published under the name now.
Admit = Callable[[str], Callable[[Read], Awaitable[None]] | None]

log = structlog.get_logger()


class RtmpListener:
    """``admit`` says by the secret what becomes of a connection."""

    def __init__(self, port: int, admit: Admit) -> None:
        self._port, self._admit = port, admit
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Raises ``OSError`` where the port is somebody else's."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, "0.0.0.0", self._port, backlog=_BACKLOG, limit=_READ_BYTES
            )

    async def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=2.0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) <= _MAX_CONNECTIONS:
                await Connection(reader, writer, self._admit).run()
        except (OSError, VodrayError, TimeoutError) as error:
            log.info("rtmp_connection_over", reason=str(error) or type(error).__name__)
        except asyncio.CancelledError:
            # By ``close``. The streams of Python 3.11 would log a handler that was cancelled.
            log.debug("rtmp_connection_closed")
        finally:
            self._connections.discard(task)
            writer.transport.abort()


class Connection:
    """One publisher: its bytes are read no faster than they are taken."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, admit: Admit
    ) -> None:
        self._reader, self._writer, self._admit = reader, writer, admit
        self._server = Server()
        self._flv: deque[bytes] = deque([FLV_HEADER])
        self._is_over = False

    async def run(self) -> None:
        async with asyncio.timeout(_HELLO_S):
            publish = await self._greet()
        if publish is not None:
            await publish(self._read)

    async def _greet(self) -> Callable[[Read], Awaitable[None]] | None:
        """Until it wants to publish something, which it may or not."""
        while not self._is_over:
            for event in await self._next():
                if isinstance(event, Publish):
                    publish = self._admit(event.name.partition("?")[0])
                    if publish is None:
                        self._server.refuse("No such stream, or it is published already")
                    else:
                        self._server.accept()
                    await self._answer()
                    return publish
        return None

    async def _read(self) -> bytes:
        while not self._flv and not self._is_over:
            with suppress(OSError, TimeoutError, VodrayError):
                async with asyncio.timeout(SILENCE_S):
                    await self._next()
                continue
            self._is_over = True
        data = b"".join(self._flv)
        self._flv.clear()
        return data

    async def _next(self) -> list[Publish | Media | Closed]:
        data = await self._reader.read(_READ_BYTES)
        self._is_over |= not data
        events = []
        for event in self._server.feed(data):
            if isinstance(event, Media):
                self._flv.append(event.flv)
            elif isinstance(event, Closed):
                self._is_over = True
            events.append(event)
            if isinstance(event, Publish):
                break
        await self._answer()
        return events

    async def _answer(self) -> None:
        data = bytes(self._server.to_send)
        self._server.to_send.clear()
        if data:
            self._writer.write(data)
            await self._writer.drain()
