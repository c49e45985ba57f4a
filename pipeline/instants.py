"""Points in time that come from outside: RFC 3339 text or seconds or milliseconds since 1970.

Raises ``InvalidTask`` for what is neither, and for times that would spoil the comparison of
broadcasts: an event from the future makes every later broadcast look like a late copy.
"""

import re
from datetime import UTC, datetime, timedelta

from pipeline.errors import InvalidTask

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
# A sender that labels its local time as UTC is at most 14 hours ahead.
MAX_AHEAD = timedelta(hours=24)

_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
# Go writes a ``time.Time`` that was never set as this.
_GO_UNSET = "0001-01-01T00:00:00Z"
_MILLISECONDS_FROM = 100_000_000_000


def parse_instant(value: object, field: str, *, now: datetime) -> datetime | None:
    """``value`` as a time in UTC; None where it says nothing (null, empty, Go's zero time)."""
    if value is None or value in ("", _GO_UNSET):
        return None
    instant = _read(value, field)
    if not EARLIEST <= instant <= now + MAX_AHEAD:
        raise InvalidTask(f"{field} is before 2000 or lies in the future")
    return instant


def format_instant(instant: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    text = instant.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def _read(value: object, field: str) -> datetime:
    try:
        if isinstance(value, str) and _RFC3339.fullmatch(value.strip()):
            return datetime.fromisoformat(value.strip().upper()).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000 if value >= _MILLISECONDS_FROM else value
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidTask(f"{field} is no valid time") from error
    raise InvalidTask(f"{field} is no RFC 3339 time with an offset, such as 2025-10-05T18:00:00Z")
