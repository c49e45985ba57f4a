"""The examples of the documents that clients of the older services were written by, over real HTTP
and Kafka: bodies as they stand there, answers byte for byte."""

import json
import re
from typing import Any

import pytest

from tests.e2e.conftest import NewBroadcast
from tests.e2e.world import Broadcast, Json, World
from tests.media import Form
from tests.media_fixtures import Clips

pytestmark = pytest.mark.timeout(240)

STREAM, KEY = "bb52ba50-edc5-4056-a62c-6ef211d72d25", "d1eb2fe800d01c797c84f0b622e474d9"
TEXT_STREAM = "xyz-stream-id"
NOBODY = "e410066c-8d50-4e0f-965f-452af1814ffa"
STARTED = (
    b'{"event":"stream.started","stream_id":"%s","stream_key":"%s",'
    b'"user_id":"u1","timestamp":"2025-10-05T18:00:00Z"}' % (STREAM.encode(), KEY.encode())
)
ENDED = STARTED.replace(b"started", b"ended").replace(b"18:00:00", b"18:31:00")
INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"


def raw(world: World, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    answer = world.http.request(method, path, content=body)
    if answer.content:
        assert answer.headers["content-type"] == "application/json"
    return answer.status_code, answer.content


@pytest.fixture(scope="module")
def recording(world: World, clips: Clips) -> Json:
    """The example's."""
    live = Broadcast(world=world, playlist=clips(Form(seconds=6)), stream_id=STREAM, key=KEY)
    done = (200, b'{"message":"Webhook processed successfully"}')
    live.show(1)
    assert raw(world, "POST", "/webhook/stream", STARTED) == done
    live.recording()
    live.show(ended=True)
    assert raw(world, "POST", "/webhook/stream", ENDED) == done
    return live.completed()


def test_health(world: World) -> None:
    healthy = b'{"status":"healthy","service":"recording-service"}'
    assert raw(world, "GET", "/health") == (200, healthy)


def test_a_recording_from_the_webhook_to_the_list(world: World, recording: Json) -> None:
    one = raw(world, "GET", f"/recording/{recording['id']}")[1]
    old = (
        f'{{"recording":{{"id":"{recording["id"]}","stream_id":"{STREAM}","video_id":null,'
        f'"file_path":"recordings/{KEY}.mp4","duration":6,"file_size":{recording["file_size"]},'
        '"status":"completed","started_at":"2025-10-05T18:00:00Z","completed_at":"'
    ).encode()
    assert one.startswith(old)
    assert re.match(rf'{INSTANT}",', one.removeprefix(old).decode())
    mp4 = world.objects(f"{KEY}.mp4")[f"{KEY}.mp4"]
    assert recording["file_size"] == mp4.size_bytes
    alone = one.removeprefix(b'{"recording":').removesuffix(b"}")
    assert raw(world, "GET", f"/recordings?stream_id={STREAM}") == (
        200,
        b'{"recordings":[%s]}' % alone,
    )
    status, everything = raw(world, "GET", "/recordings?limit=1000")
    assert (status, everything[:16], alone in everything) == (200, b'{"recordings":[{', True)


@pytest.mark.parametrize("unknown", [NOBODY, "7", "not-a-uuid"])
def test_a_recording_that_is_not_there(world: World, unknown: str) -> None:
    missing = (404, b'{"error":"Recording not found"}')
    assert raw(world, "GET", f"/recording/{unknown}") == missing


@pytest.mark.parametrize("body", [b"{}", STARTED.replace(b"started", b"paused")])
def test_an_event_that_is_none(world: World, body: bytes) -> None:
    wrong = (400, b'{"error":"Invalid event type"}')
    assert raw(world, "POST", "/webhook/stream", body) == wrong


def test_an_import(world: World, recording: Json) -> None:
    body = {
        "recording_id": recording["id"],
        "title": "A talk",
        "description": "About talks",
        "category": "talks",
        "visibility": "public",
    }
    status, answer = raw(world, "POST", "/import-recording", json.dumps(body).encode())
    assert status == 201
    assert answer.startswith(b'{"video":{"id":"')
    video = json.loads(answer)["video"]
    assert {name: video[name] for name in body} == body
    linked = json.loads(raw(world, "GET", f"/recording/{recording['id']}")[1])["recording"]
    assert linked == recording | {"video_id": video["id"]}
    nobody = json.dumps(body | {"recording_id": NOBODY}).encode()
    missing = (404, b'{"error":"Recording not found"}')
    assert raw(world, "POST", "/import-recording", nobody) == missing


def test_a_task_by_kafka(world: World, broadcast: NewBroadcast) -> None:
    """With every field that the older producer sends."""
    ended = broadcast(stream_id=TEXT_STREAM)
    ended.show_whole()
    world.message(
        '{"stream_id":"xyz-stream-id","action":"process",'
        f'"hls_path":"{world.hls_bucket}/{ended.key}/stream.m3u8",'
        '"start_time":"2025-10-05T18:00:00Z","end_time":"2025-10-05T18:31:00Z",'
        '"duration_seconds":1860,"status":"completed","timestamp":"2025-10-05T18:31:00Z"}'
    )
    done = ended.completed()
    assert (done["stream_id"], done["started_at"]) == (TEXT_STREAM, "2025-10-05T18:00:00Z")

    def about(records: list[Any]) -> list[str]:
        told = [json.loads(record.value) for record in records]
        return [each["status"] for each in told if each["recording_id"] == done["id"]]

    records = world.messages("recording.events", lambda found: "completed" in about(found))
    assert about(records) == ["recording", "processing", "completed"]
