"""What fails at a known moment of a live recording, and what comes of it: nothing is missing."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.world import Broadcast, Json, World, eventually
from tests.faults.acts import Chance, Hang, Reset, Rule, Slow
from tests.faults.judge import assert_undisturbed
from tests.faults.kills import TITLES, kill
from tests.faults.origin import BucketTarget, Target, WebOrigin
from tests.faults.publisher import Channel, Run, Script
from tests.faults.world import FaultyService, announce, outcome
from tests.media import Form
from tests.media_fixtures import Clips

pytestmark = pytest.mark.timeout(240)
FORM = Form(seconds=24)
OUTAGE_S = 10.0
# What no longer is among the last so many segments is deleted at once.
WINDOW = 3


@dataclass
class Live:
    """A stream that goes on when the test says so: as fast as it is captured, whatever the machine
    does meanwhile. ``target``: where it is shown."""

    live: Broadcast
    target: Target
    window: int | None = WINDOW

    def __post_init__(self) -> None:
        script = Script(
            runs=(Run(playlist=self.live.playlist),), already=1, window=self.window, kept=0
        )
        self.channel = Channel(self.target, self.live.key, script)
        self.channel.step()
        self.channel.step()

    def show(self, count: int, is_taken: Callable[[str], bool]) -> None:
        """``count`` more segments, each once the one before ``is_taken``, by its name."""
        for _ in range(count):
            self.channel.step()
            name = self.channel.published[-1].name
            eventually(lambda name=name: is_taken(name))  # type: ignore[misc]

    def is_logged(self, _: str) -> bool:
        found = self.live.world.recordings(self.live.stream_id)
        return bool(found) and found[0]["progress"]["segments"] == len(self.channel.published)

    def finish(self, folder: Path) -> Json:
        while self.channel.step() is not None:
            eventually(lambda: self.is_logged(""))
        found = outcome(self.live, within_s=60)
        assert [(r["status"], r["error"], r["gaps"]) for r in found] == [("completed", None, [])]
        mp4 = self.live.world.fetch(found[0], folder)
        assert_undisturbed(mp4, [self.live.playlist], folder)
        return found[0]


def test_the_store_is_away_and_the_capture_is_killed(
    service: FaultyService, world: World, origin: WebOrigin, clips: Clips, tmp_path: Path
) -> None:
    stream = Live(Broadcast(world=world, playlist=clips(FORM)), origin)
    live = stream.live
    playlist = f"{live.key}/stream.m3u8"
    announce(live, "started", hls_path=origin.url(live.key))
    stream.show(1, stream.is_logged)
    service.servers.to_s3.down()
    began = time.monotonic()

    def on_disk() -> int:
        return len(list(service.temporary.glob("spool/*/0-*.kept")))

    def is_kept(_: str) -> bool:
        return on_disk() == len(stream.channel.published) - 2

    stream.show(4, is_kept)
    service.kill_actor("CaptureProcess")
    asked = origin.asked[playlist]
    eventually(lambda: origin.asked[playlist] > asked)
    stream.show(3, is_kept)
    assert stream.live.recording()["progress"]["segments"] == 2
    time.sleep(max(0.0, began + OUTAGE_S - time.monotonic()))
    service.servers.to_s3.up()
    stream.finish(tmp_path)
    assert on_disk() == 0


def test_the_database_is_away(
    service: FaultyService, world: World, clips: Clips, tmp_path: Path
) -> None:
    stream = Live(
        Broadcast(world=world, playlist=clips(FORM)), BucketTarget(world.store, world.hls_bucket)
    )
    other = Broadcast(world=world, playlist=clips(FORM))
    announce(stream.live, "started")
    stream.show(1, stream.is_logged)
    copies = f".vodray/{stream.live.recording()['id']}/live/"
    service.servers.to_postgres.down()
    began = time.monotonic()
    stream.show(5, lambda _: len(world.objects(copies)) == len(stream.channel.published))
    answer = world.webhook("started", other.stream_id, other.key)
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    time.sleep(max(0.0, began + OUTAGE_S - time.monotonic()))
    service.servers.to_postgres.up()
    other.show_whole()
    announce(other, "started")
    stream.finish(tmp_path)
    assert [r["status"] for r in outcome(other, within_s=60)] == ["completed"]


def test_the_store_spoils_one_request_of_five(
    service: FaultyService, world: World, clips: Clips, tmp_path: Path
) -> None:
    # Chance goes by names.
    ended, live = (
        Broadcast(world=world, playlist=clips(FORM), key=f"spoiled-{number}") for number in range(2)
    )
    ended.show_whole()
    service.servers.to_s3.script(
        Rule(act=Reset(after=True), call=r"^POST [^?]*\?uploads"), Chance(seed=4, probability=0.2)
    )
    stream = Live(live, BucketTarget(world.store, world.hls_bucket))
    announce(stream.live, "started")
    announce(ended, "ended")
    stream.show(10, stream.is_logged)
    stream.finish(tmp_path)
    (done,) = outcome(ended, within_s=60)
    assert (done["status"], done["error"], done["gaps"]) == ("completed", None, [])
    assert_undisturbed(world.fetch(done, tmp_path), [ended.playlist], tmp_path)
    assert len(service.servers.to_s3.spoiled) > 10


def test_supervisors_are_killed_while_they_publish(
    service: FaultyService, world: World, clips: Clips, tmp_path: Path
) -> None:
    """Before the upload is completed, when it is but nobody has heard, and behind that."""
    streams = [Broadcast(world=world, playlist=clips(FORM)) for _ in range(3)]
    keys = [stream.key for stream in streams]
    rules = (
        Rule(act=Hang(), call=rf"^POST /[^/]+/{keys[0]}\.mp4\?uploadId="),
        Rule(act=Slow(1), call=rf"^POST /[^/]+/{keys[1]}\.mp4\?uploadId="),
        Rule(act=Hang(), call=rf"^PUT /[^/]+/{keys[2]}/master\.m3u8"),
    )
    service.servers.to_s3.script(*rules)
    for stream in streams:
        stream.show_whole()
        announce(stream, "ended")
    eventually(lambda: all(rule.used for rule in rules))
    eventually(lambda: f"{keys[1]}.mp4" in world.objects(keys[1]))
    assert f"{keys[0]}.mp4" not in world.objects(keys[0])
    before = service.processes(TITLES["supervisor"])
    while kill(service, "supervisor") & before:
        time.sleep(0.02)
    for stream in streams:
        (done,) = outcome(stream, within_s=60)
        assert (done["status"], done["error"], done["gaps"]) == ("completed", None, [])
        assert_undisturbed(world.fetch(done, tmp_path), [stream.playlist], tmp_path)
    uploads = [call for call in service.servers.to_s3.calls if "?uploads" in call]
    assert [sum(f"/{key}.mp4?" in call for call in uploads) for key in keys] == [1, 1, 1]
