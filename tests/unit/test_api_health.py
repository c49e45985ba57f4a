"""Health: what a probe sees when a part is well, broken, or hangs."""

import asyncio
import time

import pytest

from pipeline.disk import DiskState
from pipeline.errors import BucketMissing, CatalogUnavailable, WorkerLost
from pipeline.stores.migrations import newest_version
from serve_app.routes import health
from serve_app.version import version
from tests.unit.api_server import Product, in_process


async def test_healthy_to_the_byte() -> None:
    async with in_process(Product()) as client:
        answer = await client.get("/health")
    assert answer.status_code == 200
    assert answer.content == b'{"status":"healthy","service":"recording-service"}'


async def test_details_where_they_are_asked_for() -> None:
    async with in_process(Product()) as client:
        answer = await client.get("/health?details=true")
    assert answer.status_code == 200
    assert answer.content == (
        b'{"status":"healthy","service":"recording-service","details":{'
        b'"version":"%s","schema_version":%d,"disk_percent":null,"backlog":"taken"}}'
        % (version().encode(), newest_version())
    )


async def test_a_full_disk_is_told_and_makes_nobody_ill() -> None:
    full = DiskState(is_full=True, percent=83.2)
    async with in_process(Product(disk_state=full)) as client:
        answer = await client.get("/health?details=true")
    assert answer.status_code == 200
    assert answer.json()["details"] | {"version": "", "schema_version": 0} == {
        "version": "",
        "schema_version": 0,
        "disk_percent": 83.2,
        "backlog": "waits",
    }


async def test_each_part_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_workers() -> None:
        raise WorkerLost("no worker lives")

    async def no_bucket() -> None:
        raise BucketMissing("bucket recordings is not there", "Make it")

    async def no_database() -> None:
        raise CatalogUnavailable("cannot reach postgresql://joe:pass1@db/x")

    product = Product(check_workers=no_workers, check_store=no_bucket)
    monkeypatch.setattr(product.catalog, "ping", no_database)
    async with in_process(product) as client:
        answer = await client.get("/health")
    assert answer.status_code == 503
    assert answer.content == (
        b'{"status":"unhealthy","service":"recording-service","checks":{'
        b'"postgres":"cannot reach postgresql://joe:**********@db/x",'
        b'"s3":"bucket recordings is not there. Make it","workers":"no worker lives"}}'
    )


async def test_one_part_is_enough_to_be_unhealthy_and_comes_back() -> None:
    lives = False

    async def workers() -> None:
        if not lives:
            raise WorkerLost("no worker lives")

    async with in_process(Product(check_workers=workers)) as client:
        answer = await client.get("/health")
        assert answer.status_code == 503
        assert answer.json()["checks"] == {
            "postgres": "ok",
            "s3": "ok",
            "workers": "no worker lives",
        }
        lives = True
        assert (await client.get("/health")).status_code == 200


async def test_a_check_that_breaks_tells_nothing_of_its_insides() -> None:
    async def broken() -> None:
        raise RuntimeError("secret detail")

    async with in_process(Product(check_store=broken)) as client:
        answer = await client.get("/health")
    assert (answer.status_code, answer.json()["checks"]["s3"]) == (503, "check failed")


async def test_parts_that_hang_are_asked_once_and_all_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "CHECK_TIMEOUT_S", 0.3)
    asked: list[str] = []

    async def hang_workers() -> None:
        asked.append("workers")
        await asyncio.sleep(30)

    async def hang_store() -> None:
        asked.append("s3")
        await asyncio.sleep(30)

    async with in_process(Product(check_workers=hang_workers, check_store=hang_store)) as client:
        began = time.monotonic()
        answers = await asyncio.gather(*(client.get("/health") for _ in range(20)))
        took = time.monotonic() - began
    assert {each.status_code for each in answers} == {503}
    checks = answers[0].json()["checks"]
    assert checks == {
        "postgres": "ok",
        "s3": "no answer within 0.3 s",
        "workers": "no answer within 0.3 s",
    }
    assert sorted(asked) == ["s3", "workers"]
    assert took < 2
