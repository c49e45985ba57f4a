"""The catalogue while PostgreSQL restarts, hangs, is away, or refuses us."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self
from urllib.parse import quote
from uuid import UUID

import asyncpg
import pytest

from pipeline.errors import CatalogUnavailable, SettingsError, VodrayError
from pipeline.model import EventKind, Origin, Progress, StreamEvent
from pipeline.stores.catalog_postgres import PostgresCatalog
from serve_app.embedded.postgres import PostgresServer

SECRET = "correct horse"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, logs: Path) -> Iterator[PostgresServer]:
    """A server of this module's own, to be stopped and started."""
    server = PostgresServer(tmp_path_factory.mktemp("faulty"), logs, SECRET)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def catalog(server: PostgresServer) -> AsyncIterator[PostgresCatalog]:
    catalog = at(server.dsn)
    await catalog.open()
    yield catalog
    await catalog.close()


def at(dsn: str) -> PostgresCatalog:
    return PostgresCatalog(dsn, reconnect_window=timedelta(seconds=60), profile="copy")


def started(stream_id: str, when: datetime = datetime(2025, 10, 5, tzinfo=UTC)) -> StreamEvent:
    return StreamEvent(
        kind=EventKind.STARTED, stream_id=stream_id, occurred_at=when, origin=Origin.WEBHOOK
    )


async def make(catalog: PostgresCatalog, stream_id: str) -> UUID:
    accepted = await catalog.accept(started(stream_id))
    assert accepted.recording_id is not None
    return accepted.recording_id


def within(error: pytest.ExceptionInfo[VodrayError]) -> str:
    """The message, which must not tell the password."""
    assert SECRET not in str(error.value)
    assert quote(SECRET) not in str(error.value)
    return str(error.value)


async def test_a_restart_underneath(catalog: PostgresCatalog, server: PostgresServer) -> None:
    before = await make(catalog, "restart")
    await asyncio.gather(*(catalog.get(before) for _ in range(20)))  # fills the pool
    stopping = asyncio.to_thread(lambda: (server.stop(), server.start()))
    calls = [asyncio.create_task(make(catalog, f"restart-{n}")) for n in range(10)]

    await stopping
    made = await asyncio.gather(*calls)

    assert len(set(made)) == 10
    assert (await catalog.get(before)).id == before
    assert await catalog.accept(started("restart")) is not None


async def test_away_and_back(catalog: PostgresCatalog, server: PostgresServer) -> None:
    await asyncio.to_thread(server.stop)
    try:
        begun = time.monotonic()
        accepting = asyncio.create_task(catalog.accept(started("away")))
        with pytest.raises(CatalogUnavailable) as error:
            await catalog.ping()
        assert time.monotonic() - begun < 5
        assert "127.0.0.1" in within(error)
        with pytest.raises(CatalogUnavailable):
            await accepting
        assert time.monotonic() - begun < 15
    finally:
        await asyncio.to_thread(server.start)
    await make(catalog, "away")


async def test_a_server_that_hangs(catalog: PostgresCatalog, server: PostgresServer) -> None:
    await catalog.ping()
    backends = await _pids(server)
    for pid in (server.pid, *backends):
        os.kill(pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(CatalogUnavailable):
            await catalog.ping()
        assert time.monotonic() - begun < 10
    finally:
        for pid in (*backends, server.pid):
            os.kill(pid, signal.SIGCONT)
    await catalog.ping()


async def test_every_connection_killed(catalog: PostgresCatalog, server: PostgresServer) -> None:
    recording_id = await make(catalog, "killed")
    for _ in range(3):
        calls = [
            asyncio.create_task(catalog.report_progress(recording_id, n, Progress(segments=n)))
            for n in range(20)
        ]
        await asyncio.sleep(0.01)
        await _kill_connections(server)
        await asyncio.gather(*calls)
    assert (await catalog.get(recording_id)).duration == 19


async def test_an_accept_whose_commit_is_lost_counts_once(
    catalog: PostgresCatalog, server: PostgresServer
) -> None:
    """The connection dies between the server's COMMIT and our hearing of it."""
    async with CommitEater(server.port) as eater:
        behind = at(server.dsn.replace(f":{server.port}/", f":{eater.port}/"))
        await behind.open()
        eater.is_hungry = True
        accepted = await behind.accept(started("lost"))
        assert not eater.is_hungry
        await behind.close()
    assert [r.id for r in await catalog.list() if r.stream_id == "lost"] == [accepted.recording_id]
    connection = await asyncpg.connect(server.dsn, timeout=10)
    tasks = await connection.fetch(
        "SELECT id FROM tasks WHERE recording_id = $1", accepted.recording_id
    )
    await connection.close(timeout=10)
    assert [row["id"] for row in tasks] == [accepted.task_id]


class CommitEater:
    """A way to the server that, once, lets a COMMIT through and loses the answer."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self.is_hungry = False

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        await self._listener.wait_closed()

    async def _serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        upstream, server = await asyncio.open_connection("127.0.0.1", self._server_port)
        down = asyncio.create_task(self._copy(upstream, answer))
        while data := await client.read(65536):
            if self.is_hungry and b"COMMIT" in data:
                down.cancel()
                await asyncio.wait([down])
                server.write(data)
                await upstream.read(65536)
                self.is_hungry = False
                break
            server.write(data)
        for writer in (server, answer):
            writer.close()
        await asyncio.wait([down])

    async def _copy(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            to.write(data)
        to.close()


async def test_readers_outlive_a_restart(catalog: PostgresCatalog, server: PostgresServer) -> None:
    first, second = await make(catalog, "reader-1"), await make(catalog, "reader-2")
    async with asyncio.timeout(30), aclosing(catalog.changes()) as changes:
        while await anext(changes) != second:
            pass
        await asyncio.to_thread(lambda: (server.stop(), server.start()))
        await catalog.report_progress(first, 1, Progress(segments=1))
        while await anext(changes) != first:
            pass


async def test_many_readers_share_one_connection(
    catalog: PostgresCatalog, server: PostgresServer
) -> None:
    recording_id = await make(catalog, "shared")

    async def hear() -> None:
        async with aclosing(catalog.changes()) as changes:
            while await anext(changes) != recording_id:
                pass

    before = len(await _pids(server))
    readers = [asyncio.create_task(hear()) for _ in range(50)]
    waiting = [asyncio.create_task(anext(catalog.changes())) for _ in range(50)]
    async with asyncio.timeout(10):
        await asyncio.gather(*readers)
    assert len(await _pids(server)) <= before + 1
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_missing_database_is_made(server: PostgresServer) -> None:
    dsn = server.dsn.rpartition("/")[0] + "/to%20be%20made"
    catalogs = [at(dsn) for _ in range(3)]
    await asyncio.gather(*(catalog.open() for catalog in catalogs))
    await make(catalogs[0], "first")
    assert len(await catalogs[1].list()) == 1
    for catalog in catalogs:
        await catalog.close()


async def test_a_wrong_password_is_told_at_once(server: PostgresServer) -> None:
    begun = time.monotonic()
    with pytest.raises(CatalogUnavailable) as error:
        await at(server.dsn.replace(quote(SECRET), quote(SECRET[::-1]))).open()
    assert time.monotonic() - begun < 5
    assert "password authentication failed" in within(error)
    assert SECRET[::-1] not in str(error.value)


async def test_a_user_who_may_not_make_the_database(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.dsn, timeout=10)
    await connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    await connection.close(timeout=10)
    dsn = f"postgresql://guest:guest@127.0.0.1:{server.port}/nowhere"
    with pytest.raises(CatalogUnavailable, match="permission denied to create database"):
        await at(dsn).open()


@pytest.mark.parametrize(
    "dsn",
    ["postgresql://user:pa/{}@127.0.0.1/x", "postgresql://user:{}@127.0.0.1:port/x"],
    ids=["slash in password", "no port"],
)
async def test_a_url_that_cannot_be_read(dsn: str) -> None:
    with pytest.raises(SettingsError) as error:
        await at(dsn.format(SECRET)).open()
    assert "DATABASE_URL" in within(error)


async def test_a_closed_catalogue_says_so(server: PostgresServer) -> None:
    catalog = at(server.dsn)
    with pytest.raises(CatalogUnavailable, match="not open"):
        await catalog.ping()
    await catalog.open()
    await catalog.close()
    await catalog.close()
    with pytest.raises(CatalogUnavailable, match="not open"):
        await catalog.list()


async def _pids(server: PostgresServer) -> list[int]:
    """Processes of the server's client connections but for the one that asks."""
    connection = await asyncpg.connect(server.dsn, timeout=10)
    try:
        rows = await connection.fetch("""
            SELECT pid FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
        """)
        return [row["pid"] for row in rows]
    finally:
        await connection.close(timeout=10)


async def _kill_connections(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.dsn, timeout=10)
    try:
        await connection.execute("""
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
        """)
    finally:
        await connection.close(timeout=10)
