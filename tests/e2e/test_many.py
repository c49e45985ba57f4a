"""Many streams end in the same second: every one is recorded, once and whole."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import NewBroadcast
from tests.e2e.world import World

MANY = 45


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("live", [True, False], ids=["live", "announced when they have ended"])
def test_streams_that_end_in_the_same_second(
    live: bool, world: World, broadcast: NewBroadcast
) -> None:
    broadcasts = [broadcast() for _ in range(MANY)]
    for one in broadcasts:
        if live:
            one.show(1)
            one.tell("started")
        else:
            one.show_whole()
    if live:
        for one in broadcasts:
            one.show_whole()
    with ThreadPoolExecutor(MANY) as threads:
        list(threads.map(lambda one: one.tell("ended"), broadcasts))
    for one in broadcasts:
        done = one.completed(within_s=400)
        assert (done["duration"], done["gaps"]) == (6, [])
        report = world.report(done)
        assert report["frames_in"] == report["frames_out"]
