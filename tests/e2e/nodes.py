"""A Ray cluster of several nodes on this machine, in a process of its own.

Run as a module it does what it reads from its standard input, line by line: ``add`` a node with one
CPU, ``lose PID``, the node with this raylet, as when its machine dies.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
from ray.cluster_utils import Cluster

from tests.e2e.service import environment

_END_S = 30.0


class Nodes:
    """``address``: for ``RAY_ADDRESS``. A node is known by its raylet's process id."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.address = self._answer()

    def add(self) -> int:
        return int(self._ask("add"))

    def lose(self, node: int) -> None:
        self._ask(f"lose {node}")

    def workers(self, node: int) -> list[int]:
        """Of the pool, those on this node."""
        children = psutil.Process(node).children(recursive=True)
        return [one.pid for one in children if "".join(one.cmdline()).startswith("ray::Worker")]

    def _ask(self, command: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("= "):
                return line.removeprefix("= ").strip()
        raise AssertionError("the cluster has ended")


@contextmanager
def cluster(**variables: str) -> Iterator[Nodes]:
    """Its head is there, and does no media work. ``variables``: of the environment."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        env=environment(**variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    with process:
        try:
            yield Nodes(process)
        finally:
            process.stdin.close()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    nodes: dict[int, Any] = {}
    print("=", cluster.address, flush=True)
    for line in sys.stdin:
        verb, *number = line.split()
        if verb == "add":
            node = cluster.add_node(num_cpus=1)
            (raylet,) = node.all_processes["raylet"]
            nodes[raylet.process.pid] = node
            print("=", raylet.process.pid, flush=True)
        else:
            cluster.remove_node(nodes.pop(int(number[0])), allow_graceful=False)
            print("= lost", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
