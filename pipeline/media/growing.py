"""A playlist that is read again and again, and is longer each time: only what is new is parsed.

A stream of twelve hours lists 10 800 segments, which takes half a second to parse, every four
seconds. What was there before is compared byte by byte; what comes behind it is parsed with a
head that tells what holds there. Where a playlist has anything that reaches further than that, all
of it is parsed: the result is always that of ``playlist.parse``.
"""

import re
from dataclasses import dataclass, replace

from pipeline.errors import SourceError
from pipeline.media.playlist import MasterPlaylist, MediaPlaylist, dated, parse, repeats
from pipeline.media.playlist_text import PlaylistLimits
from pipeline.model import Segment

# An encoder may still change what it wrote last, and adds EXT-X-ENDLIST behind it.
_STILL_OPEN = 4
# Not worth it for a live window.
_SHORT = 64
_TAG = re.compile(rb"^#EXT[A-Za-z0-9-]*", re.MULTILINE)
_HEAD = frozenset(
    {b"#EXT-X-VERSION", b"#EXT-X-TARGETDURATION", b"#EXT-X-PLAYLIST-TYPE", b"#EXT-X-ALLOW-CACHE",
     b"#EXT-X-INDEPENDENT-SEGMENTS"}
)  # fmt: skip
_NUMBERS = frozenset({b"#EXT-X-MEDIA-SEQUENCE", b"#EXT-X-DISCONTINUITY-SEQUENCE"})
_OF_SEGMENTS = frozenset({b"#EXTINF", b"#EXT-X-DISCONTINUITY", b"#EXT-X-PROGRAM-DATE-TIME"})
_LASTING = frozenset({b"#EXT-X-MAP", b"#EXT-X-KEY"})
_END, _DATE = b"#EXT-X-ENDLIST", b"#EXT-X-PROGRAM-DATE-TIME"
_IN_TAIL = _OF_SEGMENTS | _LASTING | {_END}
_ANYWHERE = _IN_TAIL | _HEAD | _NUMBERS | {b"#EXTM3U"}


@dataclass(frozen=True, slots=True)
class _Before:
    """``data``: how the playlist began; ``segments``: of that; ``head``: tags that hold behind it
    but for numbers; ``lasting``: the one kind of ``_LASTING`` that it has, and its last line."""

    data: bytes
    segments: tuple[Segment, ...]
    head: bytes
    lasting: tuple[bytes, bytes]


class GrowingPlaylist:
    """One playlist; call ``read`` with each state of it."""

    def __init__(self) -> None:
        self._before: _Before | None = None

    def read(self, data: bytes, ref: str, limits: PlaylistLimits) -> MediaPlaylist | MasterPlaylist:
        """See ``playlist.parse``."""
        before = self._before
        if before is not None and len(data) <= limits.max_bytes and data.startswith(before.data):
            grown = self._read_on(before, data, ref, limits)
            if grown is not None:
                return grown
        self._before = None
        found = parse(data, ref, limits)
        if isinstance(found, MediaPlaylist) and len(found.segments) >= _SHORT:
            self._before = _remember(None, data, found.segments)
        return found

    def _read_on(
        self, before: _Before, data: bytes, ref: str, limits: PlaylistLimits
    ) -> MediaPlaylist | None:
        """None where all of it has to be parsed."""
        tail = data[len(before.data) :]
        if not _is_plain(tail, _IN_TAIL) or _other(before.lasting[0]) in tail:
            return None
        last = before.segments[-1]
        dates = tail.count(_DATE)
        if dates and last.program_date_time is None:
            return None
        number = b"#EXT-X-MEDIA-SEQUENCE:%d\n" % (last.sequence + 1)
        head = before.head + number + before.lasting[1]
        try:
            found = parse(head + tail, ref, limits)
        except SourceError:
            # With the right number of its line.
            return None
        if not isinstance(found, MediaPlaylist) or not found.segments:
            return None
        # A date holds back to what has none.
        if dates not in (0, len(found.segments)) or repeats(last, found.segments[0]):
            return None
        if len(before.segments) + len(found.segments) > limits.max_segments:
            return None
        new = (replace(s, era=s.era + last.era) if last.era else s for s in found.segments)
        segments = (*before.segments, *tuple(dated((last, *new)))[1:])
        self._before = _remember(before, data, segments)
        return MediaPlaylist(
            segments=segments, target_duration_s=found.target_duration_s, ended=found.ended
        )


def _remember(before: _Before | None, data: bytes, segments: tuple[Segment, ...]) -> _Before | None:
    """None if the playlist has anything that reaches further than to the next segment."""
    known, start = (before.segments, len(before.data)) if before else ((), 0)
    new = data[start:]
    if before is None and not _is_plain(new, _ANYWHERE):
        return None
    ends = _ends_of_addresses(new)
    if len(ends) != len(segments) - len(known):
        return before
    count = len(ends) - _STILL_OPEN
    if count <= 0:
        return before
    taken = new[: ends[count - 1]]
    if _END in taken:
        return None
    lasting = _last_lasting(taken, before.lasting if before else (b"", b""))
    head = before.head if before else _head_of(taken)
    if lasting is None or head is None:
        return None
    return _Before(data[: start + len(taken)], segments[: len(known) + count], head, lasting)


def _is_plain(data: bytes, understood: frozenset[bytes]) -> bool:
    """Only tags that are understood here, each on a line of its own."""
    if not data.isascii() or b"\0" in data or data.count(b"\r") != data.count(b"\r\n"):
        return False
    tags = _TAG.findall(data)
    return len(tags) == data.upper().count(b"#EXT") and understood.issuperset(tags)


def _ends_of_addresses(data: bytes) -> list[int]:
    """Behind each line that is no tag and no comment."""
    ends, at = [], 0
    for line in data.splitlines(keepends=True):
        at += len(line)
        shown = line.strip()
        if shown and not shown.startswith(b"#"):
            ends.append(at)
    return ends


def _head_of(data: bytes) -> bytes | None:
    """The tags that hold for all of it; None without a target duration, which segments without
    one of their own would have."""
    lines = data.splitlines()
    held = [line for line in lines if line.partition(b":")[0].strip() in _HEAD]
    names = [line.partition(b":")[0].strip() for line in held]
    if b"#EXT-X-TARGETDURATION" not in names or len(set(names)) != len(names):
        return None
    return b"\n".join([b"#EXTM3U", *held, b""])


def _last_lasting(data: bytes, before: tuple[bytes, bytes]) -> tuple[bytes, bytes] | None:
    """None where there are both kinds: which key an init has depends on their order."""
    kind, line = before
    for each in data.splitlines(keepends=True):
        name = each.partition(b":")[0].strip()
        if name in _LASTING:
            if kind not in (b"", name):
                return None
            kind, line = name, each
    return kind, line


def _other(kind: bytes) -> bytes:
    """The kind of ``_LASTING`` that there must not be beside this one."""
    return b"#EXT-X-KEY:" if kind == b"#EXT-X-MAP" else b"#EXT-X-MAP:"
