"""A service of years from the outside: what is too old goes, and what was lost comes back."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from pipeline.stores.catalog_postgres import PostgresCatalog
from pipeline.stores.platform_postgres import PostgresPlatform
from serve_app.api import create_api
from tests.e2e.conftest import NewBroadcast
from tests.e2e.service import Done, vodray
from tests.e2e.world import Json, World, eventually
from tests.unit.api_server import Product

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def elsewhere(world: World) -> Iterator[Callable[[], str]]:
    """Databases that are not made yet, on the service's server."""
    server = world.endpoints["postgres"].rpartition("/")[0]
    names: list[str] = []

    def new() -> str:
        names.append(f"elsewhere_{uuid4().hex}")
        return f"{server}/{names[-1]}"

    yield new
    for name in names:
        world.rows(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def command(world: World, folder: Path, *arguments: str, **variables: str) -> Done:
    """On the service's stores, but for those that are named."""
    stores = (
        {}
        if "DATABASE_URL" not in variables
        else {
            "MINIO_ENDPOINT": world.endpoints["s3"].removeprefix("http://"),
            "MINIO_ACCESS_KEY": world.endpoints["s3_access_key"],
            "MINIO_SECRET_KEY": world.endpoints["s3_secret_key"],
        }
    )
    options = ("--data-dir", world.endpoints["data_dir"])
    return vodray(*arguments, *options, cwd=folder, **stores, **variables)


Ask = Callable[[str], Awaitable[httpx.Response]]


async def answers_of(ask: Ask, recording: Json) -> dict[str, Any]:
    """What clients see of a recording and its stream, without what is signed anew each time."""
    path = f"/recordings/{recording['id']}"
    found: dict[str, Any] = {}
    for where in (
        f"/recordings?stream_id={recording['stream_id']}",
        f"/recording/{recording['id']}",
        f"{path}/report",
        f"{path}/hls/master.m3u8",
        f"{path}/hls/source.m3u8",
        f"{path}/storyboard.vtt",
        f"/videos?q={recording['stream_id']}",
    ):
        answer = await ask(where)
        assert answer.status_code == 200, (where, answer.text)
        text = re.sub(r'\?[^"\s]*X-Amz[^"\s]*', "", answer.text)
        # Whoever compares watches as well.
        found[where] = re.sub(r'"views":\d+,"bytes_served":\d+', "", text)
    answer = await ask(f"{path}/stream")
    found["bytes"] = answer.content
    return found


async def answers(dsn: str, world: World, recording: Json) -> dict[str, Any]:
    """Those of an API on another database, over the same bucket."""
    catalog = PostgresCatalog(dsn, reconnect_window=timedelta(0), profile="copy")
    await catalog.open()
    services = replace(
        Product(objects=world.store).services(),
        catalog=catalog,
        platform=PostgresPlatform(catalog.database),
    )
    app = create_api(services)
    transport = httpx.ASGITransport(app=app)
    try:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://elsewhere") as client,
        ):
            return await answers_of(client.get, recording)
    finally:
        await catalog.close()


def test_backup_and_bucket_give_the_same_answers(
    world: World,
    broadcast: NewBroadcast,
    elsewhere: Callable[[], str],
    tmp_path: Path,
) -> None:
    live = broadcast()
    live.show_whole()
    live.tell("ended")
    recording = live.completed()
    path = f"/recordings/{recording['id']}"
    change = {"title": "A talk", "user_id": "alice", "keep": True}
    changed = world.http.patch(path, json=change).json()["recording"]
    assert {name: changed[name] for name in change} == change
    imported = {"recording_id": recording["id"], "title": live.stream_id, "visibility": "public"}
    video = world.http.post("/import-recording", json=imported).json()["video"]
    note = f"{live.key}/recording.json"

    def is_told() -> bool:
        data = world.store.get(world.bucket, note, max_bytes=2**20)
        return b'"A talk"' in data and b'"keep": true' in data

    eventually(lambda: note in world.objects(note) and is_told())

    async def served(where: str) -> httpx.Response:
        return await asyncio.to_thread(world.http.get, where)

    before = asyncio.run(answers_of(served, recording))
    made = command(world, tmp_path, "backup", "catalogue.backup")
    assert made.code == 0, made.err

    # --- from the backup
    dsn = elsewhere()
    restored = command(world, tmp_path, "restore", "catalogue.backup", DATABASE_URL=dsn)
    assert restored.code == 0, restored.err
    assert asyncio.run(answers(dsn, world, recording)) == before
    running = command(world, tmp_path, "restore", "catalogue.backup", "--replace")
    assert running.code == 2
    assert "in use" in running.complaint

    # --- from the bucket alone, which knows no videos, nor where streams were
    dsn = elsewhere()
    rebuilt = command(world, tmp_path, "rebuild", DATABASE_URL=dsn)
    assert f"{recording['id']}\t{recording['file_path']}" in rebuilt.out.splitlines()
    told = asyncio.run(answers(dsn, world, recording))
    shown = f"/videos?q={live.stream_id}"
    assert video["id"] in before.pop(shown)
    assert told.pop(shown) == '{"videos":[]}'
    report = f"{path}/report"
    told[report], before[report] = json.loads(told[report]), json.loads(before[report])
    assert before[report].pop("source").endswith(f"/{live.key}/stream.m3u8")
    expected = {
        where: text.replace(f'"video_id":"{video["id"]}"', '"video_id":null')
        if isinstance(text, str)
        else text
        for where, text in before.items()
    }
    assert told == expected


def test_what_is_too_old_is_shown_and_goes(
    world: World, broadcast: NewBroadcast, tmp_path: Path
) -> None:
    recordings = []
    for _ in range(2):
        live = broadcast()
        live.show_whole()
        live.tell("ended")
        recordings.append(live.completed())
    old, kept = recordings
    assert world.http.patch(f"/recordings/{kept['id']}", json={"keep": True}).status_code == 200
    world.rows(
        "UPDATE recordings SET completed_at = completed_at - interval '31 days', resumable = false"
        " WHERE id = ANY($1::uuid[])",
        [UUID(recording["id"]) for recording in recordings],
    )
    name = old["file_path"].partition("/")[2].removesuffix(".mp4")
    eventually(lambda: f"{name}/recording.json" in world.objects(name))

    missing = command(world, tmp_path, "retention", "--dry-run")
    assert (missing.code, "RETENTION_DAYS" in missing.err) == (2, True)
    shown = command(world, tmp_path, "retention", "--dry-run", "--days", "30")
    assert shown.code == 0, shown.err
    objects = world.objects(name)
    size = sum(info.size_bytes for info in objects.values())
    (line,) = shown.out.splitlines()
    assert line.split("\t")[0::2] == [old["id"], str(len(objects)), old["file_path"]]
    assert line.split("\t")[3] == str(size)
    assert world.http.get(f"/recordings/{old['id']}").status_code == 200

    done = command(world, tmp_path, "retention", RETENTION_DAYS="30")
    assert done.out == shown.out
    assert world.http.get(f"/recordings/{old['id']}").status_code == 404
    assert world.http.get(f"/recordings/{kept['id']}").status_code == 200
    eventually(lambda: not world.objects(name))
    (row,) = world.rows("SELECT * FROM audit WHERE subject = $1", old["id"])
    assert (row["actor"], row["action"]) == ("retention", "recording.expire")
    again = command(world, tmp_path, "retention", "--days", "30", "--json")
    assert '"recordings": []' in again.out
