"""Judges a finished MP4 of ours by nothing but its bytes, and the HLS playlist beside it if there.

Walks over the fragments inside the outer ``mdat`` (``walk``), holds ``moov`` against them, and
decodes keyframes. Memory is bounded whatever the file claims.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.errors import MediaInvalid, VerificationFailed
from pipeline.media import boxes, verify
from pipeline.media.entries import read_forms
from pipeline.media.fragments import Run, join_runs
from pipeline.media.images import decode_keyframe
from pipeline.media.playlist import MediaPlaylist
from pipeline.media.tables import TableTrack, read_tables
from pipeline.media.verify_times import timescales
from pipeline.media.walk import Bytes, Fragment, Offsets, PlacedRun, Progress, runs_by_track, walk

MAX_MOOV_BYTES = 256 * 2**20
_MAX_KEYFRAME_BYTES = 64 * 2**20
_MAX_FTYP_BYTES = 64 * 2**10


@dataclass(frozen=True, slots=True, kw_only=True)
class Hls:
    """What lies beside the MP4: its media playlists, the main one first, and the init segments that
    these name."""

    playlists: tuple[MediaPlaylist, ...]
    inits: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was checked. ``hls_ranges`` is None where there is no playlist.

    ``damaged_keyframes``: when those are shown that do not decode without an error, in seconds: as
    a damaged source has them, or as damage to the file makes them.
    """

    size_bytes: int
    duration_s: float
    tracks: tuple[str, ...]
    samples: int
    fragments: int
    keyframes_decoded: int
    damaged_keyframes: tuple[float, ...]
    hls_ranges: int | None


def verify_file(
    data: Bytes, hls: Hls | None, on_progress: Progress = lambda _done, _all: None
) -> Verdict:
    """Raises ``VerificationFailed`` at the first thing that is wrong, and ``MediaInvalid`` for
    something that is no MP4 of ours."""
    head = _read_head(data)
    try:
        tracks, body, end = read_tables(head)
        tables = list(tracks)
    except MediaInvalid as error:
        raise VerificationFailed(f"moov: {error.message}") from error
    if end != data.size:
        raise VerificationFailed(f"the file has {data.size} bytes, its mdat ends at byte {end}")
    fragments = walk(data, tables, body, end, on_progress)
    ranges = _check_ranges(hls, fragments) if hls is not None else None
    inits = _inits(hls, fragments) if hls is not None else {}
    _check_inits(tables, fragments, inits)
    verify.check_tables(tables, _truth(tables, fragments, inits), body, end)
    starts = _starts(hls, fragments)
    decoded, damaged = _decode_keyframes(data, tables, starts, on_progress)
    return Verdict(
        size_bytes=data.size,
        duration_s=round(max(map(_end_s, tables), default=0.0), 6),
        tracks=tuple(table.kind for table in tables),
        samples=sum(len(table.size) for table in tables),
        fragments=len(fragments),
        keyframes_decoded=decoded,
        damaged_keyframes=tuple(damaged),
        hls_ranges=ranges,
    )


def _read_head(data: Bytes) -> bytes:
    """``ftyp``, ``moov`` and the header of the outer ``mdat``, if the file has this form."""
    begin = data.read(0, 16)
    if begin[4:8] != b"ftyp":
        raise MediaInvalid("it is no MP4: no ftyp box at its beginning")
    ftyp = boxes.read_header(begin, 0, min(data.size, _MAX_FTYP_BYTES))
    moov = boxes.read_header(data.read(ftyp.end, 16), 0, data.size - ftyp.end)
    if moov.kind != b"moov":
        raise MediaInvalid("vodray did not make it: moov does not follow ftyp")
    if moov.end > MAX_MOOV_BYTES:
        raise MediaInvalid(f"its moov is larger than {MAX_MOOV_BYTES} bytes")
    head = data.read(0, ftyp.end + moov.end + 16)
    first = data.read(ftyp.end + moov.end + 16, 8)
    outer = head[ftyp.end + moov.end :]
    if outer[:8] != b"\0\0\0\1mdat" or first[4:] not in (b"moof", b"free"):
        raise MediaInvalid("vodray did not make it: its mdat holds no fragments")
    return head


def _truth(
    tables: Sequence[TableTrack], fragments: Sequence[Fragment], inits: Mapping[int, bytes]
) -> list[verify.Truth]:
    """The samples by track of ``moov``, in its order; each fragment may have been moved by a time
    of its own."""
    truth = []
    for track, (table, own) in enumerate(
        zip(tables, runs_by_track(tables, fragments), strict=True)
    ):
        scales = timescales(table, own, [inits.get(f.start) for f, _ in own])
        found = [
            verify.Piece(
                fragment.number,
                fragment.start,
                join_runs(track, scale, table.kind, [_decoded_as_in(table, placed, scale)]),
            )
            for (fragment, placed), scale in zip(own, scales, strict=True)
        ]
        truth.append(verify.Truth(table.kind, found))
    return truth


def _decoded_as_in(table: TableTrack, placed: PlacedRun, timescale: int) -> Run:
    """The run with the decode times of ``moov``: in fragments all samples are decoded later by one
    time, and shown at the same."""
    run = placed.run
    shown = round(int(table.cts[placed.first]) * timescale / table.timescale)
    later = shown - int(run.cts[0])
    return replace(run, dts=run.dts - later, cts=run.cts + later)


def _check_ranges(hls: Hls, fragments: Sequence[Fragment]) -> int:
    ranges = []
    for playlist in hls.playlists:
        for segment in playlist.segments:
            if segment.byte_range is None:
                raise VerificationFailed(f"HLS segment {segment.sequence} has no byte range")
            offset = segment.byte_range.offset
            ranges.append((offset, offset + segment.byte_range.length))
    return verify.check_ranges(sorted(ranges), [(f.start, f.end) for f in fragments])


def _inits(hls: Hls, fragments: Sequence[Fragment]) -> dict[int, bytes]:
    """The init segment of each fragment, by where that begins."""
    segments = [segment for playlist in hls.playlists for segment in playlist.segments]
    uris = dict.fromkeys(s.init.uri for s in segments if s.init is not None)
    init_of = dict(zip(uris, hls.inits, strict=True))
    starts, found = [fragment.start for fragment in fragments], {}
    for segment in segments:
        if segment.init is None or segment.byte_range is None:
            continue
        first = segment.byte_range.offset
        own = slice(
            bisect_left(starts, first), bisect_left(starts, first + segment.byte_range.length)
        )
        found.update(dict.fromkeys(starts[own], init_of[segment.init.uri]))
    return found


def _check_inits(
    tables: Sequence[TableTrack], fragments: Sequence[Fragment], inits: Mapping[int, bytes]
) -> None:
    """Each init segment describes the samples that it is for, as ``moov`` does."""
    numbers = {init: number for number, init in enumerate(dict.fromkeys(inits.values()), 1)}
    described = {init: {form.entry for form in read_forms(init)} for init in numbers}
    for fragment in fragments:
        init = inits.get(fragment.start)
        if init is None:
            continue
        for placed in fragment.runs:
            table = tables[placed.track]
            if table.entries[int(table.entry[placed.first])] not in described[init]:
                raise VerificationFailed(
                    f"HLS init segment {numbers[init]} does not describe what moov does"
                )


def _starts(hls: Hls | None, fragments: Sequence[Fragment]) -> list[int]:
    """Where playback may begin: at HLS segments, else at every fragment."""
    if hls is None:
        return [fragment.start for fragment in fragments]
    main = hls.playlists[0]
    return sorted(s.byte_range.offset for s in main.segments if s.byte_range is not None)


def _decode_keyframes(
    data: Bytes, tables: Sequence[TableTrack], starts: Sequence[int], on_progress: Progress
) -> tuple[int, list[float]]:
    """How many could be decoded, and when those are shown that could not."""
    video = next((table for table in tables if table.kind == "video"), None)
    if video is None:
        return 0, []
    decoded, damaged = 0, []
    offsets = Offsets(video.offset)
    for number, start in enumerate(starts):
        on_progress(number, len(starts))
        at = offsets.next_from(start)
        behind = starts[number + 1] if number + 1 < len(starts) else data.size
        if at is None or video.offset[at] >= behind or not video.key[at]:
            continue
        if _decodes(data, video, at):
            decoded += 1
        else:
            damaged.append(round(_shown_s(video, at), 6))
    return decoded, sorted(damaged)


def _decodes(data: Bytes, video: TableTrack, number: int) -> bool:
    offset, size = int(video.offset[number]), int(video.size[number])
    if size > _MAX_KEYFRAME_BYTES:
        raise VerificationFailed(f"keyframe at byte {offset} has {size} bytes")
    try:
        decode_keyframe(video.entries[int(video.entry[number])], data.read(offset, size))
    except MediaInvalid:
        return False
    return True


def _shown_s(table: TableTrack, number: int) -> float:
    ticks = int(table.dts[number] + table.cts[number]) - table.skip
    return table.wait_s + ticks / table.timescale


def _end_s(table: TableTrack) -> float:
    if not len(table.dts):
        return 0.0
    step = int(np.median(np.diff(table.dts)[-16:])) if len(table.dts) > 1 else 0
    return _shown_s(table, int((table.dts + table.cts).argmax())) + step / table.timescale
