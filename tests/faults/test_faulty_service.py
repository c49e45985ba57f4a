"""A service records through ways to its servers that could fail, and do not yet."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.world import Broadcast, World, eventually
from tests.faults.judge import assert_undisturbed
from tests.faults.origin import BucketTarget, WebOrigin
from tests.faults.publisher import Publisher, Run, Script
from tests.faults.world import FaultyService, faulty_service
from tests.media import Form
from tests.media_fixtures import Clips

pytestmark = pytest.mark.timeout(240)
FORM = Form(seconds=12)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, origin: WebOrigin) -> Iterator[FaultyService]:
    folder = tmp_path_factory.mktemp("faulty")
    with faulty_service(folder, ALLOWED_SOURCE_HOSTS=origin.host) as service:
        yield service


@pytest.fixture
def world(service: FaultyService) -> Iterator[World]:
    with closing(service.world()) as world:
        yield world


def test_every_server_is_reached_through_its_way(
    service: FaultyService, world: World, clips: Clips, tmp_path: Path
) -> None:
    idle = service.actors()
    assert (idle["Worker"], idle["Reconciler"]) == (2, 1)
    live, ended = (Broadcast(world=world, playlist=clips(FORM)) for _ in range(2))
    ended.show_whole()
    ended.task("process")
    target = BucketTarget(world.store, world.hls_bucket)
    script = Script(runs=(Run(playlist=live.playlist),), speed=4, already=1)
    with Publisher() as publisher:
        channel = publisher.add(target, live.key, script)
        eventually(lambda: channel.published)
        live.tell("started")
        publisher.wait(30)
    for broadcast in (ended, live):
        done = broadcast.completed()
        assert (done["duration"], done["gaps"]) == (12, [])
        assert_undisturbed(world.fetch(done, tmp_path), [broadcast.playlist], tmp_path)
    eventually(lambda: not service.left_behind(idle))
    for name, relay in service.servers.relays.items():
        assert relay.carried > 1000, name
    calls = [call for call in service.servers.to_s3.calls if f"{live.key}.mp4" in call]
    assert any(call.startswith("PUT") for call in calls)


def test_a_live_stream_on_the_web_whose_addresses_change(
    service: FaultyService, world: World, origin: WebOrigin, clips: Clips, tmp_path: Path
) -> None:
    live = Broadcast(world=world, playlist=clips(FORM))
    script = Script(runs=(Run(playlist=live.playlist),), speed=4, already=1)
    with Publisher() as publisher:
        channel = publisher.add(origin, live.key, script)
        eventually(lambda: channel.published)
        live.tell("started", hls_path=origin.url(live.key))
        publisher.wait(30)
    done = live.completed()
    assert (done["duration"], done["gaps"]) == (12, [])
    assert_undisturbed(world.fetch(done, tmp_path), [live.playlist], tmp_path)
