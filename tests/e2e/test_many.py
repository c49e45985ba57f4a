"""Many streams at once, and such that end in the same second: every one is recorded, once and
whole."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.conftest import SIX_S
from tests.e2e.service import STOP_S, Service
from tests.e2e.world import Broadcast, World, eventually
from tests.faults.origin import BucketTarget
from tests.faults.prepared import long_stream
from tests.faults.publisher import Channel, Publisher, Run, Script
from tests.media_fixtures import Clips

MANY = 45
# At once, in real time, for so long, in segments of so many seconds.
LIVE = 100
LIVE_S = 120
SEGMENT_S = 4
MOST_BEHIND = 2
# They begin one after the other within this time, and all are live for LIVE_S from then on.
BEGIN_S = 40


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """To it, a stream that waits for the others has not stalled. It polls as it does by default."""
    service = Service(tmp_path_factory.mktemp("many"), STALL_TIMEOUT="120s", MONITOR_INTERVAL="10s")
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


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_hundred_live_streams(world: World, tmp_path: Path) -> None:
    """At 1.5 Mbit/s each, over a window of six segments in the bucket."""
    seconds = BEGIN_S + LIVE_S
    playlist = long_stream(tmp_path / "source", seconds, segment_s=SEGMENT_S)
    broadcasts = [Broadcast(world=world, playlist=playlist) for _ in range(LIVE)]
    target = BucketTarget(world.store, world.hls_bucket)
    run = Run(playlist=playlist)
    behind: list[int] = []
    channels: dict[str, Channel] = {}
    with Publisher(writers=8) as publisher, ThreadPoolExecutor(1) as thread:

        def begin() -> None:
            for one in broadcasts:
                channel = publisher.add(target, one.key, Script(runs=(run,), window=6, already=1))
                eventually(lambda channel=channel: channel.published)
                channels[one.stream_id] = channel
                one.tell("started")
                time.sleep(BEGIN_S / LIVE)

        beginning = thread.submit(begin)
        end = time.monotonic() + BEGIN_S + 2 * seconds
        while not beginning.done() or any(one.ended_at is None for one in channels.values()):
            assert time.monotonic() < end, "not all is published"
            behind.append(_most_behind(world, dict(channels)))
            time.sleep(1)
        beginning.result()
    late_s = max(channel.late_s for channel in channels.values())
    ended_at = max(channel.ended_at or 0.0 for channel in channels.values())
    for one in broadcasts:
        (done,) = one.finished(within_s=120)
        assert (done["status"], done["duration"], done["gaps"]) == ("completed", seconds, [])
        report = world.report(done)
        assert report["frames_in"] == report["frames_out"]
        assert report["segments"] == seconds // SEGMENT_S
    print(
        f"\n{LIVE} live streams: at most {max(behind)} segments behind (mean of the worst"
        f" {sum(behind) / len(behind):.2f}), all completed {time.monotonic() - ended_at:.1f} s"
        f" after the last end; the publisher was late by {late_s:.2f} s at worst"
    )
    assert max(behind) <= MOST_BEHIND
    assert late_s < SEGMENT_S, "this was not in real time"


def _most_behind(world: World, channels: dict[str, Channel]) -> int:
    """Segments that are published and not captured, of the stream with most of them."""
    published = {stream: len(channel.published) for stream, channel in channels.items()}
    found = world.http.get("/recordings", params={"limit": 1000}).json()["recordings"]
    taken = {one["stream_id"]: one["progress"]["segments"] for one in found}
    return max((count - taken.get(stream, 0) for stream, count in published.items()), default=0)
