"""Judges a hybrid MP4: do the sample tables say what the fragments say, and do the bytes exist?

Reads back the ``moov`` that was written (ISO/IEC 14496-12 8.6, 8.7) with code of its own and holds
it against the fragments' ``trun`` boxes and the HLS byte ranges. ``stitch`` never calls this.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import MediaInvalid, VerificationFailed
from pipeline.media import boxes
from pipeline.media.samples import Ints, TrackSamples


@dataclass(frozen=True, slots=True, kw_only=True)
class TableTrack:
    """One ``trak`` as a player of plain MP4 reads it; columns of shape ``(n,)``, offsets in the
    object."""

    kind: str
    timescale: int
    offset: Ints
    size: Ints
    dts: Ints
    cts: Ints
    key: np.ndarray
    edits: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FragmentSamples:
    """The same from the fragments: ``offset`` absolute, shape ``(n,)``."""

    kind: str
    offset: Ints
    size: Ints
    cts: Ints
    key: np.ndarray


def fragment_samples(kind: str, tracks: Sequence[tuple[int, TrackSamples]]) -> FragmentSamples:
    """Join one lane's samples over all spans: ``(where the chunk begins, samples)`` in order."""
    return FragmentSamples(
        kind=kind,
        offset=np.concatenate(
            [base + sample_offsets(t.run_offset, t.run_count, t.size) for base, t in tracks]
        ),
        size=np.concatenate([t.size for _, t in tracks]),
        cts=np.concatenate([t.cts for _, t in tracks]),
        key=np.concatenate([t.key for _, t in tracks]),
    )


def sample_offsets(run_offset: Ints, run_count: Ints, size: Ints) -> Ints:
    """Where each sample begins, from where each run of neighbouring samples begins."""
    before = np.cumsum(size) - size
    first = np.cumsum(run_count) - run_count
    starts: Ints = before + np.repeat(run_offset - before[first], run_count)
    return starts


@boxes.reading("moov")
def read_tables(head: bytes) -> tuple[list[TableTrack], int, int]:
    """``(tracks, first byte of the outer mdat's content, size of the whole object)``."""
    moov = boxes.need(head, "moov")
    mdat = boxes.read_header(head, moov.end, 2**63)
    if mdat.kind != b"mdat":
        raise MediaInvalid(f"moov is followed by {mdat.kind!r}, not by mdat")
    tracks = [
        _read_trak(head, trak)
        for trak in boxes.walk(head, moov.body, moov.end)
        if trak.kind == b"trak"
    ]
    return tracks, mdat.body, mdat.end


def check_tables(
    tables: Sequence[TableTrack], fragments: Sequence[FragmentSamples], body: int, size: int
) -> dict[str, int]:
    """Raise ``VerificationFailed`` at the first thing that is not as it must be."""
    if len(tables) != len(fragments):
        raise VerificationFailed(f"{len(tables)} tracks in moov, {len(fragments)} in fragments")
    for number, (table, truth) in enumerate(zip(tables, fragments, strict=True), 1):
        name = f"track {number} ({table.kind})"
        for column in ("offset", "size", "cts", "key"):
            _same(getattr(table, column), getattr(truth, column), f"{name}: {column}")
        if (np.diff(table.dts) <= 0).any():
            at = int(np.flatnonzero(np.diff(table.dts) <= 0)[0])
            raise VerificationFailed(f"{name}: decode time does not grow behind sample {at}")
        if len(table.offset) and (
            int(table.offset.min()) < body or int((table.offset + table.size).max()) > size
        ):
            raise VerificationFailed(f"{name}: a sample lies outside the object")
    return {"tracks": len(tables), "samples": sum(len(table.size) for table in tables)}


def check_ranges(ranges: Sequence[tuple[int, int]], fragments: Sequence[tuple[int, int]]) -> int:
    """HLS ranges against fragments, both as ``(first byte, byte behind)``: each fragment in exactly
    one range, nothing else in any. Returns the number of ranges."""
    starts, ends = {a for a, _ in fragments}, {b for _, b in fragments}
    for first, behind in ranges:
        if first not in starts or behind not in ends:
            raise VerificationFailed(
                f"HLS range {first}-{behind} does not begin and end at fragments"
            )
    covered = sum(behind - first for first, behind in ranges)
    if covered != sum(b - a for a, b in fragments) or list(ranges) != sorted(set(ranges)):
        raise VerificationFailed("HLS ranges and fragments do not hold the same bytes")
    return len(ranges)


def _same(found: np.ndarray, truth: np.ndarray, what: str) -> None:
    if len(found) != len(truth):
        raise VerificationFailed(f"{what}: {len(found)} in moov, {len(truth)} in fragments")
    wrong = np.flatnonzero(found != truth)
    if len(wrong):
        at = int(wrong[0])
        raise VerificationFailed(
            f"{what} of sample {at}: {found[at]} in moov, {truth[at]} in its fragment"
        )


def _read_trak(head: bytes, trak: boxes.Box) -> TableTrack:
    def body(path: str) -> int:
        return boxes.need(head, path, trak.body, trak.end).body

    stbl = boxes.need(head, "mdia/minf/stbl", trak.body, trak.end)

    def rows(kind: str, columns: int, dtype: str = ">u4") -> np.ndarray:
        found = boxes.find(head, kind, stbl.body, stbl.end)
        if found is None:
            return np.zeros((0, columns), np.int64)
        (count,) = struct.unpack_from(">I", head, found.body + 4)
        if found.body + 8 + count * columns * np.dtype(dtype).itemsize > found.end:
            raise MediaInvalid(f"{kind} claims {count} rows")
        flat = np.frombuffer(head, dtype, count * columns, found.body + 8)
        return flat.astype(np.int64).reshape(count, columns)

    stsz = body("mdia/minf/stbl/stsz")
    fixed, count = struct.unpack_from(">II", head, stsz + 4)
    if fixed:
        size = np.full(count, fixed, np.int64)
    else:
        size = np.frombuffer(head, ">u4", count, stsz + 12).astype(np.int64)
    stts, ctts, stsc = rows("stts", 2), rows("ctts", 2, ">i4"), rows("stsc", 3)
    run_offset = rows("co64", 1, ">u8")[:, 0]
    run_first = np.append(stsc[:, 0], len(run_offset) + 1)
    run_count = np.repeat(stsc[:, 1], np.diff(run_first))
    duration = np.repeat(stts[:, 1], stts[:, 0])
    sync = rows("stss", 1)[:, 0]
    key = (
        np.ones(count, bool)
        if boxes.find(head, "stss", stbl.body, stbl.end) is None
        else (np.isin(np.arange(1, count + 1), sync))
    )
    if len(duration) != count or int(run_count.sum()) != count:
        raise MediaInvalid("sample tables of one track differ in length")
    mdhd, hdlr = body("mdia/mdhd"), body("mdia/hdlr")
    return TableTrack(
        kind={b"vide": "video", b"soun": "audio"}.get(bytes(head[hdlr + 8 : hdlr + 12]), "other"),
        timescale=struct.unpack_from(">I", head, mdhd + (20 if head[mdhd] else 12))[0],
        offset=sample_offsets(run_offset, run_count, size),
        size=size,
        dts=np.cumsum(duration) - duration,
        cts=np.repeat(ctts[:, 1], ctts[:, 0]) if len(ctts) else np.zeros(count, np.int64),
        key=key,
        edits=_read_edits(head, trak),
    )


def _read_edits(head: bytes, trak: boxes.Box) -> tuple[tuple[int, int], ...]:
    elst = boxes.find(head, "edts/elst", trak.body, trak.end)
    if elst is None:
        return ()
    (count,) = struct.unpack_from(">I", head, elst.body + 4)
    form, step = (">Qq", 20) if head[elst.body] else (">Ii", 12)
    return tuple(struct.unpack_from(form, head, elst.body + 8 + i * step) for i in range(count))
