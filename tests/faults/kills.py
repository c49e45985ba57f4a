"""Ends of processes and outages of servers, at any moment, by a plan that a seed makes again."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from random import Random

from tests.e2e.service import Service
from tests.faults.relay import Relay

# What the command line of each kind of process begins with. With a dot: in a call.
TITLES: Mapping[str, str] = {
    "worker": r"ray::Worker\b",
    "supervisor": r"ray::(\S+:)?RecordingProcess\b",
    "capture": r"ray::CaptureProcess\b",
    "pool": r"ray::Pool\b",
    "reconciler": r"ray::Reconciler\b",
    "kafka": r"ray::KafkaProcess\b",
    "replica": r"ray::ServeReplica\b",
    "proxy": r"ray::ProxyActor\b",
    "controller": r"ray::ServeController\b",
    "raylet": r"\S*/raylet/raylet\b",
    "gcs": r"\S*/gcs_server\b",
    "everything": r"",
}
# Ray is gone with one of these, and the service starts again by itself.
VITAL = ("raylet", "gcs")
# The service is away for some time.
FATAL = (*VITAL, "everything")
KINDS = (
    "worker", "supervisor", "capture", "replica", "kafka", "pool", "reconciler", "raylet", "gcs",
    "everything",
)  # fmt: skip
SERVERS = ("postgres", "s3", "kafka")
# What an outage does to the way to a server.
MANNERS: Mapping[str, Callable[[Relay], None]] = {
    "down": Relay.down,
    "hang": Relay.hang,
    "slow": lambda relay: relay.slow(200_000),
    "break": lambda relay: relay.reset_each(300_000),
    "reset": Relay.reset,
}
_LOOK_S = 0.05
# A service whose Ray dies sooner after its start says so and ends.
_SOON_S = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """At ``at_s`` after the beginning a process of kind ``what`` is killed; or, with a ``manner``,
    the server ``what`` is out for ``seconds``."""

    at_s: float
    what: str
    manner: str = ""
    seconds: float = 0.0


def plan(
    seed: int,
    seconds: float,
    *,
    kills: int = 50,
    outages: int = 10,
    kinds: Sequence[str] = KINDS,
    servers: Sequence[str] = SERVERS,
    longest_s: float = 60.0,
) -> list[Fault]:
    """``kills`` in all and ``outages`` of each server within ``seconds``, in order of time.

    One in each equal share of the time, so that outages of one server do not meet; each kind and
    each manner as often as the others.
    """
    random = Random(seed)
    faults = [
        Fault(at_s=at_s, what=what)
        for at_s, what in zip(
            _moments(random, seconds, kills), _fairly(random, kinds), strict=False
        )
    ]
    for server in servers:
        share_s = seconds / max(1, outages)
        moments = _moments(random, seconds, outages, upto=0.3)
        for at_s, manner in zip(moments, _fairly(random, tuple(MANNERS)), strict=False):
            length_s = min(longest_s, random.uniform(0.1, 0.6) * share_s)
            faults.append(Fault(at_s=at_s, what=server, manner=manner, seconds=length_s))
    return sorted(faults, key=lambda fault: fault.at_s)


def _moments(random: Random, seconds: float, number: int, upto: float = 1.0) -> list[float]:
    return [(n + random.uniform(0, upto)) * seconds / number for n in range(number)]


def _fairly(random: Random, values: Sequence[str]) -> Iterator[str]:
    while True:
        yield from random.sample(values, len(values))


def kill(service: Service, what: str, random: Random | None = None) -> set[int]:
    """SIGKILL to one process of this kind, or ``everything`` of the service; which they were.

    Empty if there is none at the moment.
    """
    found = service.processes(TITLES[what])
    chosen = found if what == "everything" or not found else {_one(found, random)}
    if what == "everything":
        # Nothing is to start anything meanwhile.
        for pid in chosen:
            _signal(pid, signal.SIGSTOP)
    for pid in chosen:
        _signal(pid, signal.SIGKILL)
    return chosen


def _one(found: set[int], random: Random | None) -> int:
    return min(found) if random is None else random.choice(sorted(found))


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of a fault. ``late_s``: against the plan; ``began``, ``over``: by
    ``time.monotonic``, over once the service is up again. ``pids``: whom it hit, none if there was
    no such process. ``alone``: whether the service was up again without help, where it should be.
    """

    fault: Fault
    late_s: float
    began: float
    over: float
    pids: frozenset[int] = frozenset()
    alone: bool = True

    def __str__(self) -> str:
        what = f"{self.fault.what} {self.fault.manner}".strip()
        told = f"{self.fault.at_s:6.1f} s {what:16} for {self.over - self.began:5.1f} s"
        told += f", {self.late_s:.1f} s late"
        if not self.fault.manner:
            told += f", {len(self.pids)} killed"
        return told if self.alone else f"{told}, not up by itself"


@dataclass(slots=True, kw_only=True)
class Trouble:
    """Carries plans out. ``relays``: the ways to the servers by name. ``find_s``: how long a kind
    of process is waited for that is not there; ``back_s``: how long a service that has lost its Ray
    may take to be up again by itself, before it is ended and started; ``start_s``: how often that
    is tried.
    """

    service: Service
    relays: Mapping[str, Relay] = field(default_factory=dict)
    seed: int = 0
    find_s: float = 5.0
    back_s: float = 150.0
    start_s: float = 240.0
    done: list[Done] = field(default_factory=list)
    _up_since: float = -_SOON_S

    def run(self, faults: Sequence[Fault]) -> list[Done]:
        """Returns when the last one is over, with all servers up and the service running.

        Outages come at their time; a kill may come late, after the service is up again.
        """
        began = time.monotonic()
        outages = [fault for fault in faults if fault.manner]
        random = Random(self.seed)
        with self._outages(outages, began):
            for fault in faults:
                if not fault.manner:
                    _sleep_until(began + fault.at_s)
                    self._kill(fault, began, random)
        return sorted(self.done, key=lambda done: done.fault.at_s)

    def _kill(self, fault: Fault, began: float, random: Random) -> None:
        if fault.what in VITAL:
            _sleep_until(self._up_since + _SOON_S)
        known = self._written()
        give_up = time.monotonic() + self.find_s
        while not (pids := kill(self.service, fault.what, random)) and time.monotonic() < give_up:
            time.sleep(_LOOK_S)
        killed = time.monotonic()
        alone = True
        if fault.what in FATAL and pids:
            if fault.what in VITAL:
                alone = self._is_back(known)
            if fault.what not in VITAL or not alone:
                self.start_again()
            self._up_since = time.monotonic()
        self.done.append(
            Done(
                fault=fault,
                late_s=killed - began - fault.at_s,
                began=killed,
                over=time.monotonic() if fault.what in FATAL else killed,
                pids=frozenset(pids),
                alone=alone,
            )
        )

    def _is_back(self, before: int) -> bool:
        """Whether the service has started again by itself."""
        give_up = time.monotonic() + self.back_s
        while self.service.is_running and time.monotonic() < give_up:
            if self._written() not in (0, before):
                path = self.service.data_dir / "endpoints.json"
                with suppress(FileNotFoundError, ValueError):
                    self.service.endpoints = json.loads(path.read_text())
                    return True
            time.sleep(_LOOK_S)
        return False

    def _written(self) -> int:
        """When the service has told last that it is up, ns; 0 if it is not."""
        try:
            return (self.service.data_dir / "endpoints.json").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def start_again(self) -> None:
        """As a service manager does: what is left is killed, and a failed start is tried again."""
        give_up = time.monotonic() + self.start_s
        for attempt in count(1):
            kill(self.service, "everything")
            self.service.kill()
            try:
                self.service.start()
            except AssertionError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(min(attempt, 5))
            else:
                return

    @contextmanager
    def _outages(self, outages: Sequence[Fault], began: float) -> Iterator[None]:
        """They happen in a thread meanwhile, and are over at the end."""
        acts = [(fault.at_s, fault, MANNERS[fault.manner]) for fault in outages]
        acts += [(fault.at_s + fault.seconds, fault, Relay.up) for fault in outages]
        acts.sort(key=lambda act: act[0])
        stopped = threading.Event()

        def work() -> None:
            for at_s, fault, act in acts:
                if stopped.wait(max(0.0, began + at_s - time.monotonic())):
                    return
                act(self.relays[fault.what])
                if act is not Relay.up:
                    now = time.monotonic()
                    over = now + (0 if fault.manner == "reset" else fault.seconds)
                    self.done.append(
                        Done(fault=fault, late_s=now - began - at_s, began=now, over=over)
                    )

        thread = threading.Thread(target=work, name="outages", daemon=True)
        thread.start()
        try:
            yield
            thread.join()
        finally:
            stopped.set()
            thread.join()
            for relay in self.relays.values():
                relay.up()


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
