"""Lists as SQL: only the conditions that are asked for, so that PostgreSQL can choose an index by
them. Names of columns are ours; whatever comes from outside is a parameter."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pipeline.stores.catalog import Wanted

_LIKE = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})


class Page:
    """A page of rows, newest first by ``(created_at, id)``. ``before``: the last one of the page
    before it."""

    def __init__(self, before: tuple[datetime, UUID] | None) -> None:
        self._parameters: list[Any] = []
        self._conditions: list[str] = []
        if before is not None:
            self.where(f"(created_at, id) < ({self._place(before[0])}, {self._place(before[1])})")

    def where(self, condition: str) -> None:
        self._conditions.append(condition)

    def equals(self, column: str, value: Any, compares: str = "=") -> None:
        """Nothing is asked where ``value`` is None."""
        if value is not None:
            self.where(f"{column} {compares} {self._place(value)}")

    def holds(self, column: str, text: str | None) -> None:
        """Somewhere in a column of small letters."""
        if text:
            pattern = f"%{text.lower().translate(_LIKE)}%"
            self.where(f"{column} LIKE {self._place(pattern)}")

    def one_of(self, column: str, kind: str, values: list[str]) -> None:
        if values:
            self.where(f"{column} = ANY({self._place(values)}::{kind}[])")

    def any_of(self, **values: str) -> None:
        """One of these columns has its value."""
        either = " OR ".join(f"{name} = {self._place(value)}" for name, value in values.items())
        self.where(f"({either})")

    def query(self, table: str, columns: str, limit: int) -> tuple[str, list[Any]]:
        """``(statement, parameters)``."""
        where = f"WHERE {' AND '.join(self._conditions)} " if self._conditions else ""
        return (
            f"SELECT {columns} FROM {table} {where}"  # noqa: S608
            f"ORDER BY created_at DESC, id DESC LIMIT {self._place(limit)}",
            self._parameters,
        )

    def _place(self, value: Any) -> str:
        self._parameters.append(value)
        return f"${len(self._parameters)}"


def page_query(
    columns: str, wanted: Wanted, before: tuple[datetime, UUID] | None, limit: int
) -> tuple[str, list[Any]]:
    """``(statement, parameters)`` for recordings."""
    page = Page(before)
    page.where("deleted_at IS NULL")
    page.one_of("status", "recording_status", [status.value for status in wanted.statuses])
    page.holds("searched", wanted.text)
    page.equals("stream_id", wanted.stream_id)
    page.equals("user_id", wanted.user_id)
    page.equals("started_at", wanted.since, ">=")
    page.equals("started_at", wanted.until, "<")
    return page.query("recordings", columns, limit)
