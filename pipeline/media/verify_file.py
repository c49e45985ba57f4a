"""Judges a finished MP4 of ours by nothing but its bytes, and the HLS playlist beside it if there.

Reads the head, walks over the fragments inside the outer ``mdat`` by reading their ``moof`` boxes
only, and decodes keyframes. Memory is bounded whatever the file claims.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from pipeline.errors import MediaInvalid, VerificationFailed
from pipeline.media import boxes, verify
from pipeline.media.entries import read_forms
from pipeline.media.fragments import Run, join_runs, read_runs
from pipeline.media.images import decode_keyframe
from pipeline.media.playlist import MediaPlaylist
from pipeline.media.samples import TrackSamples
from pipeline.media.tables import TableTrack, read_tables

MAX_MOOV_BYTES = 256 * 2**20
_MAX_MOOF_BYTES = 16 * 2**20
_MAX_KEYFRAME_BYTES = 64 * 2**20
_MAX_FTYP_BYTES = 64 * 2**10

Progress = Callable[[int, int], None]


class Bytes(Protocol):
    """A file or object. ``read`` gives fewer bytes where it ends."""

    size: int

    def read(self, offset: int, length: int) -> bytes: ...


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fragment:
    """``moof`` at ``start`` with its ``mdat`` up to ``end``; ``runs``: by number of the track."""

    start: int
    end: int
    runs: tuple[tuple[int, Run], ...]


def verify_file(
    data: Bytes, hls: Hls | None, on_progress: Progress = lambda _done, _all: None
) -> Verdict:
    """Raises ``VerificationFailed`` at the first thing that is wrong, and ``MediaInvalid`` for
    something that is no MP4 of ours."""
    head = _read_head(data)
    try:
        tables, body, end = read_tables(head)
    except MediaInvalid as error:
        raise VerificationFailed(f"moov: {error.message}") from error
    if end != data.size:
        raise VerificationFailed(f"the file has {data.size} bytes, its mdat ends at byte {end}")
    fragments = _Walk(data, tables, on_progress).fragments(body, end)
    verify.check_tables(tables, _truth(tables, fragments), body, end)
    ranges = _check_hls(hls, tables, fragments) if hls is not None else None
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


class _Walk:
    """Goes over the fragments and finds out which track each run of samples belongs to."""

    def __init__(self, data: Bytes, tables: Sequence[TableTrack], on_progress: Progress) -> None:
        self._data, self._on_progress = data, on_progress
        # Fragments of one muxer have numbers of their own: what names a track is where it points.
        self._offsets = [table.offset for table in tables]
        self._next = [0] * len(tables)

    def fragments(self, body: int, end: int) -> list[_Fragment]:
        found: list[_Fragment] = []
        at = body
        while at < end:
            self._on_progress(at, end)
            box = self._header(at, end)
            if box.kind == b"moof":
                fragment = self._fragment(at, box.end, end)
                found.append(fragment)
                at = fragment.end
            elif box.kind == b"free":
                at += box.end
            else:
                raise VerificationFailed(f"byte {at}: {box.kind!r} where a fragment should begin")
        return found

    def _header(self, at: int, end: int) -> boxes.Box:
        try:
            return boxes.read_header(self._data.read(at, 16), 0, end - at)
        except MediaInvalid as error:
            raise VerificationFailed(f"byte {at}: {error.message}") from error

    def _fragment(self, at: int, moof_bytes: int, end: int) -> _Fragment:
        if moof_bytes > _MAX_MOOF_BYTES:
            raise VerificationFailed(f"byte {at}: moof of {moof_bytes} bytes")
        mdat = self._header(at + moof_bytes, end)
        if mdat.kind != b"mdat":
            raise VerificationFailed(f"byte {at + moof_bytes}: {mdat.kind!r} behind a moof")
        try:
            runs = read_runs(self._data.read(at, moof_bytes))
        except MediaInvalid as error:
            raise VerificationFailed(f"fragment at byte {at}: {error.message}") from error
        first, behind = at + moof_bytes + mdat.body, at + moof_bytes + mdat.end
        numbered = []
        for run in runs:
            begin = at + run.offset
            if begin < first or begin + int(run.size.sum()) > behind:
                raise VerificationFailed(f"fragment at byte {at} points outside its mdat")
            numbered.append((self._track(begin, len(run.size), at), run))
        return _Fragment(start=at, end=behind, runs=tuple(numbered))

    def _track(self, offset: int, count: int, at: int) -> int:
        for track, offsets in enumerate(self._offsets):
            number = self._next[track]
            if number < len(offsets) and int(offsets[number]) == offset:
                self._next[track] += count
                return track
        raise VerificationFailed(
            f"fragment at byte {at}: no track of moov has its next sample at byte {offset}"
        )


def _truth(
    tables: Sequence[TableTrack], fragments: Sequence[_Fragment]
) -> list[verify.FragmentSamples]:
    """The samples by track of ``moov``; each fragment may have been moved by a time of its own."""
    samples: list[list[tuple[int, int, TrackSamples]]] = [[] for _ in tables]
    taken = [0] * len(tables)
    for number, fragment in enumerate(fragments):
        for track, run in fragment.runs:
            table, first = tables[track], taken[track]
            taken[track] += len(run.size)
            scale = _timescale(table, first, run)
            joined = join_runs(track, scale, table.kind, [_decoded_as_in(table, first, run, scale)])
            samples[track].append((number, fragment.start, joined))
    for table, found in zip(tables, samples, strict=True):
        if not found:
            raise VerificationFailed(f"no fragment holds samples of the {table.kind} track")
    return [
        verify.fragment_samples(table.kind, found)
        for table, found in zip(tables, samples, strict=True)
    ]


def _decoded_as_in(table: TableTrack, first: int, run: Run, timescale: int) -> Run:
    """The run with the decode times of ``moov``: in fragments all samples are decoded later by one
    time, and shown at the same."""
    if first >= len(table.cts):
        return run
    later = round(int(table.cts[first]) * timescale / table.timescale) - int(run.cts[0])
    return replace(run, dts=run.dts - later, cts=run.cts + later)


def _timescale(table: TableTrack, first: int, run: Run) -> int:
    """The run's own time scale: the track's, unless the source changed it on the way."""
    last = first + len(run.size) - 1
    in_run = int(run.dts[-1] - run.dts[0])
    if last >= len(table.dts) or not in_run:
        return table.timescale
    in_table = int(table.dts[last] - table.dts[first])
    implied = round(table.timescale * in_run / in_table) if in_table > 0 else table.timescale
    is_other = abs(implied - table.timescale) > table.timescale / 100
    return implied if is_other else table.timescale


def _check_hls(hls: Hls, tables: Sequence[TableTrack], fragments: Sequence[_Fragment]) -> int:
    _check_inits(hls, tables, fragments)
    ranges = []
    for playlist in hls.playlists:
        for segment in playlist.segments:
            if segment.byte_range is None:
                raise VerificationFailed(f"HLS segment {segment.sequence} has no byte range")
            offset = segment.byte_range.offset
            ranges.append((offset, offset + segment.byte_range.length))
    return verify.check_ranges(sorted(ranges), [(f.start, f.end) for f in fragments])


def _check_inits(hls: Hls, tables: Sequence[TableTrack], fragments: Sequence[_Fragment]) -> None:
    """Each init segment describes the samples that it is for, as ``moov`` does."""
    segments = [segment for playlist in hls.playlists for segment in playlist.segments]
    uris = list(dict.fromkeys(s.init.uri for s in segments if s.init is not None))
    described = [{form.entry for form in read_forms(init)} for init in hls.inits]
    starts, used = [fragment.start for fragment in fragments], _entries_used(tables, fragments)
    for segment in segments:
        if segment.init is None or segment.byte_range is None:
            continue
        number = uris.index(segment.init.uri)
        first = segment.byte_range.offset
        own = slice(
            bisect_left(starts, first), bisect_left(starts, first + segment.byte_range.length)
        )
        if not set().union(*used[own]) <= described[number]:
            raise VerificationFailed(
                f"HLS init segment {number + 1} does not describe what moov does"
            )


def _entries_used(tables: Sequence[TableTrack], fragments: Sequence[_Fragment]) -> list[set[bytes]]:
    """The sample entries of each fragment's samples."""
    taken = [0] * len(tables)
    used = []
    for fragment in fragments:
        entries = set()
        for track, run in fragment.runs:
            table = tables[track]
            entries.add(table.entries[int(table.entry[taken[track]])])
            taken[track] += len(run.size)
        used.append(entries)
    return used


def _starts(hls: Hls | None, fragments: Sequence[_Fragment]) -> list[int]:
    """Where playback may begin: at HLS segments, else at every fragment."""
    if hls is None:
        return [fragment.start for fragment in fragments]
    main = hls.playlists[0]
    return [s.byte_range.offset for s in main.segments if s.byte_range is not None]


def _decode_keyframes(
    data: Bytes, tables: Sequence[TableTrack], starts: Sequence[int], on_progress: Progress
) -> tuple[int, list[float]]:
    """How many could be decoded, and when those are shown that could not."""
    video = next((table for table in tables if table.kind == "video"), None)
    if video is None:
        return 0, []
    decoded, damaged = 0, []
    offsets = video.offset.tolist()
    for number, start in enumerate(starts):
        on_progress(number, len(starts))
        at = bisect_left(offsets, start)
        behind = starts[number + 1] if number + 1 < len(starts) else data.size
        if at == len(offsets) or offsets[at] >= behind or not video.key[at]:
            continue
        if _decodes(data, video, at):
            decoded += 1
        else:
            damaged.append(round(_shown_s(video, at), 6))
    return decoded, damaged


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
