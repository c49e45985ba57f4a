"""What the embedded services have in common: free ports, readiness, stop, start again."""

import random
import socket
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from pipeline.errors import ServiceFailed
from serve_app.embedded.process import Child, Command, end_leftovers

LOOPBACK = "127.0.0.1"
_STOP_S = 7.0
_ATTEMPTS = 3
GRPC_OFFSET = 10_000
"""SeaweedFS's admin server takes port + 10000 as well, whatever it is told."""
# Below the range that the kernel hands out to clients, so that it does not take one from us
# between the choice and the use.
_PORTS = range(20_000, 30_000)


class Service(ABC):
    """One program on loopback, whose data stays in ``folder`` between runs."""

    title: ClassVar[str]
    port_count: ClassVar[int] = 1
    ready_s: ClassVar[float] = 30.0
    """How long a start may take."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self.folder = folder.resolve()
        self.log = logs.resolve() / f"{folder.name}.log"
        self._ports: tuple[int, ...] = ()
        self._child: Child | None = None

    @property
    def ports(self) -> tuple[int, ...]:
        """What it listens on; the first is for clients. Empty before the first start."""
        return self._ports

    @property
    def port(self) -> int:
        return self._ports[0]

    @property
    def pid(self) -> int:
        if self._child is None:
            raise ServiceFailed(f"{self.title} is not running")
        return self._child.pid

    def start(self) -> None:
        """Start and wait until it serves; again on the same ports if it ran before.

        Raises ``ServiceFailed``.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        end_leftovers(self.folder, self._program().name)
        self._prepare()
        if self._ports:
            self._launch()
        else:
            self._run_on_free_ports()

    def _run_on_free_ports(self) -> None:
        """Another process may take a port between the choice and the use: then choose again."""
        for attempt in range(1, _ATTEMPTS + 1):
            self._ports = free_ports(self.port_count)
            try:
                self._launch()
            except ServiceFailed:
                if attempt == _ATTEMPTS:
                    raise
            else:
                return

    def _launch(self) -> None:
        self._child = Child(self._command())
        try:
            self._child.wait_ready(self._is_ready, self.ready_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop within 12 s. Does nothing when it does not run."""
        if self._child is None:
            return
        self._child.ask_to_stop()
        self._child.wait_stopped(_STOP_S)
        self._child = None

    @abstractmethod
    def _program(self) -> Path: ...

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the program needs on disk. Called before each start."""

    @abstractmethod
    def _command(self) -> Command: ...

    @abstractmethod
    def _is_ready(self) -> bool: ...


def free_ports(count: int) -> tuple[int, ...]:
    """``count`` ports of loopback that are free, each with port + ``GRPC_OFFSET`` free too."""
    found: list[int] = []
    for port in random.sample(_PORTS, k=len(_PORTS)):
        if _is_free(port) and _is_free(port + GRPC_OFFSET):
            found.append(port)
            if len(found) == count:
                return tuple(found)
    raise ServiceFailed("No free port on 127.0.0.1", f"Free some of {_PORTS.start}-{_PORTS.stop}")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def accepts_connections(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False
