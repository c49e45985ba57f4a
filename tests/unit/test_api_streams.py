"""Live ingest over HTTP: what is passed on, what is refused and how."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from pipeline.errors import Conflict, IngestFull, NotInstalled, StreamNotFound, WorkerLost
from pipeline.ingest.addresses import Urls
from pipeline.ingest.state import Notice
from pipeline.ingest.view import View
from pipeline.settings import Settings
from serve_app.access.caller import Scope
from serve_app.access.tokens import mint
from tests.unit.api_server import Product, in_process

AT = datetime(2025, 10, 5, 18, 0, tzinfo=UTC)
URLS = {
    "srt": "srt://h:1?passphrase=p",
    "rtmp": "rtmp://h:1/live/p",
    "rtmp_server": "rtmp://h:1/live",
    "rtmp_key": "p",
}
VIEW = View(
    stream_id="s",
    stream_key="k",
    status="live",
    user_id="u1",
    title=None,
    protocol="srt",
    bitrate=2_000_000,
    fps=25.0,
    started_at=AT,
    last_number=3,
    last_at=AT,
    waiting_segments=0,
    problem=None,
    urls=Urls(**URLS),
)
SHOWN = {
    "stream_id": "s",
    "status": "live",
    "protocol": "srt",
    "bitrate": 2_000_000,
    "fps": 25.0,
    "last_segment": {"number": 3, "at": "2025-10-05T18:00:00Z"},
    "started_at": "2025-10-05T18:00:00Z",
    "user_id": "u1",
    "title": None,
    "waiting_segments": 0,
    "problem": None,
    "stream_key": "k",
    "urls": URLS,
}


@dataclass
class Ingest:
    """In place of the actor."""

    error: Exception | None = None
    notices: list[Notice] = field(default_factory=list)

    async def ingest_notify(self, notice: Notice) -> View:
        self.notices.append(notice)
        if self.error is not None:
            raise self.error
        return VIEW

    async def ingest_status(self) -> tuple[View, ...]:
        return (VIEW, replace(VIEW, stream_id="t", last_number=None, started_at=None))

    async def ingest_cleanup(self) -> int:
        return 2


async def ask(product: Product, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    async with in_process(product) as client:
        answer = await client.request(method, path, json=body)
        return answer.status_code, answer.json()


async def notify(product: Product, **body: Any) -> tuple[int, Any]:
    return await ask(product, "POST", "/stream/notify", body)


async def test_what_is_said_is_passed_on() -> None:
    ingest = Ingest()
    told = await notify(Product(ingest=ingest), stream_id=" s ", status="waiting", title="A talk")
    assert told == (200, {"stream": SHOWN})
    assert ingest.notices == [Notice(stream_id="s", status="waiting", title="A talk")]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"status": "waiting"}, "Invalid stream_id: Field required"),
        ({"stream_id": "a/b", "status": "waiting"}, "stream_id contains a slash"),
        ({"stream_id": "..", "status": "waiting"}, "stream_id contains a relative path part"),
        ({"stream_id": 7, "status": "waiting"}, "stream_id is not a string"),
        (
            {"stream_id": "s", "status": "waiting", "stream_key": "x" * 256},
            "stream_key is longer than 255 bytes",
        ),
        (
            {"stream_id": "s", "status": "on"},
            "Invalid status: Input should be 'waiting', 'live' or 'stopped'",
        ),
    ],
)
async def test_what_cannot_be_meant_is_refused(body: dict[str, Any], error: str) -> None:
    ingest = Ingest()
    assert await notify(Product(ingest=ingest), **body) == (400, {"error": error})
    assert ingest.notices == []


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (StreamNotFound("Stream not announced"), (404, "Stream not announced")),
        (
            Conflict("The stream is still being finished"),
            (409, "The stream is still being finished"),
        ),
        (NotInstalled("Not installed", "Install it"), (501, "Not installed. Install it")),
        (IngestFull("All 2 ports are in use"), (503, "All 2 ports are in use")),
        (WorkerLost("vodray:ingest is not running"), (503, "Workers unavailable")),
    ],
)
async def test_errors(error: Exception, answer: tuple[int, str]) -> None:
    found = await notify(Product(ingest=Ingest(error=error)), stream_id="s", status="live")
    assert found == (answer[0], {"error": answer[1]})


async def test_a_large_body_is_not_read() -> None:
    found = await notify(Product(ingest=Ingest()), stream_id="s", status="live", x="y" * 70_000)
    assert found == (413, {"error": "Body is larger than 65536 bytes"})


async def test_status_and_cleanup() -> None:
    product = Product(ingest=Ingest())
    status, body = await ask(product, "GET", "/stream/status")
    assert (status, body["streams"][0]) == (200, SHOWN)
    assert body["streams"][1]["last_segment"] is None
    assert await ask(product, "POST", "/stream/cleanup") == (200, {"removed": 2})


async def test_who_may_publish_sees_where() -> None:
    async with guarded(ingest=Ingest()) as client:
        for scopes, urls in ((("read",), None), (("read", "write"), URLS), (("admin",), URLS)):
            body = (await client.get("/stream/status", headers=bearer(*scopes))).json()
            assert [stream["urls"] for stream in body["streams"]] == [urls, urls]
        body = (await client.get("/stream/status", headers=bearer("read", user="u2"))).json()
        assert body == {"streams": []}


async def test_everybody_speaks_of_their_own_streams() -> None:
    ingest = Ingest()
    async with guarded(ingest=ingest) as client:

        async def told(headers: dict[str, str], stream_id: str, **more: str) -> int:
            body = {"stream_id": stream_id, "status": "waiting", **more}
            return (await client.post("/stream/notify", json=body, headers=headers)).status_code

        writer = bearer("write")
        assert await told(bearer("read"), "s") == 403
        assert await told(writer, "s") == 200
        assert await told(writer, "s", user_id="u2") == 403
        assert await told(bearer("write", user="u2"), "s") == 200
        assert await told(bearer("admin"), "s", user_id="u3") == 200
        passed_on = [(notice.user_id, notice.only_own) for notice in ingest.notices]
        assert passed_on == [("u1", True), ("u2", True), ("u3", False)]
        for headers, status in ((writer, 403), (bearer("admin"), 200), (bearer("read"), 403)):
            answer = await client.post("/stream/cleanup", headers=headers)
            assert answer.status_code == status


SECRET = SecretStr("x" * 32)


@asynccontextmanager
async def guarded(**more: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(Product(settings={"auth_secret": SECRET}, **more)) as client:
        yield client


def bearer(*scopes: str, user: str = "u1") -> dict[str, str]:
    settings = Settings(_env_file=None, auth_secret=SECRET)
    return {"Authorization": f"Bearer {mint(settings, map(Scope, scopes), user, 1)}"}


async def test_without_an_ingest_the_service_says_so() -> None:
    for method, path in (("GET", "/stream/status"), ("POST", "/stream/cleanup")):
        status, body = await ask(Product(), method, path)
        assert (status, list(body)) == (501, ["error"])
