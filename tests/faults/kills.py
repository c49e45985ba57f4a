"""Ends of processes and outages of servers, at any moment, by a plan that a seed makes again."""

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
# With one of these the service is gone, and whoever runs it starts it again.
FATAL = ("raylet", "gcs", "everything")
KINDS = ("worker", "supervisor", "replica", "kafka", "pool", "reconciler", "raylet", "everything")
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
    """What became of a fault. ``late_s``: against the plan. ``pids``: whom it hit, none if there
    was no such process. ``ended``: whether a service that lost its Ray ended by itself."""

    fault: Fault
    late_s: float
    pids: frozenset[int] = frozenset()
    ended: bool = True


@dataclass(slots=True, kw_only=True)
class Trouble:
    """Carries plans out. ``relays``: the ways to the servers by name. ``find_s``: how long a kind
    of process is waited for that is not there; ``end_s``: how long for the end of a service that
    has lost its Ray, before it is ended and started again; ``start_s``: how often that is tried.
    """

    service: Service
    relays: Mapping[str, Relay] = field(default_factory=dict)
    seed: int = 0
    find_s: float = 5.0
    end_s: float = 30.0
    start_s: float = 240.0
    done: list[Done] = field(default_factory=list)

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
        late_s = time.monotonic() - began - fault.at_s
        give_up = time.monotonic() + self.find_s
        while not (pids := kill(self.service, fault.what, random)) and time.monotonic() < give_up:
            time.sleep(_LOOK_S)
        ended = True
        if fault.what in FATAL and pids:
            ended = self._ends()
            self.start_again()
        self.done.append(Done(fault=fault, late_s=late_s, pids=frozenset(pids), ended=ended))

    def _ends(self) -> bool:
        give_up = time.monotonic() + self.end_s
        while self.service.is_running and time.monotonic() < give_up:
            time.sleep(_LOOK_S)
        return not self.service.is_running

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
                    late_s = time.monotonic() - began - at_s
                    self.done.append(Done(fault=fault, late_s=late_s))

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
