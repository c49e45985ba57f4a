"""Plans can be made again, and only processes of the service are hit."""

import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.service import Service
from tests.e2e.world import eventually
from tests.faults.kills import KINDS, MANNERS, Fault, Trouble, kill, plan
from tests.faults.relay import Relay

# A session in which a worker is started again when it dies; a raylet is not.
_SESSION = """
(exec -a "ray::Worker.run" sleep 100) &
(exec -a "/x/raylet/raylet" sleep 100) &
while true; do wait -n; (exec -a "ray::Worker" sleep 100) & done
"""


class Fake(Service):
    """Has processes as a service has. ``starts``: how often it was started."""

    starts = 0
    fails = 0

    def start(self) -> dict[str, Any]:
        self.starts += 1
        assert self.starts not in range(2, 2 + self.fails), "a start that fails"
        self._process = subprocess.Popen(["bash", "-c", _SESSION], start_new_session=True)
        while len(self.processes("ray::Worker|/x/raylet")) < 2:
            time.sleep(0.01)
        return {}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Fake]:
    service = Fake(tmp_path)
    service.start()
    yield service
    kill(service, "everything")
    service.kill()


def test_a_seed_makes_the_same_plan() -> None:
    assert plan(1, 600) == plan(1, 600)
    assert plan(1, 600) != plan(2, 600)


@pytest.mark.parametrize("seed", range(5))
def test_a_plan_has_its_share_of_everything(seed: int) -> None:
    made = plan(seed, 600)
    assert [fault.at_s for fault in made] == sorted(fault.at_s for fault in made)
    kills = Counter(fault.what for fault in made if not fault.manner)
    assert kills.total() == 50
    assert set(kills) == set(KINDS)
    assert max(kills.values()) - min(kills.values()) <= 1
    for server in ("postgres", "s3", "kafka"):
        outages = [fault for fault in made if fault.what == server and fault.manner]
        assert len(outages) == 10
        assert Counter(fault.manner for fault in outages) == dict.fromkeys(MANNERS, 2)
        for one, after in pairwise(outages):
            assert 0 < one.seconds <= 60
            assert one.at_s + one.seconds < after.at_s
        assert outages[-1].at_s + outages[-1].seconds < 600


def test_one_of_its_kind_is_killed(service: Fake) -> None:
    stranger = subprocess.Popen(["bash", "-c", 'exec -a "ray::Worker" sleep 100'])
    try:
        (pid,) = kill(service, "worker")
        while psutil.pid_exists(pid) and service.processes("ray::Worker") <= {pid}:
            time.sleep(0.01)
        assert service.is_running
        assert kill(service, "supervisor") == set()
        assert len(kill(service, "everything")) >= 3
        assert service._process is not None
        assert service._process.wait(5) == -9
        eventually(lambda: service.processes("") == set(), within_s=10)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(5)


def test_a_plan_is_carried_out(service: Fake) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        behind = f"127.0.0.1:{server.getsockname()[1]}"
        with Relay(behind) as relay:
            trouble = Trouble(service=service, relays={"s3": relay}, find_s=0.2, back_s=0.2)
            faults = [
                Fault(at_s=0.0, what="worker"),
                Fault(at_s=0.1, what="s3", manner="down", seconds=0.5),
                Fault(at_s=0.2, what="supervisor"),
                Fault(at_s=0.3, what="raylet"),
            ]
            done = trouble.run(faults)
            assert [one.fault for one in done] == faults
            assert [len(one.pids) for one in done] == [1, 0, 0, 1]
            assert relay.connections == 0
            socket.create_connection(("127.0.0.1", relay.port), timeout=5).close()
    # It did not start again by itself when its raylet ended, and was ended.
    assert [one.alone for one in done] == [True, True, True, False]
    assert service.starts == 2
    assert service.is_running


def test_a_start_that_fails_is_tried_again(service: Fake) -> None:
    service.fails = 2
    pids = {service.pid}
    (done,) = Trouble(service=service).run([Fault(at_s=0.0, what="everything")])
    assert done.alone
    assert pids <= done.pids
    assert service.starts == 4
    assert service.is_running
    assert os.getsid(service.pid) == service.pid
