"""Profiles that encode, over the real interfaces: live, with workers that die."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import m3u8
import pytest

from tests.e2e.conftest import NewBroadcast
from tests.e2e.service import Service
from tests.e2e.world import Broadcast, Json, World, check_media, eventually
from tests.media import assert_same_packets, ffmpeg, packets, remux_with_ffmpeg

pytestmark = pytest.mark.timeout(300)

SECONDS, FPS = 32, 25


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Higher than 360 lines, lower than 480."""
    playlist = tmp_path_factory.mktemp("stream") / "stream.m3u8"
    ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=size=640x400:rate={FPS}:duration={SECONDS}"),
        *("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={SECONDS}"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50"),
        *("-sc_threshold", "0", "-c:a", "aac", "-b:a", "96k", "-ac", "2", "-f", "hls"),
        *("-hls_time", "2", "-hls_list_size", "0", "-hls_playlist_type", "vod", playlist),
    )
    return playlist


@pytest.fixture(scope="module")
def service(patient_service: Service) -> Service:
    return patient_service


@pytest.fixture
def world(service: Service) -> Iterator[World]:
    with closing(World(service.endpoints)) as world:
        yield world


def objects(world: World, done: Json, folder: Path) -> dict[str, bytes]:
    """All of a recording by what follows its name."""
    mp4 = world.fetch(done, folder)
    name = mp4.name.removesuffix(".mp4")
    return {
        str(path.relative_to(folder)).replace(name, "*"): path.read_bytes().replace(
            name.encode(), b"*"
        )
        for path in folder.rglob("*")
        # It tells when which recording was made.
        if path.is_file() and path.name != "recording.json"
    }


def live(broadcast: Broadcast, service: Service, *, kill: bool) -> Json:
    """Recorded while it goes on, by the ladder's profile."""
    broadcast.show(6)
    broadcast.tell("started", profile="abr")
    eventually(lambda: broadcast.recording()["progress"]["chunks_done"] >= 1)
    broadcast.show(6)
    if kill:
        service.kill_actor("Worker")
    broadcast.show(ended=True)
    broadcast.tell("ended")
    return broadcast.completed(within_s=120)


def test_a_live_ladder_whose_worker_dies_is_the_same(
    service: Service, world: World, broadcast: NewBroadcast, stream: Path, tmp_path: Path
) -> None:
    calm = live(broadcast(stream), service, kill=False)
    assert [(r["name"], r["width"], r["height"]) for r in calm["renditions"]] == [
        ("source", 640, 400),
        ("360p", 576, 360),
    ]
    undisturbed = objects(world, calm, tmp_path / "calm")
    assert {"*.mp4", "*/360p.mp4", "*/master.m3u8", "*/audio-1.m3u8"} <= undisturbed.keys()
    killed = live(broadcast(stream), service, kill=True)
    assert objects(world, killed, tmp_path / "killed") == undisturbed
    _check_ladder(world, calm, stream, tmp_path)


def _check_ladder(world: World, done: Json, stream: Path, folder: Path) -> None:
    mp4 = folder / "calm" / done["file_path"].partition("/")[2]
    reference = remux_with_ffmpeg(stream, folder / "reference.mp4")
    assert_same_packets(mp4, reference, tolerance_s=1e-4)
    inside = mp4.with_suffix("")
    for name in ("source", "360p"):
        check_media(inside / f"{name}.m3u8")
        pictures = [p for p in packets(inside / f"{name}.m3u8") if p.stream == 0]
        assert len(pictures) == SECONDS * FPS
    check_media(inside / "360p.mp4")
    master = m3u8.load(str(inside / "master.m3u8"))
    assert [variant.uri for variant in master.playlists] == ["source.m3u8", "360p.m3u8"]
    report = world.report(done)
    assert report["profile"] == "abr"
    assert [rendition["name"] for rendition in report["renditions"]] == ["source", "360p"]
    assert report["renditions"][1]["buffer"]["holds"]


def test_an_ended_stream_in_h264(
    world: World, broadcast: NewBroadcast, stream: Path, tmp_path: Path
) -> None:
    ended = broadcast(stream)
    ended.show_whole()
    ended.task("process", profile="h264")
    done = ended.completed(within_s=120)
    mp4 = world.fetch(done, tmp_path)
    check_media(mp4)
    assert len([p for p in packets(mp4) if p.stream == 0]) == SECONDS * FPS
    assert [rendition["name"] for rendition in done["renditions"]] == ["h264"]


def test_a_profile_that_is_not_there(world: World, broadcast: NewBroadcast) -> None:
    ended = broadcast()
    answer = world.webhook("started", ended.stream_id, ended.key, profile="none")
    assert answer.status_code == 400
    assert "abr, audio" in answer.json()["error"]
    ended.task("process", profile="none")
    assert b"none" in world.dead_letter("There is no profile").value
    assert world.recordings(ended.stream_id) == []
