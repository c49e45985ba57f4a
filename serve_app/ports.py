"""The port that the HTTP service is to have."""

import contextlib
import socket
import time
from collections.abc import Iterator

from pipeline.errors import UsageError

HOST = "0.0.0.0"
_FREE_S = 30.0


def check_port(port: int) -> None:
    """Raises ``UsageError`` if somebody has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(probe, port)


@contextlib.contextmanager
def held(port: int) -> Iterator[None]:
    """Nobody else gets it inside, nor listens there: seconds pass until what is to listen is up.

    Raises ``UsageError`` if somebody has it.
    """
    with socket.socket() as holder:
        try:
            holder.bind((HOST, port))
        except OSError:
            # Connections of the service before may linger. With SO_REUSEADDR they do not matter,
            # but then others can bind it too, as long as nobody listens.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bind(holder, port)
        yield


def wait_for_port(port: int) -> None:
    """Until nobody listens there, but not for ever: for processes of a Ray that has died."""
    give_up = time.monotonic() + _FREE_S
    while time.monotonic() < give_up:
        with contextlib.suppress(UsageError):
            check_port(port)
            return
        time.sleep(0.2)


def _bind(own: socket.socket, port: int) -> None:
    try:
        own.bind((HOST, port))
    except OSError as error:
        raise UsageError(
            f"Port {port} cannot be used: {error.strerror}", "Choose another with --port or PORT"
        ) from error
