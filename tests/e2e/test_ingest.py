"""Live ingest: real publishers over SRT and RTMP, and the recordings that come of it.

Every picture carries its number, so a recording tells which of those that were published it has.
"""

import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import imageio_ffmpeg
import psutil
import pytest

from tests.e2e.service import STOP_S, Service
from tests.e2e.world import Json, World, eventually
from tests.media import Form, decode_complaints, frame_numbers
from tests.media_fixtures import Clips
from tests.prometheus import Server

pytestmark = pytest.mark.timeout(240)

# Long enough for a publisher to start on a busy machine.
WINDOW_S = 12
PUBLISHED_S = 12
FRAMES = PUBLISHED_S * 25
# FFmpeg closes an SRT connection without waiting for what it sent last. So there is sound behind
# the last picture.
TAIL_S = 1


def free_ports(count: int) -> str:
    """A range that nobody has, TCP nor UDP."""
    for first in range(21_000 + os.getpid() % 5000, 32_000, count):
        probes = [socket.socket(type=kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
        try:
            for probe in probes:
                probe.bind(("0.0.0.0", first))
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
        return f"{first}-{first + count - 1}"
    raise AssertionError("no free ports")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(
        tmp_path_factory.mktemp("ingest"),
        RECONNECT_WINDOW=f"{WINDOW_S}s",
        STALL_TIMEOUT="120s",
        INGEST_PORTS=free_ports(20),
        # Any disk is fuller than that. Live streams are recorded all the same.
        DISK_ALERT_PERCENT="1",
    )
    service.start()
    yield service
    assert service.stop() < STOP_S
    assert ffmpegs(service) == []


@pytest.fixture
def world(service: Service) -> Iterator[World]:
    with closing(World(service.endpoints)) as world:
        yield world


def ffmpegs(service: Service, *words: str) -> list[int]:
    """Of the ingest, whose command line has all the words."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        is_ours = str(service.data_dir) in line or "mode=listener" in line
        if is_ours and "-nostdin" in line and all(word in line for word in words):
            found.append(process.pid)
    return found


@dataclass
class Streamed:
    """A stream that is announced, and its publishers."""

    world: World
    stream_id: str = field(default_factory=lambda: f"ingest-{uuid.uuid4().hex[:12]}")
    urls: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"key-{self.stream_id}"

    def notify(self, status: str) -> Json:
        body = {"stream_id": self.stream_id, "status": status, "stream_key": self.key}
        answer = self.world.http.post("/stream/notify", json=body | {"user_id": "u1"})
        assert answer.status_code == 200, answer.text
        stream: Json = answer.json()["stream"]
        self.urls = stream["urls"]
        return stream

    def status(self) -> Json | None:
        answer = self.world.http.get("/stream/status")
        assert answer.status_code == 200, answer.text
        streams = answer.json()["streams"]
        return next((one for one in streams if one["stream_id"] == self.stream_id), None)

    def publish(self, protocol: str, clip: Path) -> "subprocess.Popen[bytes]":
        form = {"srt": "mpegts", "rtmp": "flv"}[protocol]
        sound = ["-re", "-f", "lavfi", "-i", "sine=frequency=500:sample_rate=48000"]
        return subprocess.Popen(
            [
                *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error"),
                *("-re", "-i", str(clip), *sound),
                *("-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac"),
                *("-t", str(seconds_of(clip) + TAIL_S), "-f", form, self.urls[protocol]),
            ],
            stderr=subprocess.DEVNULL,
        )

    def playlist(self) -> str:
        key = f"{self.key}/stream.m3u8"
        return self.world.store.get(self.world.hls_bucket, key, max_bytes=2**20).decode()

    def events(self, kind: str) -> int:
        found = self.world.rows(
            "SELECT count(*) FROM tasks WHERE event->>'stream_id' = $1 AND event->>'kind' LIKE $2",
            self.stream_id,
            f"%{kind}%",
        )
        return int(found[0][0])

    def completed(self) -> Json:
        """Its only recording, once that is done."""

        def look() -> list[Json]:
            found = self.world.recordings(self.stream_id)
            return found if found and all(one["status"] == "completed" for one in found) else []

        (recording,) = eventually(look)
        assert (self.events("started"), self.events("ended")) == (1, 1)
        return recording

    def pictures(self, folder: Path) -> list[int]:
        """Their numbers, in the finished recording."""
        mp4 = self.world.fetch(self.completed(), folder)
        assert decode_complaints(mp4) == ""
        return frame_numbers(mp4)


def other_secret(stream: Streamed) -> dict[str, str]:
    secret = stream.urls["rtmp_key"]
    return {name: url.replace(secret, "x" * len(secret)) for name, url in stream.urls.items()}


def seconds_of(clip: Path) -> int:
    return round(sum(float(line[8:-1]) for line in clip.read_text().splitlines() if "INF" in line))


def is_live(stream: Streamed) -> bool:
    found = stream.status()
    return found is not None and found["status"] == "live" and found["last_segment"] is not None


def wait(*publishers: "subprocess.Popen[bytes]") -> None:
    for publisher in publishers:
        publisher.wait(60)


def test_a_full_disk_is_alerted_on(world: World, tmp_path: Path) -> None:
    """Nobody else is called, and the tests below find that live streams go on."""
    address = world.endpoints["http"].removeprefix("http://")
    with Server(tmp_path, address, is_hurried=True) as prometheus:
        eventually(lambda: prometheus.firing() == {"VodrayDiskFull"}, within_s=30)
    details = world.http.get("/health", params={"details": True}).json()["details"]
    assert details["backlog"] == "waits"


def test_both_protocols(world: World, clips: Clips, tmp_path: Path) -> None:
    clip = clips(Form(seconds=PUBLISHED_S, gop_s=2.0))
    srt, rtmp = Streamed(world), Streamed(world)
    for stream in (srt, rtmp):
        first = stream.notify("waiting")
        assert first["status"] == "waiting"
        assert stream.notify("waiting") == first
    strangers = [Streamed(world, urls=other_secret(stream)) for stream in (srt, rtmp)]
    refused = [strangers[0].publish("srt", clip), strangers[1].publish("rtmp", clip)]
    assert [publisher.wait(20) == 0 for publisher in refused] == [False, False]
    publishers = [srt.publish("srt", clip), rtmp.publish("rtmp", clip)]

    seen = [eventually(lambda stream=stream: is_live(stream)) for stream in (srt, rtmp)]
    assert all(seen)
    for stream, protocol in ((srt, "srt"), (rtmp, "rtmp")):
        eventually(lambda stream=stream: stream.status()["fps"])
        status = stream.notify("live")
        assert (status["status"], status["protocol"]) == ("live", protocol)
        assert 10 < status["fps"] < 40
        assert 20_000 < status["bitrate"] < 1_000_000
        assert stream.status()["urls"] == stream.urls
        assert "ENDLIST" not in stream.playlist()
    wait(*publishers)
    for stream in (srt, rtmp):
        eventually(lambda stream=stream: stream.status()["status"] == "reconnecting")
        assert stream.notify("stopped")["status"] in ("ending", "ended")
    for stream in (srt, rtmp):
        assert stream.pictures(tmp_path) == list(range(FRAMES))
        text = stream.playlist()
        assert text.endswith("#EXT-X-ENDLIST\n")
        assert "DISCONTINUITY" not in text
        lengths = [float(line[8:-1]) for line in text.splitlines() if line.startswith("#EXTINF")]
        assert lengths[:2] == pytest.approx([4.0, 4.0], abs=0.15)
        eventually(lambda stream=stream: stream.status() is None)
        assert stream.notify("stopped")["status"] == "ended"
    removed = world.http.post("/stream/cleanup").json()["removed"]
    assert removed >= 2
    assert world.http.post("/stream/cleanup").json() == {"removed": 0}
    answer = world.http.post("/stream/notify", json={"stream_id": "x", "status": "stopped"})
    assert (answer.status_code, answer.json()) == (
        404,
        {"error": "Stream not announced: notify waiting first"},
    )


def test_one_who_comes_back_and_one_who_is_stopped(
    world: World, clips: Clips, tmp_path: Path
) -> None:
    """Back within the window, over another protocol, after the connection broke: one recording."""
    parts = [clips(Form(seconds=6, gop_s=2.0, b_frames=0, first_frame=first)) for first in (0, 150)]
    back, stopped = Streamed(world), Streamed(world)
    for stream in (back, stopped):
        stream.notify("waiting")
    wait(back.publish("srt", parts[0]))
    eventually(lambda: back.status()["status"] == "reconnecting")
    assert back.events("ended") == 0
    again = back.publish("rtmp", parts[1])
    cut_off = stopped.publish("rtmp", clips(Form(seconds=PUBLISHED_S, gop_s=2.0, b_frames=0)))
    eventually(lambda: is_live(stopped))
    stopped.notify("stopped")
    assert cut_off.wait(10) != 0
    wait(again)
    # Nobody tells its end: the window is over.
    eventually(lambda: back.status() is None, within_s=WINDOW_S + 15)

    assert back.pictures(tmp_path) == list(range(300))
    assert back.playlist().count("#EXT-X-DISCONTINUITY\n") == 1
    pictures = stopped.pictures(tmp_path)
    assert pictures == list(range(len(pictures)))
    assert len(pictures) >= 100
    late = stopped.publish("rtmp", parts[0])
    assert late.wait(10) != 0


def test_kills(service: Service, world: World, clips: Clips, tmp_path: Path) -> None:
    """SIGKILL to the FFmpegs that cut, to the one that listens, to the actor that holds all."""
    parts = [
        clips(Form(seconds=6, gop_s=1.0, b_frames=0, first_frame=at))
        for at in (0, 1000, 2000, 3000)
    ]
    rtmp, srt = Streamed(world), Streamed(world)
    for stream in (rtmp, srt):
        stream.notify("waiting")
    urls = rtmp.urls, srt.urls

    def publish(part: int) -> list["subprocess.Popen[bytes]"]:
        streams = [rtmp.publish("rtmp", parts[part]), srt.publish("srt", parts[part])]
        eventually(lambda: all(one.status()["status"] == "live" for one in (rtmp, srt)))
        return streams

    publishers = publish(0)
    eventually(lambda: len(ffmpegs(service, "-progress")) == 2)
    time.sleep(2.0)
    for pid in ffmpegs(service, "-progress"):
        os.kill(pid, signal.SIGKILL)
    wait(*publishers)
    eventually(lambda: all(one.status()["status"] == "reconnecting" for one in (rtmp, srt)))

    publishers = publish(1)
    time.sleep(3.0)
    for pid in ffmpegs(service, "mode=listener"):
        os.kill(pid, signal.SIGKILL)
    wait(*publishers)

    publishers = publish(2)
    time.sleep(3.0)
    service.kill_actor("IngestService")
    wait(*publishers)
    eventually(lambda: rtmp.status() is not None)
    assert (rtmp.events("ended"), srt.events("ended")) == (0, 0)

    wait(*publish(3))
    for stream in (rtmp, srt):
        stream.notify("stopped")
    assert (rtmp.urls, srt.urls) == urls
    for stream in (rtmp, srt):
        pictures = stream.pictures(tmp_path)
        assert pictures == sorted(set(pictures))
        of_parts = [[p for p in pictures if p // 1000 == part] for part in range(4)]
        # Of those that were disturbed, their beginning; what nobody disturbed is whole.
        for part, numbers in enumerate(of_parts):
            assert numbers == list(range(part * 1000, part * 1000 + len(numbers)))
        assert len(of_parts[3]) == 150
        assert all(numbers for numbers in of_parts[:3])


def test_the_service_is_stopped_and_started(service: Service, clips: Clips, tmp_path: Path) -> None:
    """While somebody publishes: no end is told, the URLs stay, the broadcast goes on."""
    # The first one does not end by itself while the service takes its time to stop.
    parts = [
        clips(Form(seconds=seconds, gop_s=1.0, b_frames=0, first_frame=at))
        for seconds, at in ((40, 0), (6, 3000))
    ]
    with closing(World(service.endpoints)) as world:
        before = Streamed(world)
        before.notify("waiting")
        publisher = before.publish("rtmp", parts[0])
        eventually(lambda: is_live(before))
    assert service.stop() < STOP_S
    assert publisher.wait(5) != 0
    assert ffmpegs(service) == []
    # The window begins with the actor, and the API is there only some seconds later.
    service._variables["RECONNECT_WINDOW"] = "60s"
    service.start()
    with closing(World(service.endpoints)) as world:
        stream = Streamed(world, stream_id=before.stream_id)
        assert eventually(stream.status)["urls"] == before.urls
        assert stream.events("ended") == 0
        stream.notify("waiting")
        wait(stream.publish("rtmp", parts[1]))
        stream.notify("stopped")
        pictures = stream.pictures(tmp_path)
    first = [number for number in pictures if number < 3000]
    assert first == list(range(len(first)))
    assert len(first) >= 100
    assert pictures == [*first, *range(3000, 3150)]
    assert_no_secrets(service, before.urls["rtmp_key"])


def assert_no_secrets(service: Service, secret: str) -> None:
    logs = [service.log, *Path("/tmp/ray").glob("session_2*/logs/worker-*")]
    recent = [log for log in logs if log.stat().st_mtime > time.time() - 300]
    texts = {log: log.read_text(errors="replace") for log in recent}
    assert any("ingest_connected" in text for text in texts.values())
    assert [log for log, text in texts.items() if secret in text] == []
