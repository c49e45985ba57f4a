"""What PostgreSQL wrote, by its own counters."""

from dataclasses import dataclass

import asyncpg


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Since the server began. ``wal_bytes``: of its log."""

    transactions: int
    wal_bytes: int

    def __sub__(self, before: "Written") -> "Written":
        return Written(
            transactions=self.transactions - before.transactions,
            wal_bytes=self.wal_bytes - before.wal_bytes,
        )


async def written(dsn: str) -> Written:
    """Connections of others tell within a second, or when they end."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        row = await connection.fetchrow(
            "SELECT sum(xact_commit)::bigint AS transactions, "
            "(pg_current_wal_lsn() - '0/0')::bigint AS wal_bytes FROM pg_stat_database"
        )
    finally:
        await connection.close(timeout=10)
    return Written(transactions=row["transactions"], wal_bytes=row["wal_bytes"])
