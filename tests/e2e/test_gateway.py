"""A real nginx with the configuration of ``deploy/nginx`` before the real service and its store."""

import asyncio
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import httpx
import pytest

from pipeline.settings import Settings
from pipeline.stores.objects_s3 import S3Store
from serve_app.access.caller import Scope
from serve_app.access.tokens import mint
from serve_app.embedded.service import free_ports
from tests.e2e.gateway import MEDIA_HOST, Gateway
from tests.e2e.world import Broadcast, Json, World, eventually
from tests.media import Form
from tests.media_fixtures import Clips
from tests.unit.api_server import Product, served

pytestmark = pytest.mark.timeout(240)

SLICE_BYTES = 2 * 2**20
MANY = 5000
Get = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def gateway(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    gateway = Gateway(
        folder / "nginx",
        folder,
        api=world.endpoints["http"].removeprefix("http://"),
        store=world.endpoints["s3"].removeprefix("http://"),
    )
    gateway.start()
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with caller(gateway, "127.0.0.1") as client:
        yield client


def caller(gateway: Gateway, address: str) -> httpx.Client:
    """Somebody at ``address``: limits and the audit tell callers by it."""
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(base_url=gateway.url, transport=transport, timeout=20)


@pytest.fixture(scope="module")
def recording(world: World, clips: Clips) -> Json:
    """A completed one."""
    ended = Broadcast(world=world, playlist=clips(Form(seconds=6)))
    ended.show(ended=True)
    ended.tell("ended")
    return ended.completed()


# --- the API, the web page ------------------------------------------------------------------------


def test_nginx_takes_the_configuration_without_a_complaint(gateway: Gateway) -> None:
    assert "[warn]" not in gateway.check()


def test_the_service_is_there_with_and_without_the_prefix(
    world: World, http: httpx.Client, recording: Json
) -> None:
    for prefix in ("", "/api"):
        assert http.get(f"{prefix}/health").json()["status"] == "healthy"
        listed = http.get(f"{prefix}/recordings", params={"stream_id": recording["stream_id"]})
        assert listed.json() == {"recordings": [recording]}
        assert http.get(f"{prefix}/recording/{recording['id']}").json() == {"recording": recording}
        assert http.get(f"{prefix}/recording/no").json() == {"error": "Recording not found"}
        wrong = http.post(f"{prefix}/webhook/stream", json={"event": "x"})
        assert (wrong.status_code, wrong.json()) == (400, {"error": "Invalid event type"})
        assert http.get(f"{prefix}/metrics").json() == {"error": "Not found"}
        assert "videos" in http.get(f"{prefix}/videos").json()
        assert "streams" in http.get(f"{prefix}/stream/status").json()
        playlist = http.get(f"{prefix}/recordings/{recording['id']}/hls/master.m3u8")
        assert playlist.text.startswith("#EXTM3U")


def test_the_page_has_each_header_once(http: httpx.Client) -> None:
    answer = http.get("/")
    assert (answer.status_code, "/ui/app.js" in answer.text) == (200, True)
    for name in ("Content-Security-Policy", "X-Frame-Options", "X-Content-Type-Options"):
        assert len(answer.headers.get_list(name)) == 1, name
    assert http.get("/ui/app.js").headers["content-encoding"] == "gzip"
    assert http.get("/openapi.json").headers["content-encoding"] == "gzip"


def test_a_recording_in_parts_is_never_cached(
    world: World, http: httpx.Client, recording: Json
) -> None:
    bucket, _, key = recording["file_path"].partition("/")
    data = world.store.get(bucket, key, max_bytes=2**30)
    for _ in range(2):
        answer = http.get(
            f"/api/recordings/{recording['id']}/stream", headers={"Range": "bytes=100-1099"}
        )
        assert (answer.status_code, answer.content) == (206, data[100:1100])
        assert answer.headers["content-range"] == f"bytes 100-1099/{len(data)}"
        assert answer.headers["cache-control"].startswith("private")
        assert "x-cache-status" not in answer.headers


def test_events_come_at_once(http: httpx.Client, recording: Json) -> None:
    title = f"title {uuid.uuid4()}"
    told: list[Json] = []
    with http.stream("GET", "/api/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if not line.startswith("data: "):
                continue
            told.append(json.loads(line.removeprefix("data: ")))
            if told[-1]["id"] != recording["id"]:
                continue
            if told[-1]["title"] == title:
                break
            asked = time.monotonic()
            http.patch(f"/api/recordings/{recording['id']}", json={"title": title})
    # Far sooner than the next heartbeat, or a buffer that is full.
    assert time.monotonic() - asked < 3


def test_the_service_learns_who_calls(world: World, gateway: Gateway, recording: Json) -> None:
    path = f"/api/recordings/{recording['id']}"
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.9"}
    with caller(gateway, "127.0.0.2") as client:
        assert client.patch(path, json={"title": "x"}, headers=forged).status_code == 200
    rows = world.rows(
        "SELECT address FROM audit WHERE subject = $1 ORDER BY at DESC LIMIT 1", recording["id"]
    )
    assert [row["address"] for row in rows] == ["127.0.0.2"]


def test_nobody_but_trusted_proxies_is_believed(world: World, recording: Json) -> None:
    """HTTP servers have a list of their own, which names this machine by all its addresses."""
    path = f"/recordings/{recording['id']}"
    forged = {"X-Forwarded-For": "203.0.113.9, ::1"}
    assert world.http.patch(path, json={"title": "y"}, headers=forged).status_code == 200
    rows = world.rows(
        "SELECT address FROM audit WHERE subject = $1 ORDER BY at DESC LIMIT 1", recording["id"]
    )
    assert [row["address"] for row in rows] == ["::1"]


async def test_a_session_is_its_owner_s_alone(tmp_path: Path) -> None:
    secret = "x" * 40
    product = Product(settings={"auth_secret": secret})
    recording = await product.complete(await product.record("a"))
    settings = Settings(_env_file=None, auth_secret=secret)
    tokens = {user: mint(settings, [Scope.WRITE, Scope.READ], user, 1.0) for user in ("u1", "u2")}
    path = f"/api/recordings/{recording.id}"
    async with served(product) as (_, url), AsyncExitStack() as stack:
        api = url.removeprefix("http://")
        gateway = Gateway(tmp_path / "nginx", tmp_path, api=api, store=api)
        await asyncio.to_thread(gateway.start)
        stack.callback(gateway.stop)
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=gateway.url))
        for user, status in (("u1", 200), ("u2", 404), ("u1", 200)):
            headers = {"Authorization": f"Bearer {tokens[user]}"}
            assert (await client.get(path, headers=headers)).status_code == status
        assert (await client.get(path)).status_code == 401
        assert (await client.post("/session", json={"token": tokens["u1"]})).status_code == 200
        for origin, status in ((gateway.url, 200), ("https://www.example.com", 403)):
            answer = await client.patch(path, json={"title": "x"}, headers={"Origin": origin})
            assert answer.status_code == status


# --- limits -----------------------------------------------------------------------------------


def test_a_body_that_is_too_large(http: httpx.Client) -> None:
    for size, status in ((64 * 1024, 400), (64 * 1024 + 1, 413)):
        answer = http.post("/api/webhook/stream", content=b" " * size)
        assert (answer.status_code, set(answer.json())) == (status, {"error"})


def test_one_who_holds_too_many_connections(gateway: Gateway, http: httpx.Client) -> None:
    with caller(gateway, "127.0.0.4") as client, ExitStack() as held:
        for _ in range(64):
            events = held.enter_context(client.stream("GET", "/events"))
            assert events.status_code == 200
        assert client.get("/api/health").status_code == 429
        assert http.get("/api/health").status_code == 200


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Gateway]:
    """Before a service and a store that are away."""
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    gateway = Gateway(tmp_path / "nginx", tmp_path, api=nobody, store=nobody)
    gateway.start()
    yield gateway
    gateway.stop()


def test_a_service_that_is_away_and_one_who_asks_too_much(alone: Gateway) -> None:
    with caller(alone, "127.0.0.1") as client, caller(alone, "127.0.0.3") as other:
        away = other.get("/api/recordings")
        told = (away.status_code, away.json(), away.headers["retry-after"])
        assert told == (503, {"error": "Service unavailable"}, "5")
        media = other.get("/b/k?X-Amz-Signature=1", headers={"Host": MEDIA_HOST})
        assert (media.status_code, media.headers["retry-after"]) == (503, "5")
        answers = (client.get("/api/recordings") for _ in range(MANY))
        count, refused = next(
            (count, each) for count, each in enumerate(answers) if each.status_code != 503
        )
        assert count > 200
        told = (refused.status_code, refused.json(), refused.headers["retry-after"])
        assert told == (429, {"error": "Too many requests"}, "1")
        assert other.get("/api/recordings").status_code == 503


# --- the media --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(world: World) -> S3Store:
    """That signs as a service with ``MINIO_PUBLIC_URL`` does."""
    told = world.endpoints
    return S3Store(
        told["s3"].removeprefix("http://"),
        told["s3_access_key"],
        told["s3_secret_key"],
        secure=False,
        public_url=f"http://{MEDIA_HOST}",
    )


@pytest.fixture
def get(gateway: Gateway, http: httpx.Client) -> Get:
    """Of an address at the public host, as a viewer does: its name leads to the gateway."""

    def ask(address: str, method: str = "GET", **headers: str) -> httpx.Response:
        assert address.startswith(f"http://{MEDIA_HOST}/")
        path = address.removeprefix(f"http://{MEDIA_HOST}")
        return http.request(method, path, headers={"Host": MEDIA_HOST, **headers})

    return ask


@pytest.fixture
def media(world: World, store: S3Store) -> tuple[str, bytes]:
    """An object of three slices: its key, its bytes."""
    key, data = f"gateway/{uuid.uuid4().hex}.mp4", os.urandom(2 * SLICE_BYTES + 1000)
    store.put(world.bucket, key, data, "video/mp4")
    return key, data


def test_ranges_come_from_the_cache_whoever_asks(
    world: World, store: S3Store, media: tuple[str, bytes], get: Get
) -> None:
    key, data = media
    seen = []
    # Two viewers: their signatures differ.
    for expires_s in (600, 601):
        url = store.presign_public(world.bucket, key, expires_s)
        for first, last in ((0, 999), (SLICE_BYTES - 10, SLICE_BYTES + 9)):
            answer = get(url, Range=f"bytes={first}-{last}", Origin="https://www.example.com")
            assert (answer.status_code, answer.content) == (206, data[first : last + 1])
            assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(data)}"
            assert answer.headers["content-type"] == "video/mp4"
            assert answer.headers.get_list("access-control-allow-origin") == ["*"]
            seen.append(answer.headers["x-cache-status"])
    assert seen == ["MISS", "HIT", "HIT", "HIT"]
    assert get(url).content == data
    assert get(url, Range="bytes=-500").content == data[-500:]
    assert get(url, Range=f"bytes={len(data)}-").status_code == 416
    head = get(url, "HEAD")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(data)))
    assert get(url, **{"If-None-Match": head.headers["etag"]}).status_code == 304


def test_a_signature_is_needed_each_time(
    world: World, store: S3Store, media: tuple[str, bytes], get: Get
) -> None:
    key, _ = media
    url = store.presign_public(world.bucket, key, 600)
    assert get(url).status_code == 200
    short = store.presign_public(world.bucket, key, 1)
    assert get(short).headers["x-cache-status"] == "HIT"
    plain = url.partition("?")[0]
    for other in (
        plain,
        url[:-4] + "0000",
        url.replace("Expires=600", "Expires=6000"),
        f"{url}&versionId=1",
        f"http://{MEDIA_HOST}/{world.bucket}?list-type=2",
        f"http://{MEDIA_HOST}/{world.bucket}/x/%2e%2e/{key}?{url.partition('?')[2]}",
    ):
        answer = get(other)
        assert (answer.status_code, b"ListBucket" in answer.content) == (403, False), other
    eventually(lambda: get(short).status_code == 403, within_s=5)
    assert get(url, "PUT").status_code == 405
    preflight = get(plain, "OPTIONS", Origin="https://www.example.com")
    assert preflight.status_code == 204
    assert "Range" in preflight.headers["access-control-allow-headers"]


def test_what_is_replaced_or_deleted_is_not_served_from_the_cache(
    world: World, store: S3Store, media: tuple[str, bytes], get: Get
) -> None:
    key, data = media
    url = store.presign_public(world.bucket, key, 600)
    assert get(url).content == data
    longer = os.urandom(3 * SLICE_BYTES)
    store.put(world.bucket, key, longer, "video/mp4")
    seen = []

    def is_new() -> bool:
        answer = get(url, Range="bytes=0-99")
        seen.append((answer.content, answer.headers["x-cache-status"]))
        return answer.content == longer[:100]

    eventually(is_new, within_s=5)
    assert seen == [(data[:100], "HIT")] * (len(seen) - 1) + [(longer[:100], "MISS")]
    assert get(url).content == longer
    store.delete(world.bucket, [key])
    eventually(lambda: get(url).status_code == 404, within_s=5)


def test_signatures_are_in_no_log(
    gateway: Gateway, world: World, store: S3Store, media: tuple[str, bytes], get: Get
) -> None:
    url = store.presign_public(world.bucket, media[0], 600)
    get(url)
    get(url + "0")
    logged = gateway.access_log
    assert media[0] in logged
    assert "X-Amz" not in logged + gateway.log.read_text()


def test_a_recording_as_the_service_signs_it(
    world: World, http: httpx.Client, recording: Json, store: S3Store, get: Get
) -> None:
    bucket, _, key = recording["file_path"].partition("/")
    played = get(store.presign_public(bucket, key, 60), Range="bytes=4-7")
    assert (played.status_code, played.content) == (206, b"ftyp")
