"""A way to a server that can be shut, blocked, narrowed or made to break, while both ends live."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self
from weakref import WeakSet

from serve_app.embedded.service import LOOPBACK, free_ports
from tests.faults.loop import LoopThread

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_CHUNK = 1 << 16
# Closing with this set sends RST, as the end of a machine does, where FIN is a polite goodbye.
NO_LINGER = struct.pack("ii", 1, 0)
_CONNECT_S = 5.0
# A narrow way is one in pieces, so that it can be widened at any time.
_STEP_S = 0.05


class Relay:
    """TCP from ``address`` (``host:port``, the same for its lifetime) to ``behind``. ``own_port``
    is any free one unless it is given; ``host``: an address of this machine.

    Begins ``up``. Each method ends what the one before had set. ``connections`` and ``carried``
    (bytes, both ways) count from the beginning. What happens behind it is not its matter: a server
    that refuses looks like a reset.
    """

    def __init__(self, behind: str, own_port: int | None = None, host: str = LOOPBACK) -> None:
        name, _, port = behind.rpartition(":")
        self._behind = name, int(port)
        self._host = host
        self._links: set[Link] = set()
        # One that is closed while the other end does not read lives on.
        self._transports: WeakSet[asyncio.WriteTransport] = WeakSet()
        self.connections = self.carried = 0
        self._flows = asyncio.Event()
        self._rate = self._free_at = 0.0
        self._life = 0
        # Never listens, and keeps the port ours while nobody does.
        self._holder = _bound(host, own_port or free_ports(1)[0])
        self._server: asyncio.Server | None = None
        self._loop = LoopThread("relay")
        self.up()

    @property
    def port(self) -> int:
        return int(self._holder.getsockname()[1])

    @property
    def address(self) -> str:
        return f"{self._host}:{self.port}"

    # --- what it does to connections ---------------------------------------------------------
    def up(self) -> None:
        """Carry everything; what hung goes on."""
        self._loop.call(self._set())

    def down(self) -> None:
        """Reset all connections, and refuse new ones."""
        self._loop.call(self._set(listens=False))

    def hang(self) -> None:
        """Accept, and say nothing; what is open stalls."""
        self._loop.call(self._set(flows=False))

    def slow(self, bytes_per_s: float) -> None:
        """Carry so many bytes a second: all connections and both ways together."""
        self._loop.call(self._set(rate=bytes_per_s))

    def reset_each(self, size_bytes: int) -> None:
        """Reset each connection, old or new, once it has carried so many bytes, both ways."""
        self._loop.call(self._set(life=size_bytes))

    def reset(self) -> None:
        """Reset what is open now; new connections are as before."""
        self._loop.call(self._drop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.down()
        self._loop.cancel()
        self._loop.call(self._abort_all())
        self._loop.close()
        self._holder.close()

    # --- in the loop -------------------------------------------------------------------------
    async def _set(
        self, *, listens: bool = True, flows: bool = True, rate: float = 0.0, life: int = 0
    ) -> None:
        self._rate, self._free_at, self._life = rate, 0.0, life
        if flows:
            self._flows.set()
        else:
            self._flows.clear()
        loop = asyncio.get_running_loop()
        if listens and self._server is None:
            self._server = await loop.create_server(
                self._accepted, sock=_bound(self._host, self.port)
            )
        if not listens and self._server is not None:
            # One that is accepted when its server is closed, but not made yet, would be nobody's.
            for plug in self._server.sockets:
                loop.remove_reader(plug.fileno())
            await asyncio.sleep(_STEP_S)
            self._server.close()
            self._server = None
        if not listens:
            await self._drop()

    async def _drop(self) -> None:
        for link in tuple(self._links):
            link.reset()

    async def _abort_all(self) -> None:
        for transport in tuple(self._transports):
            transport.abort()
        # Their ends are called when the loop comes round again.
        await asyncio.sleep(_STEP_S)

    def _accepted(self) -> asyncio.StreamReaderProtocol:
        """One for each connection."""
        reader = asyncio.StreamReader()
        return _Accepted(reader, self._accept, self._transports)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(_CONNECT_S):
            reader, writer = await asyncio.open_connection(*self._behind)
        self._transports.add(writer.transport)
        return reader, writer

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            behind = await self._connect()
        except (OSError, asyncio.CancelledError):
            reset(writer)
            return
        link = Link(reader, writer, *behind)
        self._links.add(link)
        try:
            await self._serve(link)
        except (OSError, EOFError, asyncio.CancelledError):
            link.reset()
        finally:
            self._links.discard(link)
            link.close()

    async def _serve(self, link: "Link") -> None:
        """One connection to its end; an ``OSError`` or ``EOFError`` ends it with a reset."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._pump(link, link.asking, link.to_server))
            both.create_task(self._pump(link, link.answering, link.to_client))

    async def _pump(
        self, link: "Link", source: asyncio.StreamReader, to: asyncio.StreamWriter
    ) -> None:
        with _ending(link):
            while data := await source.read(_CHUNK):
                await self._send(link, to, data)
            to.write_eof()

    async def _send(self, link: "Link", to: asyncio.StreamWriter, data: bytes) -> None:
        """As fast as it is allowed at the moment."""
        while data:
            await self._flows.wait()
            piece = data[: max(1, round(self._rate * _STEP_S))] if self._rate else data
            if self._life:
                piece = piece[: max(0, self._life - link.carried)]
            await self._pace(len(piece))
            to.write(piece)
            await to.drain()
            self.carried += len(piece)
            link.carried += len(piece)
            if self._life and link.carried >= self._life:
                raise ConnectionResetError
            data = data[len(piece) :]

    async def _pace(self, size_bytes: int) -> None:
        if self._rate:
            now = asyncio.get_running_loop().time()
            self._free_at = max(now, self._free_at) + size_bytes / self._rate
            await asyncio.sleep(self._free_at - now)


class _Accepted(asyncio.StreamReaderProtocol):
    """Its transport is known before the task that serves it has begun, or is cancelled."""

    def __init__(
        self, reader: asyncio.StreamReader, serve: Serve, known: WeakSet[asyncio.WriteTransport]
    ) -> None:
        super().__init__(reader, serve)
        self._known = known

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._known.add(transport)
        super().connection_made(transport)


class Link:
    """One connection, both ends of it. ``carried``: bytes, both ways."""

    def __init__(
        self,
        asking: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        answering: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self.asking, self.to_client = asking, to_client
        self.answering, self.to_server = answering, to_server
        self.carried = 0

    def reset(self) -> None:
        reset(self.to_client)
        reset(self.to_server)

    def close(self) -> None:
        self.to_client.close()
        self.to_server.close()


@contextmanager
def _ending(link: Link) -> Iterator[None]:
    """A failure of one way is the end of both, and of nothing else."""
    try:
        yield
    except (OSError, EOFError):
        link.reset()


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with RST; what is not yet sent is lost."""
    plug = writer.get_extra_info("socket")
    if plug is not None and not writer.is_closing():
        with suppress(OSError):
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    writer.transport.abort()


def _bound(host: str, port: int) -> socket.socket:
    plug = socket.socket()
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    plug.bind((host, port))
    return plug
