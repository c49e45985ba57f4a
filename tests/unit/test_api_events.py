"""Server-sent events over a real server: the state first, every change, the end, no leftovers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from pipeline.errors import CatalogUnavailable
from pipeline.model import Progress
from pipeline.settings import Settings
from serve_app import feed
from serve_app.access.caller import Scope
from serve_app.access.tokens import mint
from serve_app.routes import events
from tests.unit.api_server import STARTED, Product, served


@asynccontextmanager
async def listening(url: str, token: str = "") -> AsyncIterator[AsyncIterator[str]]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx.AsyncClient(timeout=10, headers=headers) as client,
        client.stream("GET", url) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield answer.aiter_lines()


async def next_event(lines: AsyncIterator[str]) -> tuple[str, dict[str, Any]]:
    async for line in lines:
        if line.startswith("event: "):
            data = await anext(lines)
            return line.removeprefix("event: "), json.loads(data.removeprefix("data: "))
    raise AssertionError("the stream ended")


async def next_recording(lines: AsyncIterator[str]) -> dict[str, Any]:
    kind, recording = await next_event(lines)
    assert kind == "recording"
    return recording


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_one_recording_from_its_state_to_its_end() -> None:
    product = Product()
    recording = await product.record("a")
    other = await product.record("b", STARTED + timedelta(hours=1))
    async with (
        served(product) as (app, url),
        listening(f"{url}/recordings/{recording.id}/events") as lines,
    ):
        first = await next_recording(lines)
        assert (first["id"], first["status"]) == (str(recording.id), "recording")
        await product.complete(other)
        await product.catalog.report_progress(
            recording.id, 8, Progress(segments=3, chunks_done=1, chunks_total=2, seconds=8.0)
        )
        second = await next_recording(lines)
        assert second["id"] == str(recording.id)
        assert second["duration"] == 8
        assert second["progress"]["chunks_done"] == 1
        await product.complete(recording)
        third = await next_recording(lines)
        assert third["status"] == "completed"
        assert [line async for line in lines if line] == []
        await until(lambda: app.state.feed.listener_count == 0)


async def test_a_finished_recording_is_told_and_that_is_all() -> None:
    product = Product()
    recording = await product.complete(await product.record("a"))
    async with (
        served(product) as (_, url),
        listening(f"{url}/recordings/{recording.id}/events") as lines,
    ):
        assert (await next_recording(lines))["status"] == "completed"
        assert [line async for line in lines if line] == []


async def test_all_recordings() -> None:
    product = Product()
    old = await product.record("a")
    async with served(product) as (app, url), listening(f"{url}/events") as lines:
        assert (await next_recording(lines))["id"] == str(old.id)
        await until(lambda: app.state.feed.listener_count == 1)
        new = await product.record("b", STARTED + timedelta(hours=1))
        assert (await next_recording(lines))["id"] == str(new.id)
        await product.complete(old)
        told = await next_recording(lines)
        assert (told["id"], told["status"]) == (str(old.id), "completed")


async def test_a_deletion_is_told_to_those_who_saw_the_recording() -> None:
    secret = "x" * 40
    product = Product(settings={"auth_secret": secret})
    settings = Settings(_env_file=None, auth_secret=secret)
    recording = await product.complete(await product.record("a"))
    async with served(product) as (app, url), AsyncExitStack() as stack:
        told = [
            await stack.enter_async_context(listening(f"{url}/events", token))
            for token in (mint(settings, [Scope.READ], user, 1.0) for user in ("u1", "u2"))
        ]
        assert (await next_event(told[0]))[0] == "recording"
        await until(lambda: app.state.feed.listener_count == 2)
        await product.catalog.delete(recording.id)
        assert await next_event(told[0]) == ("deleted", {"id": str(recording.id)})
        other = await product.record("b")
        await product.catalog.describe(other.id, None, "u2")
        assert (await next_event(told[1]))[1]["id"] == str(other.id)


async def test_heartbeats_find_what_the_news_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.1)
    product = Product()
    recording = await product.record("a")

    async def deaf() -> AsyncIterator[Any]:
        await asyncio.sleep(3600)
        yield

    monkeypatch.setattr(product.catalog, "changes", deaf)
    async with (
        served(product) as (_, url),
        listening(f"{url}/recordings/{recording.id}/events") as lines,
    ):
        await next_recording(lines)
        await product.complete(recording)
        rest = [line async for line in lines if line]
    assert ": heartbeat" in rest
    assert json.loads(rest[-1].removeprefix("data: "))["status"] == "completed"


async def test_news_come_again_after_the_catalogue_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "RETRY_S", 0.05)
    product = Product()
    recording = await product.record("a")
    changes = product.catalog.changes
    tries = 0

    def away_at_first() -> AsyncIterator[Any]:
        nonlocal tries
        tries += 1
        return failing() if tries <= 2 else changes()

    async def failing() -> AsyncIterator[Any]:
        raise CatalogUnavailable("connection lost")
        yield

    monkeypatch.setattr(product.catalog, "changes", away_at_first)
    async with (
        served(product) as (_, url),
        listening(f"{url}/recordings/{recording.id}/events") as lines,
    ):
        await next_recording(lines)
        await until(lambda: tries == 3)
        await product.complete(recording)
        assert (await next_recording(lines))["status"] == "completed"


async def test_clients_that_go_away_are_forgotten() -> None:
    product = Product()
    await product.record("a")
    async with served(product) as (app, url):
        async with listening(f"{url}/events") as lines, listening(f"{url}/events") as more:
            await next_recording(lines)
            await next_recording(more)
            assert app.state.feed.listener_count == 2
        await until(lambda: app.state.feed.listener_count == 0)


async def test_too_many_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MAX_LISTENERS", 1)
    product = Product()
    await product.record("a")
    async with served(product) as (app, url):
        async with listening(f"{url}/events") as lines, httpx.AsyncClient() as client:
            await next_recording(lines)
            refused = await client.get(f"{url}/events")
        assert refused.status_code == 503
        assert refused.content == b'{"error":"Too many clients listen to events"}'
        assert "retry-after" in refused.headers
        await until(lambda: app.state.feed.listener_count == 0)
        async with listening(f"{url}/events") as lines:
            await next_recording(lines)


async def test_errors_come_before_the_stream() -> None:
    product = Product()
    async with served(product) as (_, url), httpx.AsyncClient() as client:
        for recording_id in (uuid4(), "x"):
            answer = await client.get(f"{url}/recordings/{recording_id}/events")
            assert answer.status_code == 404
            assert answer.content == b'{"error":"Recording not found"}'


async def test_a_slow_listener_gets_the_newest_state_and_never_grows() -> None:
    product = Product()
    recordings = [
        await product.record(f"s{n}", STARTED + timedelta(hours=n))
        for n in range(feed.MAX_PENDING + 10)
    ]
    with feed.Feed(product.catalog).listen() as listener:
        for recording in recordings:
            listener.offer(recording)
        done = await product.complete(recordings[-2])
        listener.offer(done)
        taken = await listener.take(0.1)
    assert len(taken) == feed.MAX_PENDING
    assert taken[-1] == done
    assert recordings[-2] not in taken
    assert recordings[0] not in taken


async def test_nothing_is_told_twice_and_nothing_outdated(monkeypatch: pytest.MonkeyPatch) -> None:
    product = Product()
    before = await product.record("a")
    await asyncio.sleep(0.002)
    after = await product.complete(before)
    sent = events.Sent()
    assert sent.is_news(after, "completed")
    assert not sent.is_news(before, "recording")
    assert not sent.is_news(after, "completed")
    monkeypatch.setattr(events, "MAX_REMEMBERED", 1)
    other = await product.record("b", STARTED + timedelta(hours=1))
    assert sent.is_news(other, "recording")
    assert sent.is_news(before, "recording")
