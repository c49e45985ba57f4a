"""Many streams end in the same second: every one is recorded, once and whole."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.e2e.conftest import SIX_S
from tests.e2e.service import STOP_S, Service
from tests.e2e.world import Broadcast, World
from tests.media_fixtures import Clips

MANY = 45


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service to which a stream that waits for the others has not stalled."""
    service = Service(tmp_path_factory.mktemp("many"), STALL_TIMEOUT="120s")
    with closing(World(service.start())) as world:
        yield world
    assert service.stop() < STOP_S


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("live", [True, False], ids=["live", "announced when they have ended"])
def test_streams_that_end_in_the_same_second(live: bool, world: World, clips: Clips) -> None:
    playlist = clips(SIX_S)
    broadcasts = [Broadcast(world=world, playlist=playlist) for _ in range(MANY)]
    if live:
        for one in broadcasts:
            one.show(1)
            one.tell("started")
    for one in broadcasts:
        one.show_whole()
    with ThreadPoolExecutor(MANY) as threads:
        list(threads.map(lambda one: one.tell("ended"), broadcasts))
    for one in broadcasts:
        done = one.completed(within_s=400)
        assert (done["duration"], done["gaps"]) == (6, [])
        report = world.report(done)
        assert report["frames_in"] == report["frames_out"]
