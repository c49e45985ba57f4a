"""The lines of a playlist: bytes in, tags and addresses with their line numbers out (RFC 8216 4.1).

Decides whether something is a playlist at all and what a line is, never what it means.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.errors import PlaylistInvalid

MAX_PLAYLIST_BYTES = 16 * 2**20
MAX_SEGMENTS = 200_000
MAX_SEGMENT_S = 24 * 3600.0
MAX_LINE = 65_536
_MAX_LINES = 1_000_000

# NUL where a file was preallocated, BOM where files were joined, NBSP where it was edited by hand.
_EDGES = " \t\v\f\0\ufeff\u00a0"
_LINE_END = re.compile(r"\r\n?|\n")
_TAG = re.compile(r"#(EXT[\w-]*)[\s:]*(.*)", re.ASCII | re.DOTALL | re.IGNORECASE)
# A writer that forgets the end of a line and appends the next tag to it.
_GLUED = re.compile(r"(?=#EXT(?:INF:|-X-|M3U))")
_NOT_UTF8 = re.compile(r"[\udc80-\udcff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NO_ADDRESS = re.compile(r"[\x00-\x1f\x7f\udc80-\udcff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaylistLimits:
    """What a playlist may ask of us; above it, it is refused."""

    max_bytes: int = MAX_PLAYLIST_BYTES
    max_segments: int = MAX_SEGMENTS
    max_segment_s: float = MAX_SEGMENT_S


class Line(NamedTuple):
    """``tag`` in capitals and without its ``#``, empty for an address, which ``value`` then is."""

    number: int
    tag: str
    value: str


def read_lines(data: bytes, ref: str, limits: PlaylistLimits) -> Iterator[Line]:
    """Every tag and address. Raises ``PlaylistInvalid`` for what is no playlist."""
    text = _decode(data, ref, limits)
    has_begun = False
    for number, written in enumerate(_LINE_END.split(text), 1):
        for piece in _GLUED.split(written) if written.find("#EXT", 1) > 0 else (written,):
            line = _line(number, piece.strip(_EDGES))
            if line is None:
                continue
            if not has_begun and not line.tag.startswith("EXTM3U"):
                raise _no_playlist(piece.strip(_EDGES)[:60], number, ref)
            if len(line.value) > MAX_LINE and _matters(line.tag):
                raise PlaylistInvalid(f"{ref}: line {number} is longer than {MAX_LINE} characters")
            has_begun = True
            yield line
    if not has_begun:
        raise PlaylistInvalid(f"{ref} is no playlist: it holds comments alone")


def _decode(data: bytes, ref: str, limits: PlaylistLimits) -> str:
    if len(data) > limits.max_bytes:
        raise PlaylistInvalid(f"{ref} is larger than {limits.max_bytes} bytes")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", errors="replace")
    else:
        text = data.decode("utf-8-sig", errors="surrogateescape")
    if not text.strip(_EDGES + "\r\n"):
        raise PlaylistInvalid(f"{ref} is empty")
    if text.count("\n") + text.count("\r") - text.count("\r\n") > _MAX_LINES:
        raise PlaylistInvalid(f"{ref} has more than {_MAX_LINES} lines")
    return text


def _line(number: int, text: str) -> Line | None:
    """None for blank lines and comments."""
    if not text.startswith("#"):
        return Line(number, "", text) if text else None
    tag = _TAG.match(text)
    return Line(number, tag[1].upper(), tag[2]) if tag else None


def _matters(tag: str) -> bool:
    return tag not in ("EXTM3U", "EXTINF", "EXT-X-DATERANGE", "EXT-X-SESSION-DATA")


def _no_playlist(shown: str, number: int, ref: str) -> PlaylistInvalid:
    if shown.startswith("<"):
        what = f"{ref} is a web page or XML, no playlist: line {number} is {shown!r}"
        return PlaylistInvalid(what)
    return PlaylistInvalid(f"{ref} is no playlist: line {number} is {shown!r} instead of #EXTM3U")


def attributes(text: str) -> dict[str, str]:
    """An attribute list (RFC 8216 4.2), names in capitals; what is no attribute is skipped."""
    found: dict[str, str] = {}
    at = 0
    while (equals := text.find("=", at)) >= 0:
        name = text[at:equals].rpartition(",")[2].strip().upper()
        start = equals + 1
        while text[start : start + 1] in (" ", "\t"):
            start += 1
        quote = text[start : start + 1]
        if quote in ('"', "'") and (quote == '"' or text.find(quote, start + 1) > 0):
            start += 1
            end = text.find(quote, start)
        else:
            end = text.find(",", start)
        end = len(text) if end < 0 else end
        value = text[start:end].strip(_EDGES)
        found[name] = address(value) if name in ("URI", "VALUE") else _words(value)
        at = end + 1
    return found


def address(text: str) -> str:
    """Percent-encoded where it holds control characters or bytes that are no UTF-8: the server
    gets the same bytes."""
    return _NO_ADDRESS.sub(lambda found: f"%{ord(found[0]) & 0xFF:02X}", text)


def _words(text: str) -> str:
    """What is no UTF-8 is Latin-1, as Windows writes it; no control characters."""
    readable = _NOT_UTF8.sub(lambda found: chr(ord(found[0]) & 0xFF), text)
    return _CONTROL.sub(" ", readable)
