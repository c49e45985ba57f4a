"""The stores are away while somebody publishes: the publisher goes on, and nothing is lost."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.test_ingest import Streamed, free_ports, is_live, wait
from tests.e2e.world import World, eventually
from tests.faults.world import FaultyService, faulty_service
from tests.media import Form
from tests.media_fixtures import Clips

pytestmark = [pytest.mark.soak, pytest.mark.timeout(240)]
SECONDS = 30
FRAMES = SECONDS * 25
OUTAGE_S = 12.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyService]:
    folder = tmp_path_factory.mktemp("ingest")
    variables = {"STALL_TIMEOUT": "120s", "INGEST_PORTS": free_ports(20)}
    with faulty_service(folder, RECONNECT_WINDOW="12s", **variables) as service:
        yield service


@pytest.fixture
def world(service: FaultyService) -> Iterator[World]:
    with closing(service.world()) as world:
        yield world
        for relay in service.servers.relays.values():
            relay.up()


@pytest.mark.parametrize("how", ["down", "hang"])
@pytest.mark.parametrize("away", [("s3",), ("postgres",), ("s3", "postgres")], ids="+".join)
def test_what_is_published_meanwhile_is_recorded(
    away: tuple[str, ...],
    how: str,
    service: FaultyService,
    world: World,
    clips: Clips,
    tmp_path: Path,
) -> None:
    clip = clips(Form(seconds=SECONDS, gop_s=2.0))
    streams = {protocol: Streamed(world) for protocol in ("rtmp", "srt")}
    for stream in streams.values():
        stream.notify("waiting")
    publishers = [stream.publish(protocol, clip) for protocol, stream in streams.items()]
    eventually(lambda: all(is_live(stream) for stream in streams.values()))
    began = time.monotonic()
    for name in away:
        getattr(service.servers.relays[name], how)()

    def waiting() -> list[int]:
        return [(stream.status() or {})["waiting_segments"] for stream in streams.values()]

    eventually(lambda: min(waiting()) >= 2)
    time.sleep(max(0.0, began + OUTAGE_S - time.monotonic()))
    assert [publisher.poll() for publisher in publishers] == [None, None]
    for name in away:
        service.servers.relays[name].up()
    wait(*publishers)
    assert [publisher.returncode for publisher in publishers] == [0, 0]
    eventually(lambda: max(waiting()) == 0)
    for protocol, stream in streams.items():
        stream.notify("stopped")
        assert stream.pictures(tmp_path) == list(range(FRAMES)), protocol
        text = stream.playlist()
        assert ("GAP" in text, "DISCONTINUITY" in text) == (False, False), protocol
