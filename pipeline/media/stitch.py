"""The stitch: one ``moov`` over all chunks' fragments. Moves no media; cost grows with samples.

The sample tables (ISO/IEC 14496-12 8.6, 8.7) point into the ``mdat`` boxes of the fragments, which
lie inside one outer 64-bit ``mdat``: a player of plain MP4 sees a faststart file and never looks at
the ``moof`` boxes, an HLS player reads the same bytes by ranges.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.media import boxes
from pipeline.media.entries import TrackForm, read_forms
from pipeline.media.languages import mdhd_language
from pipeline.media.samples import Flags, Ints, TrackSamples, narrow
from pipeline.media.timeline import LaneKey, PlacedSpan, lanes, sample_durations
from pipeline.model import Sound

MOVIE_TIMESCALE = 90_000
MDAT_HEADER_BYTES = 16
_BRANDS = b"isomiso2iso6mp41"
_UNITY_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One track of the result, told in short. Times in ticks of ``form.timescale`` on the
    recording's timeline; ``usual_duration``: the median of its samples' durations."""

    form: TrackForm
    samples: int
    size_bytes: int
    first_pts: int
    end_pts: int
    usual_duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """All samples of a track: columns of shape ``(n,)``, runs of shape ``(r,)``.

    Times as of ``track``. ``run_offset`` counts within ``run_chunk``'s bytes; ``run_entry`` numbers
    ``entries`` from 0. ``language``: a tag as in RFC 5646, empty if only the muxer knows.
    ``is_alternate``: sound that another one stands for unless it is chosen.
    """

    track: Track
    language: str
    is_alternate: bool
    entries: tuple[bytes, ...]
    dts: Ints
    cts: Ints
    duration: Ints
    size: Ints
    key: Flags
    run_chunk: Ints
    run_offset: Ints
    run_count: Ints
    run_entry: Ints


def merge(placed: Sequence[PlacedSpan], sounds: Sequence[Sound] = ()) -> list[Lane]:
    """All spans' samples per track, video first. ``sounds``: the playlists of sound alone."""
    keys = _keys(placed)
    first_sound = next((key for key in keys if key.is_sound), None)

    def language(key: LaneKey) -> str:
        return sounds[key.playlist - 1].language if 0 < key.playlist <= len(sounds) else ""

    return [
        _merge_lane(key, placed, language(key), key.is_sound and key != first_sound) for key in keys
    ]


def merge_pictures(placed: Sequence[PlacedSpan]) -> Lane | None:
    """All pictures of the first track that has any."""
    key = next((key for key in _keys(placed) if not key.is_sound), None)
    return _merge_lane(key, placed, "", is_alternate=False) if key is not None else None


def _keys(placed: Sequence[PlacedSpan]) -> list[LaneKey]:
    return sorted({key for p in placed for key in lanes(p.span)})


def _merge_lane(
    lane: LaneKey, placed: Sequence[PlacedSpan], language: str, is_alternate: bool
) -> Lane:
    entries: list[bytes] = []
    columns: dict[str, list[npt.NDArray[Any]]] = {
        key: []
        for key in (
            "dts",
            "cts",
            "size",
            "key",
            "run_chunk",
            "run_offset",
            "run_count",
            "run_entry",
        )
    }
    # What the source has tells what the track is.
    form: TrackForm | None = None
    last: TrackSamples | None = None
    is_filler = False
    # The finest one: no two samples may fall on one tick.
    timescale = max(
        track.timescale for p in placed if (track := lanes(p.span).get(lane)) is not None
    )
    for p in placed:
        track = lanes(p.span).get(lane)
        if track is None:
            continue
        last = track
        own = next(f for f in read_forms(p.span.init) if f.track_id == track.track_id)
        if form is None or (is_filler and not p.span.is_filler):
            form, is_filler = replace(own, timescale=timescale), p.span.is_filler
        if own.entry not in entries:
            entries.append(own.entry)
        scale = Fraction(form.timescale, track.timescale)
        columns["dts"].append(_rescale(track.dts + p.ticks(track), scale))
        columns["cts"].append(narrow(_rescale(track.cts, scale)))
        columns["size"].append(track.size)
        columns["key"].append(track.key)
        runs = len(track.run_count)
        columns["run_chunk"].append(np.full(runs, p.chunk, np.int64))
        columns["run_offset"].append(track.run_offset)
        columns["run_count"].append(track.run_count)
        columns["run_entry"].append(np.full(runs, entries.index(own.entry), np.int64))
    assert form is not None
    assert last is not None
    joined = {key: np.concatenate(columns.pop(key)) for key in list(columns)}
    end = int(_rescale(sample_durations(last), Fraction(timescale, last.timescale))[-1])
    joined["duration"] = narrow(np.diff(joined["dts"], append=joined["dts"][-1] + end))
    return Lane(
        track=_told(form, joined),
        language=language,
        is_alternate=is_alternate,
        entries=tuple(entries),
        **joined,
    )


def _told(form: TrackForm, columns: Mapping[str, npt.NDArray[Any]]) -> Track:
    shown = columns["dts"] + columns["cts"]
    return Track(
        form=form,
        samples=len(shown),
        size_bytes=int(columns["size"].sum()),
        first_pts=int(shown.min()),
        end_pts=int((shown + columns["duration"]).max()),
        usual_duration=float(np.median(columns["duration"])),
    )


def _rescale(ticks: Ints, scale: Fraction) -> Ints:
    if scale == 1:
        return ticks
    wide = ticks.astype(np.int64)
    return (wide * scale.numerator + scale.denominator // 2) // scale.denominator


def start_s(tracks: Iterable[Track]) -> Fraction:
    """When the first picture or sound is presented, in recording time."""
    return min(Fraction(track.first_pts, track.form.timescale) for track in tracks)


def duration_s(tracks: Sequence[Track]) -> Fraction:
    ends = (Fraction(track.end_pts, track.form.timescale) for track in tracks)
    return max(ends) - start_s(tracks)


def build_head(tracks: Sequence[Lane], chunk_offset: Mapping[int, int], body_bytes: int) -> bytes:
    """``ftyp moov`` and the header of the outer ``mdat``.

    ``chunk_offset``: where each chunk begins behind this head. The head's size does not depend on
    the offsets, so callers may ask for it with zeros first (``head_bytes``).
    """
    ftyp = boxes.make(b"ftyp", b"isom", struct.pack(">I", 0x200), _BRANDS)
    size = head_bytes(tracks)
    moov = _build_moov(tracks, {chunk: size + at for chunk, at in chunk_offset.items()})
    mdat = struct.pack(">I4sQ", 1, b"mdat", MDAT_HEADER_BYTES + body_bytes)
    return ftyp + moov + mdat


def head_bytes(tracks: Sequence[Lane]) -> int:
    """Size of what ``build_head`` returns."""
    chunks = {int(chunk) for lane in tracks for chunk in np.unique(lane.run_chunk)}
    ftyp = 8 + 8 + len(_BRANDS)
    return ftyp + len(_build_moov(tracks, dict.fromkeys(chunks, 0))) + MDAT_HEADER_BYTES


def _build_moov(tracks: Sequence[Lane], offset_of: Mapping[int, int]) -> bytes:
    begin = start_s(lane.track for lane in tracks)
    traks, longest = [], 0
    for track_id, lane in enumerate(tracks, 1):
        edits, length = _edits(lane, begin)
        traks.append(_build_trak(track_id, lane, edits, length, offset_of))
        longest = max(longest, length)
    mvhd = boxes.make_full(
        b"mvhd",
        1,
        0,
        struct.pack(">QQIQ", 0, 0, MOVIE_TIMESCALE, longest),
        struct.pack(">IH10x", 0x10000, 0x100),
        _UNITY_MATRIX,
        bytes(24),
        struct.pack(">I", len(tracks) + 1),
    )
    return boxes.make(b"moov", mvhd, *traks)


def _edits(lane: Lane, begin: Fraction) -> tuple[bytes, int]:
    """Edit list (8.6.6): wait until the track's first presentation time, then play all of it.

    Returns it with the track's length in movie ticks; lengths round up, so nothing is cut off.
    """
    track, scale = lane.track, lane.track.form.timescale
    wait = round((Fraction(track.first_pts, scale) - begin) * MOVIE_TIMESCALE)
    length = ceil(Fraction(track.end_pts - track.first_pts, scale) * MOVIE_TIMESCALE)
    edits = [(wait, -1)] if wait > 0 else []
    edits.append((length, track.first_pts - int(lane.dts[0])))
    packed = b"".join(struct.pack(">Qqhh", span, media_time, 1, 0) for span, media_time in edits)
    elst = boxes.make_full(b"elst", 1, 0, struct.pack(">I", len(edits)), packed)
    return boxes.make(b"edts", elst), wait + length


def _build_trak(
    track_id: int, lane: Lane, edits: bytes, length: int, offset_of: Mapping[int, int]
) -> bytes:
    form = lane.track.form
    # Layer, volume, matrix and picture size follow the duration in version 0 as in version 1.
    tail = form.tkhd[(8 + 36) if form.tkhd[8] else (8 + 24) :]
    flags = 2 if lane.is_alternate else 3
    tkhd = boxes.make_full(
        b"tkhd", 1, flags, struct.pack(">QQIIQ", 0, 0, track_id, 0, length), tail
    )
    media_length = int(lane.dts[-1] - lane.dts[0] + lane.duration[-1])
    language = form.mdhd_language
    if lane.language:
        language = mdhd_language(lane.language) + language[2:]
    mdhd = boxes.make_full(
        b"mdhd", 1, 0, struct.pack(">QQIQ", 0, 0, form.timescale, media_length), language
    )
    minf = boxes.make(b"minf", form.media_header, form.dinf, _build_stbl(lane, offset_of))
    return boxes.make(b"trak", tkhd, edits, boxes.make(b"mdia", mdhd, form.hdlr, minf))


def _build_stbl(lane: Lane, offset_of: Mapping[int, int]) -> bytes:
    base = np.array([offset_of[int(chunk)] for chunk in lane.run_chunk], np.int64)
    tables = [
        boxes.make_full(b"stsd", 0, 0, struct.pack(">I", len(lane.entries)), *lane.entries),
        _table(b"stts", 0, _run_lengths(lane.duration), ">u4"),
    ]
    if lane.cts.any():
        tables.append(_table(b"ctts", 1 if (lane.cts < 0).any() else 0, _run_lengths(lane.cts)))
    if not lane.key.all():
        tables.append(_table(b"stss", 0, np.flatnonzero(lane.key)[:, None] + 1))
    tables.append(_table(b"stsc", 0, _sample_to_chunk(lane.run_count, lane.run_entry)))
    sizes = struct.pack(">II", 0, len(lane.size)) + lane.size.astype(">u4").tobytes()
    tables.append(boxes.make_full(b"stsz", 0, 0, sizes))
    offsets = (base + lane.run_offset).astype(">u8").tobytes()
    tables.append(boxes.make_full(b"co64", 0, 0, struct.pack(">I", len(base)), offsets))
    return boxes.make(b"stbl", *tables)


def _table(kind: bytes, version: int, rows: Ints, dtype: str = ">i4") -> bytes:
    return boxes.make_full(
        kind, version, 0, struct.pack(">I", len(rows)), rows.astype(dtype).tobytes()
    )


def _run_lengths(values: Ints) -> Ints:
    """Run-length coding: shape ``(n,)`` -> ``(count, value)`` rows."""
    starts = np.concatenate(([0], np.flatnonzero(np.diff(values)) + 1))
    counts = np.diff(np.append(starts, len(values)))
    return np.stack((counts, values[starts]), axis=1)


def _sample_to_chunk(count: Ints, entry: Ints) -> Ints:
    """``stsc`` rows (8.7.4): first run (from 1), samples per run, sample entry (from 1)."""
    changes = (np.diff(count) != 0) | (np.diff(entry) != 0)
    starts = np.concatenate(([0], np.flatnonzero(changes) + 1))
    return np.stack((starts + 1, count[starts], entry[starts] + 1), axis=1)
