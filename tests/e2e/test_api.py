"""What clients do with recordings over HTTP: watch, rename, delete, cancel, try again, show."""

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import NewBroadcast
from tests.e2e.service import vodray
from tests.e2e.world import Broadcast, Json, World, eventually, instant
from tests.media import Form, ffmpeg, frame_numbers, packets, remux_with_ffmpeg

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def one(world: World, clips: Any) -> tuple[Broadcast, Json]:
    """A completed recording that nobody changes."""
    ended = Broadcast(world=world, playlist=clips(Form(seconds=6)))
    ended.show(ended=True)
    ended.tell("ended")
    return ended, ended.completed()


def whole(world: World, recording: Json) -> bytes:
    bucket, _, key = recording["file_path"].partition("/")
    return world.store.get(bucket, key, max_bytes=2**30)


def get(world: World, recording: Json, what: str, **headers: str) -> httpx.Response:
    return world.http.get(f"/recordings/{recording['id']}{what}", headers=headers)


def digests(path: Path) -> list[list[str]]:
    """Of all packets, by stream."""
    found = packets(path)
    return [[p.digest for p in found if p.stream == stream] for stream in (0, 1)]


# --- watching -------------------------------------------------------------------------------------


def test_the_file_as_it_is(world: World, one: tuple[Broadcast, Json]) -> None:
    recording = one[1]
    data = whole(world, recording)
    answer = get(world, recording, "/stream")
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["accept-ranges"] == "bytes"
    head = world.http.head(f"/recordings/{recording['id']}/stream")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(data))
    etag = answer.headers["etag"]
    assert get(world, recording, "/stream", **{"If-None-Match": etag}).status_code == 304
    assert get(world, recording, "/stream", **{"If-Match": '"other"'}).status_code == 412


RANGES = {
    "bytes=0-0": (0, 1),
    "bytes=100-1099": (100, 1100),
    "bytes=1000-": (1000, None),
    "bytes=-500": (-500, None),
    "bytes=5-99999999999": (5, None),
}


@pytest.mark.parametrize("asked", RANGES)
def test_parts_of_the_file(world: World, one: tuple[Broadcast, Json], asked: str) -> None:
    recording = one[1]
    data = whole(world, recording)
    first, last = RANGES[asked]
    wanted = data[first:last]
    answer = get(world, recording, "/stream", Range=asked)
    assert (answer.status_code, answer.content) == (206, wanted)
    begin = data.index(wanted[:64]) if first and first < 0 else first or 0
    told = f"bytes {begin}-{begin + len(wanted) - 1}/{len(data)}"
    assert answer.headers["content-range"] == told


@pytest.mark.parametrize("asked", ["bytes=9-1", "lines=1-2", "bytes=0-1,5-6", "bytes=-", "1-2"])
def test_ranges_that_are_ignored(world: World, one: tuple[Broadcast, Json], asked: str) -> None:
    assert get(world, one[1], "/stream", Range=asked).status_code == 200


def test_ranges_beyond_the_end(world: World, one: tuple[Broadcast, Json]) -> None:
    size = len(whole(world, one[1]))
    for asked in (f"bytes={size}-", "bytes=-0"):
        answer = get(world, one[1], "/stream", Range=asked)
        assert answer.status_code == 416
        assert answer.headers["content-range"] == f"bytes */{size}"
        assert set(answer.json()) == {"error"}


def test_a_presigned_url(world: World, one: tuple[Broadcast, Json]) -> None:
    recording = one[1]
    told = get(world, recording, "/url?expires=2").json()
    assert httpx.get(told["url"]).content == whole(world, recording)
    time.sleep(3)
    assert httpx.get(told["url"]).status_code == 403
    assert get(world, recording, "/url?expires=0").status_code == 400
    assert get(world, recording, "/url?expires=999999999").status_code == 400


def test_hls_plays_with_all_that_came_in(
    world: World, one: tuple[Broadcast, Json], tmp_path: Path
) -> None:
    broadcast, recording = one
    url = f"{world.endpoints['http']}/recordings/{recording['id']}/hls/master.m3u8"
    played = tmp_path / "played.mp4"
    ffmpeg("-i", url, "-c", "copy", played)
    source = remux_with_ffmpeg(broadcast.playlist, tmp_path / "source.mp4")
    assert frame_numbers(played) == list(range(150))
    assert digests(played) == digests(source)
    for other in ("nothing", "..%2fmaster", "storyboard", "MASTER"):
        assert get(world, recording, f"/hls/{other}.m3u8").status_code in (400, 404)


def test_images(world: World, one: tuple[Broadcast, Json]) -> None:
    poster = get(world, one[1], "/thumbnail")
    assert poster.headers["content-type"] == "image/jpeg"
    assert poster.content[:2] == b"\xff\xd8"
    again = get(world, one[1], "/thumbnail", **{"If-None-Match": poster.headers["etag"]})
    assert again.status_code == 304
    cues = get(world, one[1], "/storyboard.vtt").text
    assert cues.startswith("WEBVTT")
    name = next(line for line in cues.splitlines() if ".jpg#xywh=" in line).partition("#")[0]
    assert get(world, one[1], f"/{name}").content[:2] == b"\xff\xd8"
    assert get(world, one[1], "/storyboard-999.jpg").status_code == 404


def test_what_is_not_there_yet(world: World, broadcast: NewBroadcast) -> None:
    live = broadcast()
    live.show(1)
    live.tell("started")
    recording = live.recording()
    for what in ("/url", "/stream", "/hls/master.m3u8", "/thumbnail", "/storyboard.vtt"):
        answer = get(world, recording, what)
        assert (answer.status_code, set(answer.json())) == (404, {"error"}), what
    live.show(ended=True)
    live.tell("ended")
    live.completed()


# --- changing -------------------------------------------------------------------------------------


def test_a_recording_is_renamed_found_and_deleted(world: World, broadcast: NewBroadcast) -> None:
    ended = broadcast()
    ended.show(ended=True)
    ended.tell("ended")
    recording = ended.completed()
    path = f"/recordings/{recording['id']}"
    title = f"A talk, {ended.key}"
    renamed = world.http.patch(path, json={"title": title}).json()["recording"]
    assert renamed == recording | {"title": title}
    assert world.http.patch(path, json={"nonsense": 1}).status_code == 400
    found = world.http.get("/recordings", params={"q": ended.key.upper()}).json()["recordings"]
    assert [r["id"] for r in found] == [recording["id"]]
    for query, count in (
        ({"stream_id": ended.stream_id, "status": "completed"}, 1),
        ({"stream_id": ended.stream_id, "status": "failed,recording"}, 0),
        ({"stream_id": ended.stream_id, "from": instant(3600)}, 0),
        ({"stream_id": ended.stream_id, "to": instant(3600), "user_id": "u1"}, 1),
    ):
        page = world.http.get("/recordings", params=query).json()["recordings"]
        assert len(page) == count, query
    assert world.http.get("/recordings", params={"status": "no"}).status_code == 400
    name = recording["file_path"].partition("/")[2].removesuffix(".mp4")
    assert world.objects(name)
    assert world.http.delete(path).status_code == 204
    assert world.http.get(path).json() == {"error": "Recording not found"}
    assert world.recordings(ended.stream_id) == []
    assert world.http.delete(path).status_code == 404
    eventually(lambda: not world.objects(name))
    # The end is told once more: that is no other recording.
    ended.tell("ended")
    time.sleep(1)
    assert world.recordings(ended.stream_id) == []


def test_a_live_recording_is_cancelled(world: World, broadcast: NewBroadcast) -> None:
    live = broadcast(Form(seconds=12))
    live.show(3)
    live.tell("started")
    recording = live.recording()
    path = f"/recordings/{recording['id']}"
    eventually(lambda: world.http.get(path).json()["recording"]["progress"]["segments"] >= 3)
    assert world.http.delete(path).status_code == 409
    for _ in range(2):
        cancelled = world.http.post(f"{path}/cancel").json()["recording"]
        assert (cancelled["status"], cancelled["error"]) == ("failed", "Cancelled by anonymous")
    eventually(lambda: not world.objects(f".vodray/{recording['id']}/"))
    eventually(lambda: not world.store.uploads(world.bucket, live.key))
    live.show(1)
    time.sleep(2)
    after = world.http.get(path).json()["recording"]
    assert (after["status"], after["file_path"]) == ("failed", None)
    assert world.objects(f"{live.key}") == {}


def test_a_failed_recording_is_tried_again(
    world: World, broadcast: NewBroadcast, tmp_path: Path
) -> None:
    late = broadcast()
    late.tell("ended")
    recording = late.recording()
    path = f"/recordings/{recording['id']}"
    eventually(lambda: world.http.get(path).json()["recording"]["status"] == "failed")
    late.show(ended=True)
    again = world.http.post(f"{path}/retry").json()["recording"]
    assert again["status"] in ("recording", "processing", "completed")
    done = late.completed()
    assert done["id"] == recording["id"]
    assert done["error"] is None
    assert frame_numbers(world.fetch(done, tmp_path)) == list(range(150))
    assert world.http.post(f"{path}/retry").status_code == 409
    assert world.http.post(f"{path}/cancel").status_code == 409


# --- videos ---------------------------------------------------------------------------------------


def test_a_recording_becomes_a_video(world: World, broadcast: NewBroadcast) -> None:
    ended = broadcast()
    ended.show(ended=True)
    ended.tell("ended")
    recording = ended.completed()
    body = {
        "recording_id": recording["id"],
        "title": "A talk",
        "description": "About talks",
        "category": ended.key,
        "visibility": "public",
    }
    answer = world.http.post("/import-recording", json=body)
    assert answer.status_code == 201
    video = answer.json()["video"]
    assert {name: video[name] for name in body} == body
    assert (video["duration"], video["file_path"]) == (6, recording["file_path"])
    linked = world.http.get(f"/recordings/{recording['id']}").json()["recording"]
    assert linked["video_id"] == video["id"]
    again = world.http.post("/import-recording", json=body | {"title": "Other"})
    assert (again.status_code, again.json()["video"]["id"]) == (201, video["id"])
    listed = world.http.get("/videos", params={"category": ended.key, "q": "ABOUT"}).json()
    assert [each["id"] for each in listed["videos"]] == [video["id"]]
    get(world, recording, "/hls/master.m3u8")
    get(world, recording, "/stream", Range="bytes=10-109")

    def counted() -> Json:
        shown: Json = world.http.get(f"/videos/{video['id']}").json()["video"]
        return shown if (shown["views"], shown["bytes_served"]) == (1, 100) else {}

    assert eventually(counted)
    changed = world.http.patch(f"/videos/{video['id']}", json={"visibility": "private"})
    assert changed.json()["video"]["visibility"] == "private"
    assert world.http.delete(f"/videos/{video['id']}").status_code == 204
    assert world.http.get(f"/videos/{video['id']}").json() == {"error": "Video not found"}
    unlinked = world.http.get(f"/recordings/{recording['id']}").json()["recording"]
    assert unlinked["video_id"] is None


def test_imports_that_cannot_be(world: World, broadcast: NewBroadcast) -> None:
    def tried(**body: Any) -> tuple[int, bool]:
        answer = world.http.post("/import-recording", json=body)
        return answer.status_code, set(answer.json()) == {"error"}

    live = broadcast()
    live.show(1)
    live.tell("started")
    recording = live.recording()
    nobody = "e410066c-8d50-4e0f-965f-452af1814ffa"
    assert tried(recording_id=recording["id"], title="x") == (409, True)
    assert tried(recording_id=nobody, title="x") == (404, True)
    assert tried(recording_id="no id", title="x") == (422, True)
    assert tried(recording_id=nobody) == (422, True)
    assert tried(recording_id=nobody, title="x", visibility="secret") == (422, True)
    live.show(ended=True)
    live.tell("ended")
    live.completed()


# --- commands -------------------------------------------------------------------------------------


def test_the_commands(world: World, broadcast: NewBroadcast, tmp_path: Path) -> None:
    live = broadcast()
    live.show(1)
    live.tell("started")
    recording = live.recording()
    url = {"VODRAY_URL": world.endpoints["http"]}
    done = vodray("cancel", recording["id"], cwd=tmp_path, **url)
    assert (done.code, done.out) == (0, f"{recording['id']}\tfailed\n")
    done = vodray("retry", recording["id"], cwd=tmp_path, **url)
    assert (done.code, done.out) == (0, f"{recording['id']}\trecording\n")
    live.show(ended=True)
    live.tell("ended")
    live.completed()
    done = vodray("cancel", recording["id"], cwd=tmp_path, **url)
    assert done.code == 1
    assert "completed" in done.complaint
