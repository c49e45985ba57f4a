"""MP4 that would exhaust us, found before FFmpeg sees it.

A hundred bytes can make FFmpeg's demuxer allocate gigabytes: samples that all have one size,
fragments whose samples have no fields of their own, edit lists that show the same samples again and
again, a compressed ``moov``. FFmpeg forgives boxes that are longer than what holds them and finds
``moov`` under other names: so does this.
"""

import re
import struct
from collections.abc import Iterator, Sequence

from pipeline.errors import MediaInvalid
from pipeline.media.boxes import Box
from pipeline.media.limits import MediaLimits
from pipeline.media.segments import has_torn_boxes

MAX_STREAMS = 64
_MAX_BOXES = 2**20
_MAX_DEPTH = 16
_CONTAINERS = frozenset(
    b"moov hoov trak mdia minf stbl edts mvex moof traf udta dinf tref wave sinf schi ilst".split()
)
# FFmpeg makes room for as many entries as they claim: where version 0 and later ones say how many,
# and how many bytes one has at least.
_TABLES = {b"keys": (4, 4, 8), b"iinf": (None, 4, 8), b"sgpd": (8, 12, 1)}
_TABLE_NAME = re.compile(b"keys|iinf|sgpd|cmov|trak|trun")


def refuse_bombs(pieces: Sequence[bytes], limits: MediaLimits) -> None:
    """Raises ``MediaInvalid`` if the pieces, joined, declare more than they may."""
    whole = [piece for piece in pieces if piece]
    if any(map(has_torn_boxes, whole[:-1])):
        whole = [b"".join(whole)]
    count = _Count(limits)
    for piece in whole:
        count.look(piece, 0, len(piece))


class _Count:
    """What has been declared so far."""

    def __init__(self, limits: MediaLimits) -> None:
        self._limits = limits
        self._boxes = self._tracks = self._samples = 0

    def look(self, data: bytes, start: int, end: int) -> None:
        for box in self._boxes_of(data, start, end, 0):
            if box.kind == b"trak":
                self._track(data, box)
            elif box.kind == b"trun":
                self._add(_word(data, box, 4))
            elif box.kind in _TABLES:
                _refuse_lie(data, box)
            elif box.kind == b"stsd" and _TABLE_NAME.search(data, box.body, box.end):
                # Sample entries hold boxes at an offset that depends on what they are.
                raise MediaInvalid("its sample entries hold tables that do not belong there")
            elif box.kind == b"cmov":
                raise MediaInvalid("its moov is compressed (cmov)")

    def _track(self, data: bytes, trak: Box) -> None:
        """FFmpeg makes an index of all samples, once for each edit."""
        self._tracks += 1
        if self._tracks > MAX_STREAMS:
            raise MediaInvalid(f"it declares more than {MAX_STREAMS} streams")
        edits, samples = 1, 0
        for box in self._boxes_of(data, trak.body, trak.end, 0):
            if box.kind == b"elst":
                edits = max(edits, _word(data, box, 4))
            elif box.kind in (b"stsz", b"stz2"):
                samples = max(samples, _word(data, box, 8))
        self._add(edits * samples)

    def _add(self, samples: int) -> None:
        self._samples += samples
        self._limits.refuse_packets(self._samples)

    def _boxes_of(self, data: bytes, start: int, end: int, depth: int) -> Iterator[Box]:
        """All boxes between ``start`` and ``end``, each before those that it holds."""
        if depth > _MAX_DEPTH:
            raise MediaInvalid(f"more than {_MAX_DEPTH} boxes inside each other")
        for box in self._walk(data, start, end):
            yield box
            if box.kind in _CONTAINERS or _is_hidden_moov(data, box):
                yield from self._boxes_of(data, box.body, box.end, depth + 1)
            elif box.kind == b"meta":
                # QuickTime's has no version and flags.
                for begin in (box.body, box.body + 4):
                    yield from self._boxes_of(data, begin, box.end, depth + 1)

    def _walk(self, data: bytes, start: int, end: int) -> Iterator[Box]:
        """What claims to be longer than what holds it ends there."""
        at = start
        while at + 8 <= end:
            self._boxes += 1
            if self._boxes > _MAX_BOXES:
                raise MediaInvalid(f"more than {_MAX_BOXES} boxes")
            size, kind = struct.unpack_from(">I4s", data, at)
            body = at + 8
            if size == 1 and at + 16 <= end:
                (size,) = struct.unpack_from(">Q", data, body)
                body = at + 16
            elif size == 0:
                size = end - at
            if size < body - at:
                return
            yield Box(kind, at, body, min(end, at + size))
            at += size


def _is_hidden_moov(data: bytes, box: Box) -> bool:
    """FFmpeg takes free space that begins like a ``moov`` for one."""
    return box.kind == b"free" and data[box.body + 4 : box.body + 8] in (b"mvhd", b"cmov")


def _word(data: bytes, box: Box, at: int) -> int:
    """The 32 bits at ``at`` of the content; 0 where it ends before."""
    begin = box.body + at
    return int.from_bytes(data[begin : begin + 4], "big") if begin + 4 <= box.end else 0


def _refuse_lie(data: bytes, box: Box) -> None:
    of_first, of_later, entry_bytes = _TABLES[box.kind]
    at = of_later if _word(data, box, 0) >> 24 else of_first
    if at is not None and _word(data, box, at) * entry_bytes > box.end - box.body:
        raise MediaInvalid(f"its table {box.kind.decode()} has no room for what it claims to hold")
