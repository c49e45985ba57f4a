"""Reads the sample index from fragments that FFmpeg's muxer wrote (ISO/IEC 14496-12 8.8)."""

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.errors import MediaInvalid
from pipeline.media import boxes
from pipeline.media.samples import Ints, Span, TrackSamples

_NOT_SYNC = 0x0001_0000
_MAX_RUN_SAMPLES = 2**20
_TRUN_CTS = 0x800


def read_fragments(data: bytes | memoryview) -> tuple[Span, int]:
    """Index what FFmpeg's muxer wrote: ``ftyp moov (moof mdat)*``.

    The span's offsets count from the first byte behind the init. Returns the span and the length
    of the init in ``data``.
    """
    init_end = 0
    moofs: list[boxes.Box] = []
    for box in boxes.walk(data):
        if box.kind in (b"ftyp", b"moov") and not moofs:
            init_end = box.end
        elif box.kind == b"moof":
            moofs.append(box)
        elif box.kind != b"mdat":
            raise MediaInvalid(f"unexpected box {box.kind!r} among fragments")
    init = bytes(data[:init_end])
    starts = np.array([moof.start for moof in moofs], np.int64)
    tracks = read_moofs(data, moofs, init)
    return Span(
        init=init,
        tracks=tuple(replace(t, run_offset=t.run_offset - init_end) for t in tracks),
        fragment_offset=starts - init_end,
        fragment_size=np.diff(starts, append=len(data)),
        discontinuity=False,
        sequence=0,
    ), init_end


@boxes.reading("an init segment")
def track_heads(init: bytes) -> dict[int, tuple[int, str]]:
    """``track_ID -> (timescale, "video" | "audio" | ...)`` of a ``moov``, in its order."""
    moov = boxes.need(init, "moov")
    heads = {}
    for trak in boxes.walk(init, moov.body, moov.end):
        if trak.kind != b"trak":
            continue
        tkhd = boxes.need(init, "tkhd", trak.body, trak.end)
        mdhd = boxes.need(init, "mdia/mdhd", trak.body, trak.end)
        hdlr = boxes.need(init, "mdia/hdlr", trak.body, trak.end)
        (track_id,) = struct.unpack_from(">I", init, tkhd.body + (20 if init[tkhd.body] else 12))
        (timescale,) = struct.unpack_from(">I", init, mdhd.body + (20 if init[mdhd.body] else 12))
        handler = bytes(init[hdlr.body + 8 : hdlr.body + 12])
        heads[track_id] = (timescale, {b"vide": "video", b"soun": "audio"}.get(handler, "other"))
    return heads


@boxes.reading("a fragment")
def read_moofs(
    data: bytes | memoryview, moofs: Sequence[boxes.Box], init: bytes
) -> list[TrackSamples]:
    """All samples of the ``moof`` boxes, by tracks of ``init``; offsets as in ``data``."""
    heads = track_heads(init)
    runs: dict[int, list[Run]] = {track_id: [] for track_id in heads}
    for moof in moofs:
        for traf in boxes.walk(data, moof.body, moof.end):
            if traf.kind == b"traf":
                for run in read_traf(data, traf, moof.start):
                    if run.track_id not in runs:
                        raise MediaInvalid(f"fragment of unknown track {run.track_id}")
                    runs[run.track_id].append(run)
    return [
        join_runs(track_id, *heads[track_id], found) for track_id, found in runs.items() if found
    ]


@boxes.reading("a fragment")
def read_runs(moof: bytes) -> list["Run"]:
    """The runs of one ``moof`` box, offsets counted from its first byte."""
    (box,) = boxes.walk(moof)
    return [
        run
        for traf in boxes.walk(moof, box.body, box.end)
        if traf.kind == b"traf"
        for run in read_traf(moof, traf, 0)
    ]


def count_samples(segments: Iterable[bytes]) -> Counter[int]:
    """How many samples the fragments of a source promise, by ``track_ID``; nothing where its boxes
    are not as they should be."""
    promised: Counter[int] = Counter()
    try:
        with boxes.reading("a fragment"):
            for segment in segments:
                for moof in boxes.walk(segment):
                    if moof.kind == b"moof":
                        _count_in(segment, moof, promised)
    except MediaInvalid:
        return Counter()
    return promised


def _count_in(data: bytes, moof: boxes.Box, promised: "Counter[int]") -> None:
    for traf in boxes.walk(data, moof.body, moof.end):
        if traf.kind == b"traf":
            for trun in boxes.walk(data, traf.body, traf.end):
                if trun.kind == b"trun":
                    (count,) = struct.unpack_from(">I", data, trun.body + 4)
                    promised[_owner(data, traf)] += count


@dataclass(frozen=True, slots=True)
class Run:
    """Samples of one ``trun``: where their bytes begin, and columns of shape ``(n,)``."""

    track_id: int
    offset: int
    dts: Ints
    duration: Ints
    size: Ints
    flags: Ints
    cts: Ints


def join_runs(track_id: int, timescale: int, kind: str, runs: Sequence[Run]) -> TrackSamples:
    """Consecutive runs of one track."""

    def column(name: str) -> Ints:
        return np.concatenate([getattr(run, name) for run in runs])

    return TrackSamples(
        track_id=track_id,
        timescale=timescale,
        kind=kind,
        dts=column("dts"),
        cts=column("cts"),
        duration=column("duration"),
        size=column("size"),
        key=(column("flags") & _NOT_SYNC) == 0,
        run_offset=np.array([run.offset for run in runs], np.int64),
        run_count=np.array([len(run.size) for run in runs], np.int64),
    )


def read_traf(data: bytes | memoryview, traf: boxes.Box, moof_start: int) -> list[Run]:
    """``tfhd``, ``tfdt`` and ``trun`` (8.8.7, 8.8.12, 8.8.8) of one track fragment."""
    tfhd = boxes.need(data, "tfhd", traf.body, traf.end)
    flags, track_id = struct.unpack_from(">II", data, tfhd.body)
    at = tfhd.body + 8 + (8 if flags & 0x1 else 0) + (4 if flags & 0x2 else 0)
    defaults = dict.fromkeys(("duration", "size", "flags"), 0)
    for bit, name in ((0x8, "duration"), (0x10, "size"), (0x20, "flags")):
        if flags & bit:
            (defaults[name],) = struct.unpack_from(">I", data, at)
            at += 4
    tfdt = boxes.need(data, "tfdt", traf.body, traf.end)
    (dts,) = struct.unpack_from(">Q" if data[tfdt.body] else ">I", data, tfdt.body + 4)
    found = []
    for trun in boxes.walk(data, traf.body, traf.end):
        if trun.kind == b"trun":
            run = _read_trun(data, trun, moof_start, track_id, dts, defaults)
            found.append(run)
            dts += int(run.duration.sum())
    return found


def _read_trun(
    data: bytes | memoryview,
    trun: boxes.Box,
    moof_start: int,
    track_id: int,
    dts: int,
    defaults: dict[str, int],
) -> Run:
    flags, count = struct.unpack_from(">II", data, trun.body)
    at = trun.body + 8
    offset, first_flags = 0, None
    if flags & 0x1:
        (offset,) = struct.unpack_from(">i", data, at)
        at += 4
    if flags & 0x4:
        (first_flags,) = struct.unpack_from(">I", data, at)
        at += 4
    present = [
        name
        for bit, name in ((0x100, "duration"), (0x200, "size"), (0x400, "flags"), (0x800, "cts"))
        if flags & bit
    ]
    if count > _MAX_RUN_SAMPLES or at + 4 * count * len(present) > trun.end:
        raise MediaInvalid(f"trun at byte {trun.start} claims {count} samples")
    table = np.frombuffer(data, ">u4", count * len(present), at).reshape(count, len(present))
    columns = {name: table[:, i].astype(np.int64) for i, name in enumerate(present)}
    for name, value in defaults.items():
        columns.setdefault(name, np.full(count, value, np.int64))
    if first_flags is not None and count:
        columns["flags"][0] = first_flags
    cts = columns.get("cts", np.zeros(count, np.int64))
    duration = columns["duration"]
    return Run(
        track_id=track_id,
        offset=moof_start + offset,
        dts=dts + np.cumsum(duration) - duration,
        duration=duration,
        size=columns["size"],
        flags=columns["flags"],
        cts=np.where(cts >= 2**31, cts - 2**32, cts),
    )


@boxes.reading("a fragment")
def show_from_start(data: memoryview, span: Span) -> None:
    """Move decode times in the ``moof`` boxes so that each track is decoded from when its first
    sample is shown, with composition offsets below zero where pictures are reordered.

    Players that join pieces by decode times (hls.js at a discontinuity) then join them by what is
    seen. ``data``: what ``span`` was read from, behind the init. Only these bytes change, not the
    span: ``moov`` keeps the source's decode times.
    """
    later = {track.track_id: int(track.cts[0]) for track in span.tracks if track.cts[0] > 0}
    if not later:
        return
    trafs = [
        traf
        for start in span.fragment_offset
        for traf in boxes.walk(*_inside(data, int(start)))
        if traf.kind == b"traf"
    ]
    owners = [_owner(data, traf) for traf in trafs]
    fixed = {owner for owner, traf in zip(owners, trafs, strict=True) if not _has_cts(data, traf)}
    for owner, traf in zip(owners, trafs, strict=True):
        if owner in later and owner not in fixed:
            _decode_later(data, traf, later[owner])


def _inside(data: memoryview, start: int) -> tuple[memoryview, int, int]:
    moof = boxes.read_header(data, start, len(data))
    return data, moof.body, moof.end


def _owner(data: bytes | memoryview, traf: boxes.Box) -> int:
    tfhd = boxes.need(data, "tfhd", traf.body, traf.end)
    return int(struct.unpack_from(">I", data, tfhd.body + 4)[0])


def _truns(data: memoryview, traf: boxes.Box) -> Iterator[tuple[boxes.Box, int]]:
    """Each with its flags."""
    for box in boxes.walk(data, traf.body, traf.end):
        if box.kind == b"trun":
            yield box, struct.unpack_from(">I", data, box.body)[0]


def _has_cts(data: memoryview, traf: boxes.Box) -> bool:
    return all(flags & _TRUN_CTS for _, flags in _truns(data, traf))


def _decode_later(data: memoryview, traf: boxes.Box, by: int) -> None:
    tfdt = boxes.need(data, "tfdt", traf.body, traf.end)
    form = ">Q" if data[tfdt.body] else ">I"
    (time,) = struct.unpack_from(form, data, tfdt.body + 4)
    struct.pack_into(form, data, tfdt.body + 4, time + by)
    for trun, flags in _truns(data, traf):
        data[trun.body] = 1  # signed offsets
        (count,) = struct.unpack_from(">I", data, trun.body + 4)
        columns = (flags >> 8 & 0xF).bit_count()
        at = trun.body + 8 + 4 * (flags & 1) + (flags & 4)
        table = np.frombuffer(data, ">i4", count * columns, at).reshape(count, columns)
        table[:, -1] -= by
