"""Hosts with a network of their own each, on this machine: network namespaces on a bridge. Needs
root and the program ``ip``."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.service import environment

_NET = "10.83.0"
_RAY = Path(sys.executable).with_name("ray")
_END_S = 20.0


class Network:
    """``here``: this machine's own address in it. Hosts are told by number."""

    def __init__(self) -> None:
        self._prefix = f"v{os.getpid() % 100_000}"
        self.here = f"{_NET}.254"
        self._hosts: list[int] = []

    def address(self, host: int) -> str:
        return f"{_NET}.{host}"

    def within(self, host: int) -> list[str]:
        """The program that runs another one on that host."""
        program = shutil.which("ip")
        assert program is not None
        return [program, "netns", "exec", self._name(host)]

    def cut(self, host: int) -> None:
        """As when its cable is pulled: nobody is told."""
        _ip("link", "set", self._cable(host), "down")

    def mend(self, host: int) -> None:
        _ip("link", "set", self._cable(host), "up")

    def open(self) -> None:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self.here}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    def add(self, host: int) -> None:
        name = self._name(host)
        _ip("netns", "add", name)
        self._hosts.append(host)
        _ip("link", "add", self._cable(host), "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", self._cable(host), "master", self._bridge, "up")
        _ip("-n", name, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            _ip("-n", name, "link", "set", device, "up")
        # By which Ray finds out its own address; nothing is beyond.
        _ip("-n", name, "route", "add", "default", "via", self.here)

    def close(self) -> None:
        for host in self._hosts:
            _ip("netns", "delete", self._name(host))
        _ip("link", "delete", self._bridge)

    def _name(self, host: int) -> str:
        return f"{self._prefix}h{host}"

    def _cable(self, host: int) -> str:
        return f"{self._prefix}c{host}"

    @property
    def _bridge(self) -> str:
        return f"{self._prefix}b"


@contextmanager
def network(*hosts: int) -> Iterator[Network]:
    net = Network()
    net.open()
    try:
        for host in hosts:
            net.add(host)
        yield net
    finally:
        net.close()


@contextmanager
def ray_node(
    net: Network, host: int, log: Path, *options: str, variables: Mapping[str, str]
) -> Iterator[int]:
    """A node of Ray on that host; its process id."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*net.within(host), _RAY, "start", "--block", "--disable-usage-stats", *options],
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        time.sleep(1)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=10)
