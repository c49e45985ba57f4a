"""A relay does to connections what it is told to."""

import socket
import time
from collections.abc import Iterator
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest

from tests.faults.relay import Relay


class _Echo(StreamRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    with ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def relay(echo: str) -> Iterator[Relay]:
    with Relay(echo) as relay:
        yield relay


def connect(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=5)


def said(plug: socket.socket, data: bytes) -> bytes:
    """What comes back, up to the length of what was sent."""
    plug.sendall(data)
    return heard(plug, len(data))


def heard(plug: socket.socket, size_bytes: int) -> bytes:
    got = b""
    while len(got) < size_bytes and (more := plug.recv(65536)):
        got += more
    return got


def test_it_carries_both_ways_and_the_end(relay: Relay) -> None:
    data = bytes(range(256)) * 4096
    with connect(relay) as plug:
        sending = Thread(target=plug.sendall, args=(data,))
        sending.start()
        assert heard(plug, len(data)) == data
        sending.join()
        plug.shutdown(socket.SHUT_WR)
        assert plug.recv(1) == b""
    assert relay.connections == 1
    assert relay.carried == 2 * len(data)


def test_down_and_up_again_on_the_same_port(relay: Relay) -> None:
    port = relay.port
    with connect(relay) as plug:
        assert said(plug, b"before") == b"before"
        relay.down()
        with pytest.raises(ConnectionResetError):
            plug.recv(1)
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            connect(relay)
    relay.down()
    relay.up()
    assert relay.port == port
    with connect(relay) as plug:
        assert said(plug, b"after") == b"after"


def test_what_hung_goes_on(relay: Relay) -> None:
    with connect(relay) as old:
        assert said(old, b"before") == b"before"
        relay.hang()
        with connect(relay) as new:
            for plug in (old, new):
                plug.settimeout(0.2)
                plug.sendall(b"hello")
                with pytest.raises(TimeoutError):
                    plug.recv(1)
            relay.up()
            for plug in (old, new):
                plug.settimeout(5)
                assert plug.recv(5) == b"hello"


def test_slow_is_so_many_bytes_a_second_until_it_is_not(relay: Relay) -> None:
    relay.slow(100_000)
    with connect(relay) as plug:
        began = time.monotonic()
        # Both ways.
        assert said(plug, bytes(25_000)) == bytes(25_000)
        assert 0.45 < time.monotonic() - began < 2
        relay.slow(1)
        plug.sendall(bytes(10_000))
        relay.up()
        assert heard(plug, 10_000) == bytes(10_000)


def test_connections_break_after_so_many_bytes(relay: Relay) -> None:
    relay.reset_each(1000)
    for _ in range(2):
        with connect(relay) as plug:
            assert said(plug, bytes(400)) == bytes(400)
            plug.sendall(bytes(150))
            with pytest.raises(ConnectionResetError):
                heard(plug, 200)


def test_a_reset_is_for_what_is_open(relay: Relay) -> None:
    with connect(relay) as old:
        assert said(old, b"before") == b"before"
        relay.reset()
        with pytest.raises(ConnectionResetError):
            old.recv(1)
    with connect(relay) as new:
        assert said(new, b"after") == b"after"


def test_nobody_behind_it() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with (
            Relay(f"127.0.0.1:{nobody.getsockname()[1]}") as relay,
            # It may come before the connection is known to be there.
            pytest.raises(ConnectionResetError),
            connect(relay) as plug,
        ):
            plug.recv(1)
