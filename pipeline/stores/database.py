"""PostgreSQL as the catalogue uses it: a pool, bounded retries, and its errors in our words.

Work that is handed in here may run twice, the second time after the first has committed: a
connection that dies in a COMMIT does not say. So all of it must be idempotent.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import asyncpg

from pipeline.errors import CatalogUnavailable, SettingsError
from pipeline.metrics import request

T = TypeVar("T")

_CONNECT_S = 5.0
_COMMAND_S = 10.0
PATIENCE_S = 10.0
"""How long a call tries to reach a server that is away: longer than its restart takes."""
_START_PATIENCE_S = 30.0
_DELAY_S, _LONGEST_DELAY_S = 0.05, 1.0
_CONNECTIONS = 10

_REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
AWAY = (
    OSError,  # TimeoutError too
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # use of an idle connection that the server has just ended
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""The server starts, stops, is full, a standby, or its connection is lost: it may come back."""


class Database:
    """One database behind a pool of connections."""

    def __init__(self, dsn: str, patience_s: float = PATIENCE_S) -> None:
        self._dsn, self._patience_s = dsn, patience_s
        self._pool: asyncpg.Pool | None = None

    async def make(self) -> None:
        """The database, unless it is there."""
        with self._in_our_words():
            try:
                await close_quietly(await self.connect())
            except asyncpg.InvalidCatalogNameError:
                await self._create_database()

    async def open(self, prepare: Callable[[asyncpg.Connection], Awaitable[object]]) -> None:
        """Make the database if it is missing, run ``prepare`` on it, and open the pool."""

        async def first_contact() -> None:
            try:
                connection = await self.connect()
            except asyncpg.InvalidCatalogNameError:
                await self._create_database()
                connection = await self.connect()
            try:
                await prepare(connection)
            finally:
                await close_quietly(connection)

        await self._patiently("open", first_contact, _START_PATIENCE_S)
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=_CONNECTIONS,
            timeout=_CONNECT_S,
            command_timeout=_COMMAND_S,
            server_settings=_SERVER_SETTINGS,
            reset=_as_it_is,
        )

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), _CONNECT_S)
        except AWAY:
            pool.terminate()

    async def connect(self, **more: str) -> asyncpg.Connection:
        """A connection outside the pool, for the caller to close. Raises asyncpg's errors."""
        try:
            connection: asyncpg.Connection = await asyncpg.connect(
                self._dsn,
                timeout=_CONNECT_S,
                command_timeout=_COMMAND_S,
                server_settings=_SERVER_SETTINGS,
                **more,
            )
        except ValueError:
            # Its message may quote the URL, password and all.
            raise SettingsError(
                "DATABASE_URL cannot be read", "Percent-encode special characters in it"
            ) from None
        return connection

    @asynccontextmanager
    async def session(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of its own for work that takes long. Raises ``CatalogUnavailable``."""
        with self._in_our_words():
            connection = await self.connect()
            try:
                yield connection
            finally:
                await close_quietly(connection)

    async def run(
        self,
        work: Callable[[asyncpg.Connection], Awaitable[T]],
        *,
        patience_s: float | None = None,
    ) -> T:
        """Do idempotent ``work`` on a connection; again while the server is away.

        Raises ``CatalogUnavailable`` after ``patience_s``, by default that of the whole database.
        """
        patience_s = self._patience_s if patience_s is None else patience_s
        deadline = asyncio.get_running_loop().time() + patience_s

        async def attempt() -> T:
            async with asyncio.timeout_at(deadline), self._acquire() as connection:
                return await work(connection)

        return await self._patiently("call", attempt, patience_s)

    async def transact(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """``run`` in a transaction, that of the default isolation (read committed)."""

        async def in_transaction(connection: asyncpg.Connection) -> T:
            async with connection.transaction():
                return await work(connection)

        return await self.run(in_transaction)

    @asynccontextmanager
    async def _acquire(self) -> AsyncIterator[asyncpg.Connection]:
        if self._pool is None:
            raise CatalogUnavailable("The catalogue is not open")
        try:
            async with self._pool.acquire(timeout=_CONNECT_S) as connection:
                yield connection
        except AWAY:
            if self._pool is not None:
                await self._pool.expire_connections()
            raise

    async def _patiently(
        self, operation: str, attempt: Callable[[], Awaitable[T]], patience_s: float
    ) -> T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        delay_s = _DELAY_S
        with self._in_our_words():
            while True:
                try:
                    with request("postgres", operation, away=(*AWAY, *_REFUSED)):
                        return await attempt()
                except AWAY as error:
                    pause_s = delay_s * random.uniform(0.5, 1.0)
                    if isinstance(error, asyncpg.DataError) or loop.time() + pause_s >= deadline:
                        raise
                await asyncio.sleep(pause_s)
                delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except _REFUSED as error:
            raise CatalogUnavailable(f"PostgreSQL{self._address()} refuses us: {error}") from error
        except asyncpg.DataError:
            raise
        except AWAY as error:
            what = str(error) or type(error).__name__
            raise CatalogUnavailable(f"PostgreSQL{self._address()} is away: {what}") from error

    def _address(self) -> str:
        _, at, address = urlsplit(self._dsn).netloc.rpartition("@")
        return f" at {address}" if at else ""

    async def _create_database(self) -> None:
        name = unquote(urlsplit(self._dsn).path.removeprefix("/")).replace('"', '""')
        connection = await self.connect(database="postgres")
        try:
            # Another process of ours may be making it at this moment.
            with suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                await connection.execute(f'CREATE DATABASE "{name}"')
        finally:
            await close_quietly(connection)


_SERVER_SETTINGS = {
    "application_name": "vodray",
    # A client that vanishes in a transaction must not hold its locks until TCP notices.
    "idle_in_transaction_session_timeout": "30s",
}


async def _as_it_is(_: asyncpg.Connection) -> None:
    """Nothing of ours leaves session state behind; resetting it would cost each call a round trip
    more."""


async def close_quietly(connection: asyncpg.Connection) -> None:
    """Close within a bound, whatever state the connection is in."""
    try:
        await connection.close(timeout=_CONNECT_S)
    except AWAY:
        connection.terminate()
