"""Conditions and ranges of requests for an object (RFC 9110 sections 13 and 14)."""

import re
from dataclasses import dataclass

from starlette.datastructures import Headers

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_LONGEST_NUMBER = 20


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from ``first`` to ``last``, both of them included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


class OutOfRange(Exception):
    """Nothing of the object is in the range."""


def asked_span(headers: Headers, size: int, etag: str) -> Span | None:
    """None: all of it, also where a range has to be ignored: one of another form, several at once,
    or of another version than there is (``If-Range``). Raises ``OutOfRange``."""
    match = _RANGE.fullmatch(headers.get("range", "").strip())
    if match is None or max(map(len, match.groups())) > _LONGEST_NUMBER:
        return None
    told = headers.get("if-range")
    if told is not None and told != etag:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        count = min(int(last), size)
        span = Span(size - count, size - 1)
    else:
        span = Span(int(first), min(int(last or size), size - 1))
        if last and int(last) < int(first):
            return None
    if span.first >= size or span.length <= 0:
        raise OutOfRange
    return span


def is_known(told: str | None, etag: str) -> bool:
    """Whether the caller has this version already, by ``If-None-Match``: 304."""
    if told is None:
        return False
    known = [tag.strip().removeprefix("W/") for tag in told.split(",")]
    return etag in known or "*" in known


def is_other(headers: Headers, etag: str) -> bool:
    """Whether the caller wants only another version than there is: 412."""
    told = headers.get("if-match")
    return told is not None and not {etag, "*"} & {tag.strip() for tag in told.split(",")}
