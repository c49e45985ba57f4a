"""Reads the ``moov`` of an MP4 as a player of plain MP4 does (ISO/IEC 14496-12 8.6, 8.7).

Shares no code with ``stitch``, which wrote it. The bytes may be anybody's: what is claimed is held
against what is there before memory is taken for it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import MediaInvalid
from pipeline.media import boxes
from pipeline.media.samples import Flags, Ints, narrow

# 60 pictures per second for two weeks.
MAX_SAMPLES = 2**26


@dataclass(frozen=True, slots=True, kw_only=True)
class TableTrack:
    """One ``trak``; columns of shape ``(n,)``, offsets in the object, times in track ticks.

    ``entry`` numbers the sample ``entries`` from 0. ``wait_s``/``skip``: the edit list as the
    seconds before the track starts to be presented, and the ticks of it that are never shown.
    """

    kind: str
    timescale: int
    offset: Ints
    size: Ints
    dts: Ints
    cts: Ints
    key: Flags
    wait_s: float
    skip: int
    entries: tuple[bytes, ...]
    entry: Ints


@boxes.reading("moov")
def read_tables(head: bytes) -> tuple[Iterator[TableTrack], int, int]:
    """``(tracks, first byte of the outer mdat's content, size of the whole object)``. A track is
    read when it is asked for, and raises ``MediaInvalid`` then."""
    moov = boxes.need(head, "moov")
    mdat = boxes.read_header(head, moov.end, 2**63)
    if mdat.kind != b"mdat":
        raise MediaInvalid(f"moov is followed by {mdat.kind!r}, not by mdat")
    mvhd = boxes.need(head, "mvhd", moov.body, moov.end).body
    (movie_timescale,) = struct.unpack_from(">I", head, mvhd + (20 if head[mvhd] else 12))
    tracks = (
        _Trak(head, box).read(movie_timescale)
        for box in boxes.walk(head, moov.body, moov.end)
        if box.kind == b"trak"
    )
    return tracks, mdat.body, mdat.end


def sample_offsets(run_offset: Ints, run_count: Ints, size: Ints) -> Ints:
    """Where each sample begins, from where each run of neighbouring samples begins."""
    starts: Ints = _sums_before(size)
    first = _sums_before(run_count)
    starts += np.repeat(run_offset - starts[first], run_count)
    return starts


def _sums_before(values: Ints) -> Ints:
    sums = np.cumsum(values, dtype=np.int64)
    sums -= values
    return sums


class _Trak:
    """The boxes of one ``trak``."""

    def __init__(self, head: bytes, trak: boxes.Box) -> None:
        self._head, self._trak = head, trak
        self._stbl = boxes.need(head, "mdia/minf/stbl", trak.body, trak.end)

    @boxes.reading("moov")
    def read(self, movie_timescale: int) -> TableTrack:
        head = self._head
        mdhd, hdlr = self._body("mdia/mdhd"), self._body("mdia/hdlr")
        (timescale,) = struct.unpack_from(">I", head, mdhd + (20 if head[mdhd] else 12))
        if not timescale or not movie_timescale:
            raise MediaInvalid("a time scale is 0")
        size = self._sizes()
        run_offset, run_count, run_entry = self._runs(len(size))
        entries = self._entries()
        if len(run_entry) and not 0 <= run_entry.min() <= run_entry.max() < len(entries):
            raise MediaInvalid("stsc names sample entries that are not there")
        wait, skip = self._edits()
        return TableTrack(
            kind={b"vide": "video", b"soun": "audio"}.get(
                bytes(head[hdlr + 8 : hdlr + 12]), "other"
            ),
            timescale=timescale,
            offset=sample_offsets(run_offset, run_count, size),
            size=size,
            dts=_sums_before(self._spread("stts", ">u4", len(size))),
            cts=self._spread("ctts", ">i4", len(size))
            if self._has("ctts")
            else np.zeros(len(size), np.int32),
            key=self._keys(len(size)),
            wait_s=wait / movie_timescale,
            skip=skip,
            entries=entries,
            entry=np.repeat(narrow(run_entry), run_count),
        )

    def _body(self, path: str) -> int:
        return boxes.need(self._head, path, self._trak.body, self._trak.end).body

    def _has(self, kind: str) -> bool:
        return boxes.find(self._head, kind, self._stbl.body, self._stbl.end) is not None

    def _rows(self, kind: str, columns: int, dtype: str = ">u4") -> npt.NDArray[np.int64]:
        """The rows of a table, shape ``(n, columns)``."""
        box = boxes.need(self._head, kind, self._stbl.body, self._stbl.end)
        (count,) = struct.unpack_from(">I", self._head, box.body + 4)
        if box.body + 8 + count * columns * np.dtype(dtype).itemsize != box.end:
            raise MediaInvalid(f"{kind} claims {count} rows")
        flat = np.frombuffer(self._head, dtype, count * columns, box.body + 8)
        return flat.astype(np.int64).reshape(count, columns)

    def _sizes(self) -> Ints:
        stsz = boxes.need(self._head, "stsz", self._stbl.body, self._stbl.end)
        fixed, count = struct.unpack_from(">II", self._head, stsz.body + 4)
        if count > MAX_SAMPLES or (not fixed and stsz.body + 12 + 4 * count != stsz.end):
            raise MediaInvalid(f"stsz claims {count} samples")
        if fixed:
            return np.full(count, fixed, np.int64)
        return narrow(np.frombuffer(self._head, ">u4", count, stsz.body + 12).astype(np.int64))

    def _spread(self, kind: str, value: str, count: int) -> Ints:
        """A run-length coded table, one value per sample."""
        counts = self._rows(kind, 2)[:, 0]
        if int(counts.sum()) != count:
            raise MediaInvalid(f"{kind} and stsz of one track differ in length")
        return np.repeat(narrow(self._rows(kind, 2, value)[:, 1]), counts)

    def _entries(self) -> tuple[bytes, ...]:
        stsd = boxes.need(self._head, "stsd", self._stbl.body, self._stbl.end)
        return tuple(
            self._head[box.start : box.end]
            for box in boxes.walk(self._head, stsd.body + 8, stsd.end)
        )

    def _runs(self, count: int) -> tuple[Ints, Ints, Ints]:
        """Where each run of samples begins, how many it holds and of which entry (``stsc`` and
        ``co64``)."""
        run_offset = self._rows("co64", 1, ">u8")[:, 0]
        stsc = self._rows("stsc", 3)
        first = np.append(stsc[:, 0], len(run_offset) + 1)
        if len(stsc) and (first[0] != 1 or (np.diff(first) <= 0).any()):
            raise MediaInvalid("stsc does not fit co64")
        run_count = np.repeat(stsc[:, 1], np.diff(first))
        if len(run_count) != len(run_offset) or int(run_count.sum()) != count:
            raise MediaInvalid("stsc and stsz of one track differ in length")
        return run_offset, run_count, np.repeat(stsc[:, 2], np.diff(first)) - 1

    def _keys(self, count: int) -> Flags:
        if not self._has("stss"):
            return np.ones(count, np.bool_)
        numbers = self._rows("stss", 1)[:, 0]
        if len(numbers) and (numbers.min() < 1 or numbers.max() > count):
            raise MediaInvalid("stss names samples that are not there")
        keys = np.zeros(count, np.bool_)
        keys[numbers - 1] = True
        return keys

    def _edits(self) -> tuple[int, int]:
        """Movie ticks of waiting, and track ticks that are skipped (8.6.6)."""
        elst = boxes.find(self._head, "edts/elst", self._trak.body, self._trak.end)
        if elst is None:
            return 0, 0
        form, step = (">Qq", 20) if self._head[elst.body] else (">Ii", 12)
        (count,) = struct.unpack_from(">I", self._head, elst.body + 4)
        if elst.body + 8 + count * step != elst.end:
            raise MediaInvalid(f"elst claims {count} rows")
        wait = 0
        for i in range(count):
            length, media_time = struct.unpack_from(form, self._head, elst.body + 8 + i * step)
            if media_time >= 0:
                return wait, media_time
            wait += length
        return wait, 0
