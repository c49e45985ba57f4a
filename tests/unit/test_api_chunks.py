"""The chunk map and the workers over HTTP: from the ledger, from the report, and as they change."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from pipeline.activity import Activity, InFlight, Throughput, WorkerActivity
from pipeline.errors import CatalogUnavailable
from pipeline.model import ChunkRecord, ChunkSpec, Recording, Segment, Stretch
from pipeline.settings import Settings
from serve_app import chunk_maps
from serve_app.access.caller import Scope
from serve_app.access.tokens import mint
from serve_app.page_files import page_files
from tests.unit.api_server import Product, in_process, served
from tests.unit.test_api_events import listening, until

WORKER = WorkerActivity(number=0, name="vodray:worker:0", node="a", chunks=3, media_s=12.0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_maps, "EVERY_S", 0.02)


def spec(index: int) -> ChunkSpec:
    segments = (Segment(sequence=index, uri=f"{index}.ts", duration_s=4.0),)
    main = Stretch(segments=segments, start_s=index * 4.0)
    return ChunkSpec(index=index, anchor_s=0, main=main)


def record(index: int, *lost: dict[str, Any], size_bytes: int = 500) -> ChunkRecord:
    return ChunkRecord(
        index_number=index,
        size_bytes=0 if lost else size_bytes,
        part=None,
        staging_key=None,
        index=b"",
        report={"lost": list(lost), "remedies": [], "timings_s": {"mux": 0.25}, "tiles": [1]},
    )


async def with_chunks(product: Product, count: int = 4) -> Recording:
    recording = await product.record("a")
    for index in range(count):
        await product.catalog.plan_chunk(recording.id, spec(index))
    return recording


def at_work(*jobs: InFlight) -> Activity:
    return Activity(
        workers=(WORKER,), jobs=jobs, waiting=7, recent=Throughput(chunks=2, media_s=8.0)
    )


async def test_the_map_of_a_live_recording() -> None:
    asked: list[UUID | None] = []

    async def activity(recording_id: UUID | None) -> Activity:
        asked.append(recording_id)
        jobs = [InFlight(recording="r", kind="chunk", chunk=n, tries=2) for n in (1, 2)]
        return at_work(replace(jobs[0], worker=0), jobs[1])

    product = Product(activity=activity)
    recording = await with_chunks(product)
    await product.catalog.finish_chunks(recording.id, [record(0)])
    async with in_process(product) as client:
        chunks = (await client.get(f"/recordings/{recording.id}/chunks")).json()
    assert [chunk["state"] for chunk in chunks] == ["done", "working", "waiting", "planned"]
    assert chunks[0] == {
        "index": 0, "state": "done", "start": 0.0, "seconds": 4.0, "bytes": 500,
        "lost_seconds": 0.0, "reasons": [], "remedies": [], "tries": 1, "worker": None,
        "node": None, "since": None, "stages": {"mux": 0.25},
    }  # fmt: skip
    assert (chunks[1]["worker"], chunks[1]["node"], chunks[1]["tries"]) == (WORKER.name, "a", 2)
    assert asked == [recording.id]


async def test_the_map_of_a_completed_recording_is_that_of_its_report() -> None:
    product = Product()
    recording = await with_chunks(product)
    told = {"chunk": 0, "start_s": 0.0, "media_s": 4.0, "bytes_out": 9, "lost": [], "remedies": []}
    await product.complete(recording, report={"chunks": [told]})
    await product.catalog.forget_ledger(recording.id)
    async with in_process(product) as client:
        (chunk,) = (await client.get(f"/recordings/{recording.id}/chunks")).json()
    assert (chunk["state"], chunk["bytes"], chunk["seconds"]) == ("done", 9, 4.0)


async def test_a_failed_recording_has_no_chunks_any_more() -> None:
    product = Product()
    recording = await with_chunks(product)
    async with in_process(product) as client:
        path = f"/recordings/{recording.id}/chunks"
        assert len((await client.get(path)).json()) == 4
        await product.catalog.fail(recording.id, "gone")
        await product.catalog.forget_ledger(recording.id)
        await after_a_look()
        assert (await client.get(path)).json() == []
        assert (await client.get(f"/recordings/{uuid4()}/chunks")).status_code == 404


async def after_a_look() -> None:
    """Until an answer is no longer shared."""
    await asyncio.sleep(2 * chunk_maps.EVERY_S)


async def chunks_of(lines: AsyncIterator[str]) -> list[dict[str, Any]]:
    async for line in lines:
        if line == "event: chunks":
            found: list[dict[str, Any]] = json.loads((await anext(lines)).removeprefix("data: "))
            return found
    raise AssertionError("the stream ended")


async def test_events_tell_all_chunks_then_those_that_changed() -> None:
    product = Product()
    recording = await with_chunks(product, 2)
    path = f"/recordings/{recording.id}/chunks/events"
    async with served(product) as (app, url), listening(f"{url}{path}") as lines:
        assert [chunk["index"] for chunk in await chunks_of(lines)] == [0, 1]
        await product.catalog.finish_chunks(recording.id, [record(1)])
        assert [(c["index"], c["state"]) for c in await chunks_of(lines)] == [(1, "done")]
        await product.catalog.plan_chunk(recording.id, spec(2))
        assert [(c["index"], c["state"]) for c in await chunks_of(lines)] == [(2, "planned")]
        lost = {"duration_s": 4.0, "reason": "not there"}
        await product.catalog.finish_chunks(recording.id, [record(0, lost)])
        (changed,) = await chunks_of(lines)
        assert (changed["state"], changed["lost_seconds"]) == ("lost", 4.0)
        await product.complete(recording)
        assert [line async for line in lines if line] == []
        await until(lambda: app.state.chunks.watchers == 0)


async def test_many_who_watch_cost_one_look_and_nobody_costs_none() -> None:
    looks = 0

    async def activity(_: UUID | None) -> Activity:
        nonlocal looks
        looks += 1
        return Activity()

    product = Product(activity=activity)
    recording = await with_chunks(product)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunk_maps, "EVERY_S", 60.0)
        maps = chunk_maps.ChunkMaps(product.catalog, product.activity)
        watching = [maps.watch(recording.id) for _ in range(3)]
        first = await asyncio.gather(*map(anext, watching))
        assert [len(chunks) for chunks in first] == [4, 4, 4]
        assert (looks, maps.watchers) == (1, 3)
    for each in watching:
        await each.aclose()
    await after_a_look()
    assert (looks, maps.watchers) == (1, 0)


async def test_a_retry_begins_a_new_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_maps, "_KEPT_S", 0.0)
    product = Product()
    recording = await with_chunks(product)
    await product.catalog.finish_chunks(recording.id, [record(0)])
    maps = chunk_maps.ChunkMaps(product.catalog, product.activity)
    assert next(chunk.state for chunk in await maps.get(recording.id)) == "done"
    await product.catalog.fail(recording.id, "gone")
    await product.catalog.forget_ledger(recording.id)
    await product.catalog.retry(recording.id)
    await product.catalog.plan_chunk(recording.id, spec(0))
    await after_a_look()
    assert [chunk.state for chunk in await maps.get(recording.id)] == ["planned"]


async def test_how_long_a_chunk_waits_is_no_change() -> None:
    waited = 0.0

    async def activity(_: UUID | None) -> Activity:
        nonlocal waited
        waited += 1
        return at_work(InFlight(recording="r", kind="chunk", chunk=0, since_s=waited))

    product = Product(activity=activity)
    recording = await with_chunks(product, 1)
    maps = chunk_maps.ChunkMaps(product.catalog, product.activity)
    watching = maps.watch(recording.id)
    assert len(await anext(watching)) == 1
    assert await anext(watching) == ()
    assert waited > 1
    await watching.aclose()


async def test_a_database_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    product = Product()
    recording = await with_chunks(product, 1)
    maps = chunk_maps.ChunkMaps(product.catalog, product.activity)
    watching = maps.watch(recording.id)
    assert len(await anext(watching)) == 1
    with monkeypatch.context() as patch:

        async def away(*_: object) -> Any:
            raise CatalogUnavailable("away")

        patch.setattr(product.catalog, "outlines", away)
        assert await anext(watching) == ()
    await product.catalog.finish_chunks(recording.id, [record(0)])
    (done,) = await anext(watching)
    assert done.state == "done"
    await watching.aclose()


async def test_too_many_who_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_maps, "MAX_WATCHERS", 0)
    product = Product()
    recording = await with_chunks(product)
    async with in_process(product) as client:
        answer = await client.get(f"/recordings/{recording.id}/chunks/events")
    assert answer.status_code == 503
    assert "retry-after" in answer.headers


async def test_the_workers() -> None:
    async def activity(recording_id: UUID | None) -> Activity:
        assert recording_id is None
        return at_work(
            InFlight(recording="r", kind="chunk", chunk=5, worker=0, since_s=1.23, tries=2)
        )

    async with in_process(Product(activity=activity)) as client:
        told = (await client.get("/workers")).json()
    assert told == {
        "workers": [
            {
                "name": "vodray:worker:0", "node": "a", "chunks": 3, "seconds": 12.0, "bytes": 0,
                "jobs": [
                    {"recording_id": "r", "kind": "chunk", "chunk": 5, "tries": 2, "seconds": 1.2}
                ],
            }
        ],
        "waiting": 7,
        "recent": {"window_seconds": 60.0, "chunks": 2, "seconds": 8.0, "bytes": 0},
    }  # fmt: skip


async def test_workers_that_do_not_answer() -> None:
    async with in_process(Product()) as client:
        assert (await client.get("/workers")).json()["workers"] == []


async def test_the_page_is_served() -> None:
    async with in_process(Product(settings={"grafana_url": "http://grafana/"})) as client:
        page = await client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["content-security-policy"].startswith("default-src 'self';")
        again = await client.get("/", headers={"If-None-Match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        script = await client.get("/ui/vendor/hls.js/hls.min.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert script.headers["content-encoding"] == "gzip"
        plain = await client.get("/ui/app.js", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        for path in ("/ui/nothing", "/ui/../api.py", "/ui/%2e%2e/api.py", "/ui/"):
            assert (await client.get(path)).status_code == 404, path
        config = (await client.get("/ui/config.json")).json()
    assert config["grafana_url"] == "http://grafana/"
    assert (config["auth"], config["webhooks_signed"], config["profile"]) == (False, False, "copy")
    assert "abr" in config["profiles"]


def test_nothing_of_the_page_is_inline_or_elsewhere() -> None:
    files = {n: f.body.decode() for n, f in page_files().items() if not n.startswith("vendor/")}
    html = files["index.html"]
    assert "<style" not in html
    assert " style=" not in html
    assert html.count("<script") == html.count("<script src=") + html.count(
        '<script type="module" src='
    )
    for name, text in files.items():
        assert "https://" not in text, name


async def test_only_an_admin_is_told_whose_recordings_are_worked_on() -> None:
    async def activity(_: UUID | None) -> Activity:
        return at_work(InFlight(recording="r", kind="chunk", chunk=5, worker=0))

    settings = {"auth_secret": "x" * 40}
    product = Product(activity=activity, settings=settings)
    recording = await with_chunks(product)
    own = Settings(_env_file=None, **settings)

    async def told(client: httpx.AsyncClient, path: str, user: str, *scopes: Scope) -> Any:
        token = mint(own, scopes, user, 1.0)
        return await client.get(path, headers={"Authorization": f"Bearer {token}"})

    async with in_process(product) as client:
        for user, scope, expected in (("u1", Scope.READ, None), ("u1", Scope.ADMIN, "r")):
            workers = (await told(client, "/workers", user, scope)).json()["workers"]
            assert workers[0]["jobs"][0]["recording_id"] == expected
        for path in ("", "/events"):
            chunks = f"/recordings/{recording.id}/chunks{path}"
            assert (await client.get(chunks)).status_code == 401
            assert (await told(client, chunks, "another", Scope.READ)).status_code == 404
        assert (await told(client, f"/recordings/{recording.id}/chunks", "u1", Scope.READ)).json()
        assert (await client.get("/workers")).status_code == 401
        for path in ("/", "/ui/app.js", "/ui/config.json"):
            assert (await client.get(path)).status_code == 200
