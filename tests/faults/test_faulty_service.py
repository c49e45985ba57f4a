"""A service records through ways to its servers that could fail, and do not yet."""

from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests.e2e.world import Broadcast, World, eventually
from tests.faults.judge import assert_undisturbed
from tests.faults.kills import TITLES
from tests.faults.origin import BucketTarget, WebOrigin
from tests.faults.publisher import Publisher, Run, Script
from tests.faults.world import FaultyService
from tests.media import Form
from tests.media_fixtures import Clips

pytestmark = pytest.mark.timeout(240)
FORM = Form(seconds=12)


def test_every_server_is_reached_through_its_way(
    service: FaultyService, idle: Counter[str], world: World, clips: Clips, tmp_path: Path
) -> None:
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


def test_what_answers_and_captures_goes_first(service: FaultyService, idle: Counter[str]) -> None:
    assert idle["RecordingProcess"], "one is ready for the next recording"
    wanted = {"replica": 0, "capture": 0, "supervisor": 5, "worker": 15}
    found = {what: service.processes(TITLES[what]) for what in wanted}
    assert all(found.values()), found
    told = {what: {psutil.Process(pid).nice() for pid in pids} for what, pids in found.items()}
    assert told == {what: {niceness} for what, niceness in wanted.items()}
