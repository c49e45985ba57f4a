"""Tasks by webhook: what is taken, what is refused and how."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.errors import CatalogUnavailable
from pipeline.model import EventKind, Origin, StreamEvent
from pipeline.stores.catalog import Accepted
from tests.unit.api_server import Product, in_process

BODY = {
    "event": "stream.started",
    "stream_id": "bb52ba50-edc5-4056-a62c-6ef211d72d25",
    "stream_key": "d1eb2fe800d01c797c84f0b622e474d9",
    "user_id": "u1",
    "timestamp": "2025-10-05T18:00:00Z",
}
GOOD = b'{"message":"Webhook processed successfully"}'
MISSING = object()


def body(**changes: Any) -> bytes:
    changed = {**BODY, **changes}
    return json.dumps({k: v for k, v in changed.items() if v is not MISSING}).encode()


async def post(product: Product, content: bytes, **headers: str) -> httpx.Response:
    async with in_process(product) as client:
        return await client.post(
            "/webhook/stream",
            content=content,
            headers={"Content-Type": "application/json"}
            | {name.replace("_", "-"): value for name, value in headers.items()},
        )


async def test_the_contract_s_example_to_the_byte() -> None:
    product = Product()
    answer = await post(product, body())
    assert (answer.status_code, answer.content) == (200, GOOD)
    assert product.events == [
        StreamEvent(
            kind=EventKind.STARTED,
            stream_id="bb52ba50-edc5-4056-a62c-6ef211d72d25",
            stream_key="d1eb2fe800d01c797c84f0b622e474d9",
            user_id="u1",
            occurred_at=datetime(2025, 10, 5, 18, tzinfo=UTC),
            origin=Origin.WEBHOOK,
        )
    ]
    assert len(await product.catalog.list()) == 1


async def test_everything_that_may_be_said() -> None:
    product = Product()
    answer = await post(
        product,
        body(
            event="stream.ended",
            stream_id="xyz-stream-id",
            timestamp="2025-10-05T20:00:00.123456789+02:00",
            hls_path="archive/a/b.m3u8",
            profile="h264",
            something_new={"a": 1},
        ),
    )
    assert answer.content == GOOD
    (event,) = product.events
    assert event.kind is EventKind.ENDED
    assert event.stream_id == "xyz-stream-id"
    assert event.occurred_at == datetime(2025, 10, 5, 18, 0, 0, 123456, tzinfo=UTC)
    assert (event.hls_path, event.profile) == ("archive/a/b.m3u8", "h264")


async def test_a_profile_must_be_there(tmp_path: Path) -> None:
    product = Product()
    answer = await post(product, body(profile="web"))
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "There is no profile 'web'. Profiles: abr, audio, av1, copy, h264, hevc"},
    )
    assert product.events == []
    (tmp_path / "own.toml").write_text("[web]\n", "utf-8")
    product = Product(settings={"profiles_file": tmp_path / "own.toml"})
    assert (await post(product, body(profile="web"))).content == GOOD


@pytest.mark.parametrize("timestamp", [MISSING, None, "", "0001-01-01T00:00:00Z"])
@pytest.mark.parametrize("user_id", [MISSING, None, ""])
async def test_what_is_left_out(timestamp: object, user_id: object) -> None:
    product = Product()
    before = datetime.now(UTC)
    answer = await post(product, body(timestamp=timestamp, user_id=user_id))
    assert answer.content == GOOD
    (event,) = product.events
    assert before <= event.occurred_at <= datetime.now(UTC)
    assert event.user_id is None


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_any_content_type_is_taken(content_type: str) -> None:
    assert (await post(Product(), body(), Content_Type=content_type)).content == GOOD


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"event": "stream.paused"}, "Invalid event type"),
        ({"event": MISSING}, "Invalid event type"),
        ({"event": None}, "Invalid event type"),
        ({"event": ["stream.started"]}, "Invalid event type"),
        ({"event": "x", "stream_id": MISSING}, "Invalid event type"),
        ({"stream_id": MISSING}, "stream_id is missing"),
        ({"stream_id": None}, "stream_id is missing"),
        ({"stream_id": ""}, "stream_id is empty"),
        ({"stream_id": "  "}, "stream_id is empty"),
        ({"stream_id": 7}, "stream_id is not a string"),
        ({"stream_id": "a/b"}, "stream_id contains a slash"),
        ({"stream_id": "a\\b"}, "stream_id contains a slash"),
        ({"stream_id": "a\0b"}, "stream_id contains control characters"),
        ({"stream_id": "a\nb"}, "stream_id contains control characters"),
        ({"stream_id": "é" * 128}, "stream_id is longer than 255 bytes"),
        ({"stream_key": MISSING}, "stream_key is missing"),
        ({"stream_key": ""}, "stream_key is empty"),
        ({"stream_key": "../x"}, "stream_key contains a slash"),
        ({"stream_key": ".."}, "stream_key contains a relative path part"),
        ({"stream_key": "a" * 256}, "stream_key is longer than 255 bytes"),
        ({"user_id": 7}, "user_id is not a string"),
        ({"user_id": "a\0"}, "user_id contains control characters"),
        ({"hls_path": "../../etc/passwd"}, "hls_path contains a relative path part"),
        ({"profile": ["copy"]}, "profile is not a string"),
        ({"timestamp": True}, None),
        ({"timestamp": "yesterday"}, None),
        ({"timestamp": "2025-10-05T18:00:00"}, None),
        ({"timestamp": "2025-13-05T18:00:00Z"}, "timestamp is no valid time"),
        ({"timestamp": "9999-12-31T23:59:59Z"}, "timestamp is before 2000 or lies in the future"),
        ({"timestamp": {}}, None),
    ],
)
async def test_fields_that_cannot_be_meant(changes: dict[str, Any], error: str | None) -> None:
    product = Product()
    answer = await post(product, body(**changes))
    assert answer.status_code == 400
    if error is None:
        assert answer.json()["error"].startswith("timestamp is no RFC 3339 time")
    else:
        assert answer.content == json.dumps({"error": error}, separators=(",", ":")).encode()
    assert product.events == []


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "Body is no valid JSON"),
        (b"{", "Body is no valid JSON"),
        (b"\xff\xfe", "Body is no valid JSON"),
        (
            b'{"event":"stream.started","stream_id":"\\ud800","stream_key":"k"}',
            "Body is no valid JSON",
        ),
        (b"[" * 60000, "Body is no valid JSON"),
        (b"null", "Body must be a JSON object"),
        (b"[]", "Body must be a JSON object"),
        (b'"stream.started"', "Body must be a JSON object"),
        (b"{}", "Invalid event type"),
    ],
)
async def test_bodies_that_are_no_events(content: bytes, error: str) -> None:
    answer = await post(Product(), content)
    assert (answer.status_code, answer.json()) == (400, {"error": error})


async def test_a_body_that_is_too_large() -> None:
    product = Product()
    just_fits = body(note="")
    just_fits = body(note="x" * (64 * 1024 - len(just_fits)))
    assert len(just_fits) == 64 * 1024
    assert (await post(product, just_fits)).content == GOOD
    answer = await post(product, just_fits + b" ")
    assert (answer.status_code, answer.json()) == (
        413,
        {"error": "Body is larger than 65536 bytes"},
    )
    assert len(product.events) == 1


def signed(content: bytes, secret: str = "s3cret-of-hooks") -> str:
    return "sha256=" + hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


async def test_a_good_signature() -> None:
    product = Product(settings={"webhook_secret": "s3cret-of-hooks"})
    content = body()
    assert (await post(product, content, X_Signature=signed(content))).content == GOOD


@pytest.mark.parametrize(
    ("signature", "error"),
    [
        (None, "Missing X-Signature"),
        ("", "Missing X-Signature"),
        ("sha256=", "Invalid signature"),
        ("sha256=é", "Invalid signature"),
        (signed(body()).removeprefix("sha256="), "Invalid signature"),
        (signed(body(), "another secret"), "Invalid signature"),
        (signed(body(user_id="u2")), "Invalid signature"),
    ],
)
async def test_bad_signatures(signature: str | None, error: str) -> None:
    product = Product(settings={"webhook_secret": "s3cret-of-hooks"})
    async with in_process(product) as client:
        headers = {} if signature is None else {"X-Signature": signature.encode("latin-1")}
        answer = await client.post("/webhook/stream", content=body(), headers=headers)
    assert answer.status_code == 401
    assert answer.content == json.dumps({"error": error}, separators=(",", ":")).encode()
    assert "www-authenticate" in answer.headers
    assert product.events == []


async def test_a_bad_signature_is_told_before_a_bad_body() -> None:
    product = Product(settings={"webhook_secret": "s3cret-of-hooks"})
    assert (await post(product, b"no json")).status_code == 401


async def test_a_task_that_could_not_be_written_down_is_to_be_sent_again() -> None:
    class Away(Product):
        async def submit(self, event: StreamEvent) -> Accepted:
            raise CatalogUnavailable("connection refused by db.internal")

    answer = await post(Away(), body())
    assert (answer.status_code, answer.content) == (503, b'{"error":"Database unavailable"}')
    assert int(answer.headers["retry-after"]) > 0


async def test_the_same_event_twice_gives_one_recording() -> None:
    product = Product()
    for content in (body(), body(), body(timestamp="2025-10-05T20:00:00+02:00")):
        assert (await post(product, content)).content == GOOD
    assert len(await product.catalog.list()) == 1
