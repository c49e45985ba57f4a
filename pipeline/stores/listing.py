"""Lists of recordings as SQL: only the conditions that are asked for, so that PostgreSQL can choose
an index by them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pipeline.stores.catalog import Wanted

_LIKE = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})


def page_query(
    columns: str, wanted: Wanted, before: tuple[datetime, UUID] | None, limit: int
) -> tuple[str, list[Any]]:
    """``(statement, parameters)``: newest first by ``(created_at, id)``."""
    parameters: list[Any] = []

    def place(value: Any) -> str:
        parameters.append(value)
        return f"${len(parameters)}"

    conditions = ["deleted_at IS NULL"]
    if before is not None:
        conditions.append(f"(created_at, id) < ({place(before[0])}, {place(before[1])})")
    if wanted.statuses:
        statuses = [status.value for status in wanted.statuses]
        conditions.append(f"status = ANY({place(statuses)}::recording_status[])")
    if wanted.text:
        pattern = f"%{wanted.text.lower().translate(_LIKE)}%"
        conditions.append(f"searched LIKE {place(pattern)}")
    for column, value, compares in (
        ("stream_id", wanted.stream_id, "="),
        ("user_id", wanted.user_id, "="),
        ("started_at", wanted.since, ">="),
        ("started_at", wanted.until, "<"),
    ):
        if value is not None:
            conditions.append(f"{column} {compares} {place(value)}")
    # Made of fixed text and places of parameters alone.
    return (
        f"SELECT {columns} FROM recordings WHERE {' AND '.join(conditions)} "  # noqa: S608
        f"ORDER BY created_at DESC, id DESC LIMIT {place(limit)}",
        parameters,
    )
