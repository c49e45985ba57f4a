"""Brings the database's schema to the version that this release speaks, up or down.

Migrations are ``sql/migrations/NNN_name.up.sql`` and ``.down.sql``, numbered from 001 without
holes. Each runs in a transaction together with its line in ``schema_migrations``; an advisory lock
lets one process at a time do it, so that any number may start at once.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import asyncpg

from pipeline.errors import SchemaTooNew

_LOCK = 0x766F64726179  # "vodray"
_WAIT_S = 120.0
"""How long one start waits for another one's migrations, and for one of its own."""

_FILE = re.compile(r"(\d{3})_(\w+)\.(up|down)\.sql")

_CREATE_VERSIONS = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema and the way back."""

    version: int
    name: str
    up: str
    down: str


def load_migrations(folder: Traversable | None = None) -> tuple[Migration, ...]:
    """The migrations of this release, in order. Raises ``ValueError`` for a hole or a lone half."""
    halves: dict[tuple[int, str], dict[str, str]] = {}
    for file in (folder or files("pipeline.stores") / "sql" / "migrations").iterdir():
        match = _FILE.fullmatch(file.name)
        if match is None:
            raise ValueError(f"{file.name} is no NNN_name.up.sql or .down.sql")
        halves.setdefault((int(match[1]), match[2]), {})[match[3]] = file.read_text("utf-8")
    found = []
    for expected, ((version, name), half) in enumerate(sorted(halves.items()), start=1):
        if version != expected or set(half) != {"up", "down"}:
            raise ValueError(f"Migration {version:03d}_{name} is out of order or lacks a half")
        found.append(Migration(version=version, name=name, **half))
    return tuple(found)


@cache
def newest_version() -> int:
    """That this release migrates to."""
    return len(load_migrations())


async def migrate(connection: asyncpg.Connection, target: int | None = None) -> int:
    """Go up or down to ``target`` (default: the newest); returns the version reached.

    Raises ``SchemaTooNew`` where a newer release was here, and ``ValueError`` for a target that
    does not exist.
    """
    known = load_migrations()
    target = len(known) if target is None else target
    if not 0 <= target <= len(known):
        raise ValueError(f"There is no schema version {target}; the newest is {len(known)}")
    async with _only_one(connection):
        await connection.execute(_CREATE_VERSIONS)
        current = await version_of(connection)
        if current > len(known):
            raise SchemaTooNew(
                f"The database has schema version {current}, this release knows {len(known)}",
                "Start the release that migrated it, or a newer one",
            )
        await _go_up(connection, known[current:target])
        await _go_down(connection, known[target:current])
    return target


async def version_of(connection: asyncpg.Connection) -> int:
    """Of the database's schema; 0 where there is none."""
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return 0
    return await connection.fetchval("SELECT max(version) FROM schema_migrations") or 0


@asynccontextmanager
async def _only_one(connection: asyncpg.Connection) -> AsyncIterator[None]:
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK, timeout=_WAIT_S)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def _go_up(connection: asyncpg.Connection, steps: Sequence[Migration]) -> None:
    for step in steps:
        async with connection.transaction():
            await connection.execute(step.up, timeout=_WAIT_S)
            await connection.execute(
                "INSERT INTO schema_migrations (version, name) VALUES ($1, $2)",
                step.version,
                step.name,
            )


async def _go_down(connection: asyncpg.Connection, steps: Sequence[Migration]) -> None:
    for step in reversed(steps):
        async with connection.transaction():
            await connection.execute(step.down, timeout=_WAIT_S)
            await connection.execute(
                "DELETE FROM schema_migrations WHERE version = $1", step.version
            )
