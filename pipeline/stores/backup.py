"""The catalogue as one file, and back: everything that PostgreSQL holds, as it was at one moment.

A gzip file of lines: a JSON object that says what it is; for each table a JSON object with its name
and columns, its rows as ``COPY`` writes them in text, and ``\\.``; a JSON object with the number of
rows and the SHA-256 of all before it. A table comes behind those that it refers to.
"""

import asyncio
import gzip
import hashlib
import json
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any

import asyncpg

from pipeline.errors import BackupInvalid, CatalogUnavailable, SchemaTooNew, UsageError
from pipeline.stores.migrations import migrate, newest_version, version_of

_FORMAT, _VERSION = "vodray-catalogue", 1
_END_OF_ROWS = b"\\.\n"
_PIECE_BYTES = 256 * 1024
_LONGEST_HEADING = 64 * 1024
# Of one table. Each piece of it has to come within the server's own bounds.
_COPY_S = 24 * 3600.0
_LEVEL = 6
_LOOKS, _LOOK_EVERY_S = 15, 0.1

_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'vodray' AND pid <> pg_backend_pid()"""

_TABLES = """
SELECT
    relname AS name,
    array(
        SELECT attname::text FROM pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
        ORDER BY attnum
    ) AS columns,
    (
        SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attidentity <> ''
    ) AS counted,
    array(
        SELECT confrelid::regclass::text FROM pg_constraint
        WHERE conrelid = c.oid AND contype = 'f' AND confrelid <> c.oid
    ) AS refers_to
FROM pg_class AS c
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'schema_migrations'
ORDER BY relname"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """``schema``: version of the schema; ``rows``: of each table."""

    schema: int
    made_at: datetime
    rows: Mapping[str, int] = field(default_factory=dict)


async def write_backup(connection: asyncpg.Connection, file: IO[bytes]) -> Backup:
    """Raises ``UsageError`` where there is no catalogue."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        schema = await version_of(connection)
        if not schema:
            raise UsageError("The database holds no catalogue")
        made_at = datetime.now(UTC)
        rows: dict[str, int] = {}
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_LEVEL, mtime=0) as packed:
            out = _Writer(packed.write)
            out.line(format=_FORMAT, version=_VERSION, schema=schema, made_at=made_at.isoformat())
            for table in _in_order(await connection.fetch(_TABLES)):
                name, columns = table["name"], table["columns"]
                out.line(table=name, columns=columns)
                before = out.newlines
                listed = ", ".join(f'"{column}"' for column in columns)
                await connection.copy_from_query(
                    f'SELECT {listed} FROM "{name}"',  # noqa: S608 - names of our own schema
                    output=out.rows,
                    format="text",
                    timeout=_COPY_S,
                )
                rows[name] = out.newlines - before
                out.write(_END_OF_ROWS)
            out.line(rows=rows, sha256=out.digest)
    return Backup(schema=schema, made_at=made_at, rows=rows)


async def restore_backup(
    connection: asyncpg.Connection, file: IO[bytes], *, replace: bool = False
) -> Backup:
    """All or nothing. What an older release has written is brought to this one's schema.

    ``replace``: what the catalogue holds goes. Raises ``BackupInvalid``, ``SchemaTooNew``, and
    ``UsageError`` where the catalogue holds something, or somebody uses it.
    """
    source = _Reader(gzip.GzipFile(fileobj=file, mode="rb"))
    backup = _heading(source.line())
    if backup.schema > newest_version():
        raise SchemaTooNew(
            f"The backup has schema version {backup.schema}, this release knows {newest_version()}",
            "Restore it with the release that made it, or a newer one",
        )
    await _refuse_company(connection)
    async with connection.transaction():
        await _make_room(connection, replace=replace)
        await migrate(connection, target=backup.schema)
        rows = await _load(connection, source)
        await migrate(connection)
    return Backup(schema=backup.schema, made_at=backup.made_at, rows=rows)


async def _refuse_company(connection: asyncpg.Connection) -> None:
    """What has just closed its connections may be seen for a moment more."""
    for _ in range(_LOOKS):
        if not await connection.fetchval(_OTHERS):
            return
        await asyncio.sleep(_LOOK_EVERY_S)
    raise UsageError("The service runs on this catalogue", "Stop it first")


async def _make_room(connection: asyncpg.Connection, *, replace: bool) -> None:
    names = [f'"{table["name"]}"' for table in await connection.fetch(_TABLES)]
    used = [
        name
        for name in names
        if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {name})")  # noqa: S608
    ]
    if used and not replace:
        raise UsageError(
            f"The catalogue is not empty: there are rows in {', '.join(used)}",
            "Restore into an empty database, or give --replace to lose what is there",
        )
    if used:
        await connection.execute(f"TRUNCATE {', '.join(names)}")


async def _load(connection: asyncpg.Connection, source: "_Reader") -> dict[str, int]:
    tables = {table["name"]: table for table in await connection.fetch(_TABLES)}
    # What triggers did when the rows were written is among the rows.
    for name in tables:
        await connection.execute(f'ALTER TABLE "{name}" DISABLE TRIGGER USER')
    rows: dict[str, int] = {}
    while "table" in (heading := source.line()):
        name, columns = heading["table"], heading.get("columns")
        if name not in tables or name in rows or columns != tables[name]["columns"]:
            raise BackupInvalid(f"The backup's table {str(name)[:80]!r} is none of its schema")
        before = source.newlines
        try:
            await connection.copy_to_table(
                name, source=source.rows(), columns=columns, format="text", timeout=_COPY_S
            )
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            raise BackupInvalid(f"The backup's table {name} cannot be read: {error}") from error
        rows[name] = source.newlines - before - 1
    if heading != {"rows": rows, "sha256": source.digest_before} or rows.keys() != tables.keys():
        raise BackupInvalid("The backup is not what was written: its checksum does not hold")
    source.end()
    for name, table in tables.items():
        await connection.execute(f'ALTER TABLE "{name}" ENABLE TRIGGER USER')
        if (column := table["counted"]) is not None:
            await connection.execute(
                f"SELECT setval(pg_get_serial_sequence('\"{name}\"', '{column}'), last)"  # noqa: S608
                f' FROM (SELECT max("{column}") AS last FROM "{name}") AS counted'
                " WHERE last IS NOT NULL"
            )
    return rows


def _in_order(tables: list[asyncpg.Record]) -> Iterator[asyncpg.Record]:
    """Each behind those that it refers to."""
    waiting, done = list(tables), set[str]()
    while waiting:
        ready = [table for table in waiting if done.issuperset(table["refers_to"])]
        if not ready:
            raise CatalogUnavailable("Tables refer to each other in a circle")
        yield from ready
        done |= {table["name"] for table in ready}
        waiting = [table for table in waiting if table["name"] not in done]


def _heading(told: Mapping[str, Any]) -> Backup:
    if told.get("format") != _FORMAT:
        raise BackupInvalid("This is no backup of a catalogue")
    if told.get("version") != _VERSION:
        raise BackupInvalid(
            f"The backup has format version {told.get('version')}, this release reads {_VERSION}"
        )
    try:
        return Backup(schema=int(told["schema"]), made_at=datetime.fromisoformat(told["made_at"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BackupInvalid("The backup does not say what it is") from error


class _Writer:
    """``newlines``: how many were written; COPY leaves none inside a row."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write, self._hash = write, hashlib.sha256()
        self.newlines = 0

    def write(self, data: bytes) -> None:
        self._write(data)
        self._hash.update(data)
        self.newlines += data.count(b"\n")

    async def rows(self, data: bytes) -> None:
        self.write(data)

    def line(self, **told: object) -> None:
        self.write(json.dumps(told).encode() + b"\n")

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


class _Reader:
    """``digest_before``: of all that came before the line that was read last."""

    def __init__(self, packed: gzip.GzipFile) -> None:
        self._packed, self._hash = packed, hashlib.sha256()
        self.newlines = 0
        self.digest_before = self._hash.hexdigest()

    def line(self) -> dict[str, Any]:
        self.digest_before = self._hash.hexdigest()
        try:
            told = json.loads(self._next(_LONGEST_HEADING))
        except ValueError as error:
            raise BackupInvalid("This is no backup of a catalogue") from error
        if not isinstance(told, dict):
            raise BackupInvalid("This is no backup of a catalogue")
        return told

    async def rows(self) -> AsyncIterator[bytes]:
        piece = bytearray()
        while (row := self._next()) != _END_OF_ROWS:
            piece += row
            if len(piece) >= _PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)

    def end(self) -> None:
        """Nothing more comes: only then gzip has looked at its own checksum."""
        with _readable():
            if self._packed.read(1):
                raise BackupInvalid("The backup goes on behind its end")

    def _next(self, most: int = -1) -> bytes:
        with _readable():
            line = self._packed.readline(most)
        if not line.endswith(b"\n"):
            raise BackupInvalid("The backup ends too early")
        self._hash.update(line)
        self.newlines += 1
        return line


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except EOFError as error:
        raise BackupInvalid("The backup ends too early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise BackupInvalid(f"The backup is no gzip file, or damaged: {error}") from error
