"""The port of the HTTP service, from its choice until something listens there."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from pipeline.errors import UsageError
from serve_app.embedded.service import free_ports
from serve_app.ports import check_port, held


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def test_nobody_else_gets_a_port_that_is_held(port: int) -> None:
    with held(port):
        with pytest.raises(UsageError, match="Address already in use"):
            check_port(port)
        with pytest.raises(UsageError), held(port):
            pass
    check_port(port)


def test_a_port_with_somebody_behind_it_is_not_held(port: int) -> None:
    with _listening(port), pytest.raises(UsageError, match=f"Port {port}"), held(port):
        pass


def test_connections_that_linger_do_not_matter(port: int) -> None:
    with _listening(port) as server, socket.create_connection(("127.0.0.1", port)) as client:
        answering, _ = server.accept()
        # Who closes first keeps the address for a minute (TIME_WAIT).
        answering.close()
        assert client.recv(1) == b""
    with socket.socket() as strict, pytest.raises(OSError, match="in use"):
        strict.bind(("0.0.0.0", port))
    with held(port):
        pass


@contextlib.contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen()
        yield server
