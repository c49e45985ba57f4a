"""The catalogue as a file and back, on real PostgreSQL: all of it, or nothing and why."""

import asyncio
import gzip
import io
import json
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from pipeline.errors import BackupInvalid, CatalogUnavailable, SchemaTooNew, UsageError
from pipeline.model import EndReason
from pipeline.retention import note
from pipeline.stores.backup import Backup, restore_backup, write_backup
from pipeline.stores.catalog_postgres import PostgresCatalog
from pipeline.stores.database import Database
from pipeline.stores.migrations import migrate, newest_version
from pipeline.stores.platform_postgres import PostgresPlatform
from tests.e2e.service import vodray
from tests.stores.recorded import REPORT, begun, completed
from tests.stores.test_catalog import HOSTILE, chunk, done, upload

NEWEST = newest_version()


@pytest.fixture
async def catalog(database: str) -> AsyncIterator[PostgresCatalog]:
    catalog = PostgresCatalog(database, reconnect_window=timedelta(0), profile="copy")
    await catalog.open()
    yield catalog
    await catalog.close()


@pytest.fixture
async def filled(catalog: PostgresCatalog) -> PostgresCatalog:
    """Something in as many tables as there are."""
    recording = await completed(catalog, "k")
    await catalog.describe(recording.id, f"tab\t, line\n, \\. and {HOSTILE}", "u2")
    live = await begun(catalog, "live")
    await catalog.add_uploads(live, [upload("source", "live.mp4", "u")])
    await catalog.plan_chunk(live, chunk(0))
    await catalog.finish_chunks(live, [done(0)])
    await catalog.close_source(live, None, "a\\nb")
    await catalog.mark_published([(await catalog.unpublished())[0].id])
    await note(PostgresPlatform(catalog.database), "recording.expire", recording, why="\\N")
    return catalog


@pytest.fixture
async def elsewhere(postgres_dsn: str) -> AsyncIterator[str]:
    """Another database, that is not made yet."""
    dsn = postgres_dsn.rpartition("/")[0] + f"/restored_{datetime.now(UTC):%H%M%S%f}"
    yield dsn
    connection = await asyncpg.connect(postgres_dsn, timeout=10)
    await connection.execute(f"DROP DATABASE IF EXISTS {dsn.rpartition('/')[2]} WITH (FORCE)")
    await connection.close(timeout=10)


async def contents(dsn: str) -> dict[str, list[str]]:
    """All rows of all tables, as text."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace AND relname <> 'schema_migrations'"
        )
        found = {}
        for (name,) in tables:
            rows = await connection.fetch(f'SELECT t::text FROM "{name}" AS t')
            found[name] = sorted(row[0] for row in rows)
        return found
    finally:
        await connection.close(timeout=10)


async def backup_of(catalog: PostgresCatalog) -> bytes:
    file = io.BytesIO()
    async with catalog.database.session() as connection:
        await write_backup(connection, file)
    return file.getvalue()


async def restore(dsn: str, data: bytes, *, replace: bool = False) -> Backup:
    database = Database(dsn)
    await database.make()
    async with database.session() as connection:
        return await restore_backup(connection, io.BytesIO(data), replace=replace)


async def test_everything_comes_back(
    filled: PostgresCatalog, database: str, elsewhere: str
) -> None:
    before = await contents(database)
    assert sum(bool(rows) for rows in before.values()) >= 10
    backup = await restore(elsewhere, await backup_of(filled))
    assert await contents(elsewhere) == before
    assert backup.rows == {name: len(rows) for name, rows in before.items()}
    again = PostgresCatalog(elsewhere, reconnect_window=timedelta(0), profile="copy")
    await again.open()
    try:
        assert await again.list() == await filled.list()
        # It goes on: new rows get new numbers, triggers work.
        live = (await again.unfinished())[0].id
        assert await again.finished(live) == await filled.finished(live)
        unpublished = len(await again.unpublished())
        await again.mark_ended(live, datetime.now(UTC), EndReason.STALL)
        await again.mark_processing(live)
        await begun(again, "new")
        assert len(await again.unpublished()) == unpublished + 2
        assert await again.report((await again.list())[-1].id) == REPORT
    finally:
        await again.close()


async def test_it_is_of_one_moment_while_the_service_goes_on(
    filled: PostgresCatalog, elsewhere: str
) -> None:
    class Slow(io.BytesIO):
        """Makes a recording as soon as anything is written."""

        task: asyncio.Task[object] | None = None

        def write(self, data: bytes, /) -> int:
            if self.task is None:
                self.task = asyncio.get_running_loop().create_task(begun(filled, "meanwhile"))
            return super().write(data)

    file = Slow()
    async with filled.database.session() as connection:
        await write_backup(connection, file)
    assert file.task is not None
    await file.task
    backup = await restore(elsewhere, file.getvalue())
    assert backup.rows["recordings"] == backup.rows["tasks"] == 2
    assert len(await filled.list()) == 3


async def test_a_catalogue_that_is_not_empty_is_refused_or_replaced(
    filled: PostgresCatalog, database: str, elsewhere: str
) -> None:
    data = await backup_of(filled)
    await restore(elsewhere, data)
    with pytest.raises(UsageError, match=r"not empty.*recordings.*--replace"):
        await restore(elsewhere, data)
    await begun(filled, "another")
    await restore(elsewhere, await backup_of(filled), replace=True)
    assert await contents(elsewhere) == await contents(database)


async def test_a_catalogue_that_is_in_use_is_refused(
    filled: PostgresCatalog, database: str
) -> None:
    with pytest.raises(UsageError, match="service runs"):
        await restore(database, await backup_of(filled), replace=True)


async def test_a_backup_of_an_older_release_is_migrated(database: str, elsewhere: str) -> None:
    connection = await asyncpg.connect(database, timeout=10)
    await migrate(connection, target=4)
    await connection.execute(
        "INSERT INTO recordings (id, stream_id, started_at, profile)"
        " VALUES ('e410066c-8d50-4e0f-965f-452af1814ffa', 's', now(), 'copy')"
    )
    await connection.execute(
        "INSERT INTO chunks SELECT id, 0, $1 FROM recordings",
        json.dumps({"main": {"segments": []}, "audio": []}),
    )
    file = io.BytesIO()
    assert (await write_backup(connection, file)).schema == 4
    await connection.close()
    backup = await restore(elsewhere, file.getvalue())
    assert backup.schema == 4
    restored = await contents(elsewhere)
    # What a migration makes of older rows is made.
    assert len(restored["sources"]) == len(restored["findings"]) == 1
    connection = await asyncpg.connect(elsewhere, timeout=10)
    assert await connection.fetchval("SELECT max(version) FROM schema_migrations") == NEWEST
    await connection.close()


SPOILED = {
    "cut off": (lambda data: data[: len(data) // 2], "ends too early"),
    "cut at the end": (lambda data: data[:-4], "ends too early"),
    "a bit turned": (lambda data: data[:-6] + bytes([data[-6] ^ 1]) + data[-5:], "damaged"),
    "something behind it": (lambda data: data + gzip.compress(b"x"), "goes on behind its end"),
    "no gzip": (lambda data: b"x" + data, "no gzip file"),
    "empty": (lambda _: b"", "ends too early|no gzip"),
    "something else": (lambda _: gzip.compress(b"hello\n"), "no backup"),
    "other JSON": (lambda _: gzip.compress(b"[]\n{}\n"), "no backup"),
    "no version": (lambda _: gzip.compress(b'{"format":"vodray-catalogue"}\n'), "format version"),
}


async def test_a_damaged_backup_restores_nothing(filled: PostgresCatalog, elsewhere: str) -> None:
    data = await backup_of(filled)
    await restore(elsewhere, data)
    before = await contents(elsewhere)
    for how, (spoil, why) in SPOILED.items():
        print(how)
        with pytest.raises(BackupInvalid, match=why):
            await restore(elsewhere, spoil(data), replace=True)
        assert await contents(elsewhere) == before


async def test_a_row_that_was_changed_is_found(filled: PostgresCatalog, elsewhere: str) -> None:
    plain = gzip.decompress(await backup_of(filled))
    assert plain.count(b"\tid-live\t") == 1
    with pytest.raises(BackupInvalid, match="checksum"):
        await restore(elsewhere, gzip.compress(plain.replace(b"\tid-live\t", b"\tid-evil\t")))
    lines = plain.splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if b"\tid-live\t" in line)
    for spoiled in (b"".join(lines[:at] + lines[at + 1 :]), plain.replace(b"recordings", b"x", 1)):
        with pytest.raises(BackupInvalid):
            await restore(elsewhere, gzip.compress(spoiled))
    assert set(map(len, (await contents(elsewhere)).values())) <= {0}


async def test_a_backup_of_a_newer_release_is_refused(
    filled: PostgresCatalog, elsewhere: str
) -> None:
    plain = gzip.decompress(await backup_of(filled))
    later = plain.replace(b'"schema": %d' % NEWEST, b'"schema": %d' % (NEWEST + 1), 1)
    with pytest.raises(SchemaTooNew, match=f"version {NEWEST + 1}"):
        await restore(elsewhere, gzip.compress(later))


async def test_without_a_catalogue_there_is_no_backup(database: str, elsewhere: str) -> None:
    async with Database(database).session() as connection:
        with pytest.raises(UsageError, match="no catalogue"):
            await write_backup(connection, io.BytesIO())
    with pytest.raises(CatalogUnavailable, match="does not exist"):
        async with Database(elsewhere).session():
            pass


# --- the commands -------------------------------------------------------------------------------


async def test_the_commands(
    filled: PostgresCatalog, database: str, elsewhere: str, tmp_path: Path
) -> None:
    file = tmp_path / "catalogue.backup"
    stores = {"MINIO_ENDPOINT": "127.0.0.1:9"}

    async def run(*arguments: str, dsn: str) -> object:
        return await asyncio.to_thread(vodray, *arguments, cwd=tmp_path, DATABASE_URL=dsn, **stores)

    made = await run("backup", str(file), dsn=database)
    assert (made.code, made.out.split(" recordings, ")[0]) == (0, "2"), made.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    restored = await run("restore", str(file), dsn=elsewhere)
    assert restored.code == 0, restored.err
    assert await contents(elsewhere) == await contents(database)
    refused = await run("restore", str(file), dsn=elsewhere)
    assert refused.code == 2
    assert "--replace" in refused.complaint
