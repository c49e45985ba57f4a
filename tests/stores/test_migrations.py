"""The schema goes up, down and up again, whoever starts at once."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from pipeline.errors import SchemaTooNew
from pipeline.stores.catalog_postgres import PostgresCatalog
from pipeline.stores.migrations import load_migrations, migrate

NEWEST = len(load_migrations())


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database, timeout=10)
    yield connection
    await connection.close(timeout=10)


async def schema(connection: asyncpg.Connection) -> set[str]:
    """Everything that is there but for the table of versions."""
    rows = await connection.fetch("""
        SELECT 'relation ' || relname || ' ' || coalesce(attname || ' ' || atttypid::regtype, '')
        FROM pg_class LEFT JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0
            AND NOT attisdropped
        WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'schema_migrations%'
        UNION SELECT 'type ' || typname FROM pg_type
        WHERE typnamespace = 'public'::regnamespace AND typname NOT LIKE '%schema_migrations'
        UNION SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    """)
    return {row[0] for row in rows}


async def versions(connection: asyncpg.Connection) -> list[int]:
    rows = await connection.fetch("SELECT version FROM schema_migrations ORDER BY version")
    return [row["version"] for row in rows]


async def test_up_down_and_up_again(connection: asyncpg.Connection) -> None:
    assert await migrate(connection) == NEWEST
    first = await schema(connection)
    assert {"relation recordings status recording_status", "type recording_status"} <= first

    assert await migrate(connection, target=0) == 0
    assert await schema(connection) == set()
    assert await versions(connection) == []

    await migrate(connection)
    assert await schema(connection) == first
    assert await versions(connection) == [*range(1, NEWEST + 1)]


async def test_every_step_goes_back_exactly(connection: asyncpg.Connection) -> None:
    for step in range(1, NEWEST + 1):
        before = await schema(connection)
        await migrate(connection, target=step)
        assert await schema(connection) != before
        await migrate(connection, target=step - 1)
        assert await schema(connection) == before
        await migrate(connection, target=step)


async def test_the_indexes_that_queries_rely_on(connection: asyncpg.Connection) -> None:
    await migrate(connection)
    rows = await connection.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = 'recordings'")
    indexed = " ".join(row["indexdef"] for row in rows)
    for column in ("stream_id", "stream_key", "status", "video_id"):
        assert f"({column})" in indexed


# Of the first release; what comes later must leave older code that runs beside it working.
FIRST_RELEASE = 10
_BREAKS_OLD_CODE = re.compile(
    r"""\bDROP\s+(?!INDEX|TRIGGER|DEFAULT|NOT\s+NULL)\w+ | \bRENAME\b | \bSET\s+NOT\s+NULL\b
    | \bALTER\s+COLUMN\s+\w+\s+(SET\s+DATA\s+)?TYPE\b | \bTRUNCATE\b
    | \bADD\s+COLUMN\s+(?:(?!,|;|DEFAULT).)*\bNOT\s+NULL\b(?!(?:(?!,|;).)*\bDEFAULT\b)""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE recordings DROP COLUMN error",
        "DROP TABLE tasks",
        "drop function note_state_change",
        "ALTER TABLE recordings RENAME COLUMN error TO problem",
        "ALTER TABLE tasks RENAME TO inbox",
        "ALTER TABLE recordings ALTER COLUMN title SET NOT NULL",
        "ALTER TABLE recordings ALTER COLUMN duration TYPE text",
        "ALTER TABLE recordings ADD COLUMN a int,\n ADD COLUMN b text NOT NULL",
    ],
)
def test_what_breaks_old_code_is_told(statement: str) -> None:
    assert _BREAKS_OLD_CODE.search(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE recordings ADD COLUMN keep boolean NOT NULL DEFAULT false, ADD COLUMN b int",
        "CREATE TABLE more (id uuid PRIMARY KEY, name text NOT NULL)",
        "DROP INDEX recordings_status",
        "ALTER TABLE recordings ALTER COLUMN title DROP NOT NULL",
    ],
)
def test_what_adds_is_no_break(statement: str) -> None:
    assert not _BREAKS_OLD_CODE.search(statement)


def test_old_code_survives_every_migration_since_the_first_release() -> None:
    breaking = {
        step.name: found[0]
        for step in load_migrations()[FIRST_RELEASE:]
        if (found := _BREAKS_OLD_CODE.search(step.up))
    }
    assert not breaking


async def test_eight_start_at_once(database: str) -> None:
    catalogs = [
        PostgresCatalog(database, reconnect_window=timedelta(seconds=60), profile="copy")
        for _ in range(8)
    ]
    await asyncio.gather(*(catalog.open() for catalog in catalogs))
    await asyncio.gather(*(catalog.ping() for catalog in catalogs))
    await asyncio.gather(*(catalog.close() for catalog in catalogs))


async def test_a_step_that_fails_leaves_nothing(connection: asyncpg.Connection) -> None:
    await migrate(connection, target=1)
    before = await schema(connection)
    await connection.execute("CREATE TABLE chunk_results ()")
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(connection, target=3)
    assert await versions(connection) == [1, 2]
    await connection.execute("DROP TABLE chunk_results")
    await migrate(connection, target=1)
    assert await schema(connection) == before


async def test_a_newer_database_is_refused(database: str, connection: asyncpg.Connection) -> None:
    await migrate(connection)
    await connection.execute(
        "INSERT INTO schema_migrations (version, name) VALUES ($1, 'future')", NEWEST + 1
    )
    catalog = PostgresCatalog(database, reconnect_window=timedelta(seconds=60), profile="copy")
    with pytest.raises(SchemaTooNew, match=f"version {NEWEST + 1}, this release knows {NEWEST}"):
        await catalog.open()
    with pytest.raises(SchemaTooNew):
        await migrate(connection, target=0)


async def test_a_version_that_does_not_exist(connection: asyncpg.Connection) -> None:
    with pytest.raises(ValueError, match="no schema version 999"):
        await migrate(connection, target=999)


@pytest.mark.parametrize(
    "names",
    [
        ["001_a.up.sql"],
        ["002_a.up.sql", "002_a.down.sql"],
        ["001_a.up.sql", "001_a.down.sql", "001_b.up.sql", "001_b.down.sql"],
        ["notes.txt"],
    ],
    ids=["no way down", "a hole", "a number twice", "a stranger"],
)
def test_a_folder_that_is_out_of_order_is_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(ValueError, match=r"is no NNN_name|is out of order"):
        load_migrations(tmp_path)
