"""Streams for the fault tests, where some of them are shown, and the service that most of them
share."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.e2e.world import World
from tests.faults.origin import WebOrigin, web_origin
from tests.faults.world import FaultyService, faulty_service, nothing_is_left
from tests.media_fixtures import clips

__all__ = ["clips", "origin"]


@pytest.fixture(scope="session")
def origin() -> Iterator[WebOrigin]:
    """Its addresses are good for a few seconds."""
    with web_origin(signed_s=5) as origin:
        yield origin


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory, origin: WebOrigin) -> Iterator[FaultyService]:
    folder = tmp_path_factory.mktemp("faults")
    with faulty_service(
        folder, ALLOWED_SOURCE_HOSTS=origin.host, STALL_TIMEOUT="60s", RECONNECT_WINDOW="0s"
    ) as service:
        yield service


@pytest.fixture(scope="package")
def idle(service: FaultyService) -> Counter[str]:
    """Which actors there are while nothing is recorded."""
    return service.actors()


@pytest.fixture
def world(service: FaultyService, idle: Counter[str]) -> Iterator[World]:
    with closing(service.world()) as world:
        yield world
        service.servers.to_s3.script()
        for relay in service.servers.relays.values():
            relay.up()
        nothing_is_left(lambda: service.left_behind(idle), within_s=30)
