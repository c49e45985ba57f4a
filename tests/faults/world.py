"""A service whose servers are behind ways that can fail, and what is left of it."""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx

from serve_app.embedded.service import free_ports
from tests.e2e.service import Service
from tests.e2e.world import Broadcast, Json, World, eventually
from tests.faults.judge import left_in_bucket, live_actors, temporary_files
from tests.faults.kills import Trouble, kill
from tests.faults.servers import Servers

T = TypeVar("T")


class FaultyService(Service):
    """``vodray up`` over ``servers``. What it writes for a while is below ``temporary``."""

    def __init__(self, folder: Path, servers: Servers, **variables: str) -> None:
        self.servers = servers
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        # Whoever looks at it finds it again after a restart.
        (self.port,) = free_ports(1)
        self.ray_token = secrets.token_hex(32)
        given = {
            "TMPDIR": str(self.temporary),
            "SPOOL_DIR": str(self.temporary / "spool"),
            # Not below it: paths of sockets have to be short.
            "RAY_TMPDIR": "/tmp",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.ray_token,
        }
        super().__init__(folder, **given, **servers.variables, **variables)

    def world(self) -> World:
        """It, seen past the ways: faults are for the service, not for who judges it."""
        return World(self.endpoints | self.servers.directly)

    def trouble(self, seed: int = 0) -> Trouble:
        return Trouble(service=self, relays=self.servers.relays, seed=seed)

    def actors(self) -> Counter[str]:
        """Those that live or are about to, by class."""
        return live_actors(self.endpoints["ray_dashboard"], self.ray_token)

    def left_behind(self, idle: Counter[str]) -> list[str]:
        """What should not be there once all recordings are final. ``idle``: ``actors`` of the
        service when it had nothing to do."""
        left = left_in_bucket(self.servers.store, self.endpoints["bucket"])
        left += [f"actor {name} ({number})" for name, number in (self.actors() - idle).items()]
        return left + temporary_files(self.temporary)


def announce(live: Broadcast, event: str, *, within_s: float = 120.0, **more: object) -> None:
    """As the platform does: the same webhook again until it is taken."""

    def told() -> bool:
        answer = live.world.webhook(event, live.stream_id, live.key, **more)
        assert answer.status_code in (200, 500, 502, 503, 504), answer.text
        return answer.status_code == 200

    eventually(_patient(told, otherwise=False), within_s=within_s)


def outcome(live: Broadcast, *, within_s: float) -> list[Json]:
    """All recordings of the stream once they are final, however often nobody answers."""

    def look() -> list[Json]:
        found = live.world.recordings(live.stream_id)
        return found if all(r["status"] in ("completed", "failed") for r in found) else []

    return eventually(_patient(look, otherwise=[]), within_s=within_s)


def nothing_is_left(look: Callable[[], list[str]], *, within_s: float) -> None:
    """``look``: what there is that should go."""
    try:
        eventually(_patient(lambda: not look(), otherwise=False), within_s=within_s)
    except AssertionError:
        left = look()
        assert not left, left


def _patient(look: Callable[[], T], *, otherwise: T) -> Callable[[], T]:
    """``otherwise`` where the service cannot be asked, or says that it cannot answer."""

    def answer() -> T:
        try:
            return look()
        except (httpx.HTTPError, ValueError, KeyError):
            return otherwise

    return answer


@contextmanager
def faulty_service(folder: Path, **variables: str) -> Iterator[FaultyService]:
    """It runs inside, with all its servers up, and must stop by itself behind."""
    with Servers(folder) as servers:
        service = FaultyService(folder, servers, **variables)
        try:
            service.start()
            yield service
            for relay in servers.relays.values():
                relay.up()
            if service.is_running:
                service.stop()
        finally:
            kill(service, "everything")
