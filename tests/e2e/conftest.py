"""One running service for all tests that only use it, and the streams that they play to it.

Services end with the last test of the package: an idle one has a tenth of two cores.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.service import STOP_S, Service
from tests.e2e.world import Broadcast, World
from tests.media import Form, ffmpeg
from tests.media_fixtures import Clips, clips
from tests.otlp import Collector, collecting

__all__ = ["clips"]

NewBroadcast = Callable[..., Broadcast]
SIX_S = Form(seconds=6)


@pytest.fixture(scope="package")
def collector() -> Iterator[Collector]:
    """Gets the traces of the service that all share."""
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[World]:
    """A service that all tests share: each uses streams of its own."""
    service = Service(
        tmp_path_factory.mktemp("service"),
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        TRUSTED_PROXIES="127.0.0.1",
    )
    with closing(World(service.start())) as world:
        yield world
    assert service.stop() < STOP_S


@pytest.fixture(scope="package")
def patient_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that is killed now and then, in part or as a whole, and waits for streams meanwhile."""
    service = Service(tmp_path_factory.mktemp("patient"), STALL_TIMEOUT="120s")
    service.start()
    yield service
    assert service.stop() < STOP_S


@pytest.fixture
def broadcast(world: World, clips: Clips) -> NewBroadcast:
    """Makes streams that nobody else uses; nothing of them is in the bucket yet."""

    def new(form: Form | Path = SIX_S, **how: str) -> Broadcast:
        playlist = form if isinstance(form, Path) else clips(form)
        return Broadcast(world=world, playlist=playlist, **how)

    return new


@pytest.fixture(scope="session")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stream of 48 s and about 40 MB in 24 segments: large enough for several chunks."""
    folder = tmp_path_factory.mktemp("heavy")
    playlist = folder / "stream.m3u8"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25:duration=48,noise=alls=40:allf=t"),
        *("-f", "lavfi", "-i", "sine=frequency=440:beep_factor=4:sample_rate=48000:duration=48"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50"),
        *("-sc_threshold", "0", "-b:v", "6500k", "-maxrate", "7000k", "-bufsize", "7000k"),
        *("-c:a", "aac", "-b:a", "96k", "-f", "hls", "-hls_time", "2", "-hls_list_size", "0"),
        *("-hls_playlist_type", "vod", "-hls_segment_filename", folder / "seg_%05d.ts"),
        playlist,
    )
    return playlist
