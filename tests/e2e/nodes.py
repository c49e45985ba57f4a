"""A Ray cluster of several nodes on this machine, in a process of its own.

Run as a module it does what it reads from its standard input, line by line: ``add`` a node with one
CPU, ``lose PID``, the node with this raylet, as when its machine dies.
"""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from ray.cluster_utils import Cluster

from tests.e2e.service import environment

_END_S = 30.0


class Nodes:
    """``address``: for ``RAY_ADDRESS``. A node is known by its raylet's process id."""

    def __init__(self, process: "subprocess.Popen[str]", variables: dict[str, str]) -> None:
        self._process = process
        self._variables = variables
        self._ids: dict[int, str] = {}
        self.address = self._answer()

    def add(self) -> int:
        pid, self._ids[int(pid)] = self._ask("add").split()
        return int(pid)

    def lose(self, node: int) -> None:
        self._ask(f"lose {node}")

    def signal(self, node: int, number: signal.Signals) -> None:
        """To its raylet, and to all that this has started: workers, actors, agents."""
        raylet = psutil.Process(node)
        for process in [raylet, *raylet.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def drain(self, node: int) -> None:
        """As an operator does, or a cloud that takes a machine back."""
        reason = ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "test")
        self._ray("drain-node", "--node-id", self._ids[node], *reason)

    def lack(self) -> bool:
        """Whether an autoscaler would add nodes: for workers that find no CPU."""
        return "{'CPU': 1.0}: " in self._ray("status").partition("Demands:")[2]

    def _ray(self, command: str, *options: str) -> str:
        program = Path(sys.executable).with_name("ray")
        return subprocess.run(
            [program, command, "--address", self.address, *options],
            env=environment(**self._variables),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=_END_S,
        ).stdout

    def workers(self, node: int) -> list[int]:
        """Of the pool, those on this node."""
        return self._actors(node, "Worker")

    def has_pool(self, node: int) -> bool:
        """Whether it is the one that ``up`` is on."""
        return bool(self._actors(node, "Pool"))

    def _actors(self, node: int, name: str) -> list[int]:
        children = psutil.Process(node).children(recursive=True)
        return [one.pid for one in children if "".join(one.cmdline()).startswith(f"ray::{name}")]

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
            yield Nodes(process, variables)
        finally:
            process.stdin.close()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _reap(nodes: dict[int, Any]) -> None:
    """What a raylet has started asks for ever whether its process id is there, and ends if not."""
    while True:
        for node in list(nodes.values()):
            for raylet in node.all_processes.get("raylet", []):
                raylet.process.poll()
        time.sleep(0.5)


def main() -> None:
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    nodes: dict[int, Any] = {}
    threading.Thread(target=_reap, args=(nodes,), daemon=True).start()
    print("=", cluster.address, flush=True)
    for line in sys.stdin:
        verb, *number = line.split()
        if verb == "add":
            node = cluster.add_node(num_cpus=1)
            (raylet,) = node.all_processes["raylet"]
            nodes[raylet.process.pid] = node
            print("=", raylet.process.pid, node.node_id, flush=True)
        else:
            cluster.remove_node(nodes.pop(int(number[0])), allow_graceful=False)
            print("= lost", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
