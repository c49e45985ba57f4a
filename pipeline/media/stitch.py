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

import numpy as np

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
    """All samples of a track. Its columns, shape ``(n,)``, are joined whenever they are asked for:
    half a day has millions of rows, and who needs one column should not hold them all.

    Times in ticks of ``form.timescale`` on the recording's timeline. ``pieces`` is not empty.
    """

    form: TrackForm
    pieces: tuple[tuple[PlacedSpan, TrackSamples], ...]

    @property
    def dts(self) -> Ints:
        joined = np.empty(sum(len(track.dts) for _, track in self.pieces), np.int64)
        at = 0
        for p, track in self.pieces:
            behind = at + len(track.dts)
            joined[at:behind] = _rescale(track.dts + p.ticks(track), self._scale(track))
            at = behind
        return joined

    @property
    def cts(self) -> Ints:
        return np.concatenate(
            [narrow(_rescale(track.cts, self._scale(track))) for _, track in self.pieces]
        )

    @property
    def size(self) -> Ints:
        return np.concatenate([track.size for _, track in self.pieces])

    @property
    def key(self) -> Flags:
        return np.concatenate([track.key for _, track in self.pieces])

    def durations(self, dts: Ints) -> Ints:
        """From one sample to the next. ``dts``: as above."""
        _, last = self.pieces[-1]
        steps = np.empty_like(dts)
        np.subtract(dts[1:], dts[:-1], out=steps[:-1])
        steps[-1] = _rescale(sample_durations(last)[-1:], self._scale(last))[0]
        return narrow(steps)

    def _scale(self, track: TrackSamples) -> Fraction:
        return Fraction(self.form.timescale, track.timescale)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackTables:
    """A track of the result and its sample tables as they are written: a fourth of its columns'
    memory. Left open is where its runs lie, which depends on how large all tables are.

    ``begin_dts``, ``media_length``: where it begins to be decoded, and for how long, in its ticks.
    ``language``: a tag as in RFC 5646, empty if only the muxer knows. ``is_alternate``: sound that
    another one stands for unless it is chosen. ``tables``: boxes. ``run_chunk``, ``run_offset``:
    shape ``(r,)``; the offset counts within the chunk's bytes.
    """

    track: Track
    begin_dts: int
    media_length: int
    language: str
    is_alternate: bool
    tables: tuple[bytes, ...]
    run_chunk: Ints
    run_offset: Ints

    def offsets(self, chunk_offset: Mapping[int, int], later: int) -> Ints:
        """Where runs lie in the object, if chunks lie at ``chunk_offset`` behind ``later``."""
        chunks, inverse = np.unique(self.run_chunk, return_inverse=True)
        begins = np.array([chunk_offset[int(chunk)] + later for chunk in chunks], np.int64)
        found: Ints = begins[inverse] + self.run_offset
        return found


def merge(placed: Sequence[PlacedSpan], sounds: Sequence[Sound] = ()) -> list[TrackTables]:
    """All spans' samples per track, video first. ``sounds``: the playlists of sound alone."""
    keys = _keys(placed)
    first_sound = next((key for key in keys if key.is_sound), None)

    def language(key: LaneKey) -> str:
        return sounds[key.playlist - 1].language if 0 < key.playlist <= len(sounds) else ""

    return [
        _write_tables(
            _lane(key, placed),
            language=language(key),
            is_alternate=key.is_sound and key != first_sound,
        )
        for key in keys
    ]


def merge_pictures(placed: Sequence[PlacedSpan]) -> Lane | None:
    """All pictures of the first track that has any."""
    key = next((key for key in _keys(placed) if not key.is_sound), None)
    return _lane(key, placed) if key is not None else None


def _keys(placed: Sequence[PlacedSpan]) -> list[LaneKey]:
    return sorted({key for p in placed for key in lanes(p.span)})


def _lane(key: LaneKey, placed: Sequence[PlacedSpan]) -> Lane:
    pieces = tuple((p, track) for p in placed if (track := lanes(p.span).get(key)) is not None)
    # What the source has tells what the track is.
    telling = next((piece for piece in pieces if not piece[0].span.is_filler), pieces[0])
    # The finest one: no two samples may fall on one tick.
    timescale = max(track.timescale for _, track in pieces)
    return Lane(form=replace(_form(*telling), timescale=timescale), pieces=pieces)


def _form(p: PlacedSpan, track: TrackSamples) -> TrackForm:
    return next(form for form in read_forms(p.span.init) if form.track_id == track.track_id)


def _write_tables(lane: Lane, *, language: str, is_alternate: bool) -> TrackTables:
    """One column after the other, so that few of them are there at a time."""
    dts = lane.dts
    begin, last = int(dts[0]), int(dts[-1])
    duration = lane.durations(dts)
    stts = _table(b"stts", 0, _run_lengths(duration), ">u4")
    media_length = last - begin + int(duration[-1])
    usual = float(np.median(duration))
    cts = lane.cts
    ctts = _ctts(cts)
    shown = dts
    shown += cts
    del cts
    first_pts = int(shown.min())
    shown += duration
    end_pts = int(shown.max())
    del dts, shown, duration
    stss = _stss(lane.key)
    size = lane.size
    track = Track(
        form=lane.form,
        samples=len(size),
        size_bytes=int(size.sum()),
        first_pts=first_pts,
        end_pts=end_pts,
        usual_duration=usual,
    )
    entries = [_form(p, own).entry for p, own in lane.pieces]
    numbers = {entry: number for number, entry in enumerate(dict.fromkeys(entries), 1)}
    run_count = np.concatenate([own.run_count for _, own in lane.pieces])
    runs = [len(own.run_count) for _, own in lane.pieces]
    run_entry = np.repeat([numbers[entry] for entry in entries], runs)
    tables = (
        boxes.make_full(b"stsd", 0, 0, struct.pack(">I", len(numbers)), *numbers),
        stts,
        ctts,
        stss,
        _table(b"stsc", 0, _sample_to_chunk(run_count, run_entry)),
        _stsz(size),
    )
    return TrackTables(
        track=track,
        begin_dts=begin,
        media_length=media_length,
        language=language,
        is_alternate=is_alternate,
        tables=tables,
        run_chunk=np.repeat([p.chunk for p, _ in lane.pieces], runs),
        run_offset=np.concatenate([own.run_offset for _, own in lane.pieces]),
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


def build_head(
    tracks: Sequence[TrackTables], chunk_offset: Mapping[int, int], body_bytes: int
) -> bytes:
    """``ftyp moov`` and the header of the outer ``mdat``.

    ``chunk_offset``: where each chunk begins behind this head, whose size (``head_bytes``) does not
    depend on it.
    """
    size = head_bytes(tracks)
    offsets = [track.offsets(chunk_offset, size) for track in tracks]
    mdat = struct.pack(">I4sQ", 1, b"mdat", MDAT_HEADER_BYTES + body_bytes)
    return b"".join([_build_ftyp(), *_build_moov(tracks, offsets), mdat])


def head_bytes(tracks: Sequence[TrackTables]) -> int:
    """Size of what ``build_head`` returns."""
    moov = _build_moov(tracks, [track.run_offset for track in tracks])
    return len(_build_ftyp()) + sum(map(len, moov)) + MDAT_HEADER_BYTES


def _build_ftyp() -> bytes:
    return boxes.make(b"ftyp", b"isom", struct.pack(">I", 0x200), _BRANDS)


def _build_moov(tracks: Sequence[TrackTables], offsets: Sequence[Ints]) -> list[bytes]:
    """``offsets``: where the runs of each track lie."""
    begin = start_s(own.track for own in tracks)
    traks, longest = list[bytes](), 0
    for track_id, (own, lies_at) in enumerate(zip(tracks, offsets, strict=True), 1):
        edits, length = _edits(own, begin)
        traks += _build_trak(track_id, own, edits, length, lies_at)
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
    return boxes.wrap(b"moov", [mvhd, *traks])


def _edits(own: TrackTables, begin: Fraction) -> tuple[bytes, int]:
    """Edit list (8.6.6): wait until the track's first presentation time, then play all of it.

    Returns it with the track's length in movie ticks; lengths round up, so nothing is cut off.
    """
    track, scale = own.track, own.track.form.timescale
    wait = round((Fraction(track.first_pts, scale) - begin) * MOVIE_TIMESCALE)
    length = ceil(Fraction(track.end_pts - track.first_pts, scale) * MOVIE_TIMESCALE)
    edits = [(wait, -1)] if wait > 0 else []
    edits.append((length, track.first_pts - own.begin_dts))
    packed = b"".join(struct.pack(">Qqhh", span, media_time, 1, 0) for span, media_time in edits)
    elst = boxes.make_full(b"elst", 1, 0, struct.pack(">I", len(edits)), packed)
    return boxes.make(b"edts", elst), wait + length


def _build_trak(
    track_id: int, own: TrackTables, edits: bytes, length: int, offsets: Ints
) -> list[bytes]:
    form = own.track.form
    # Layer, volume, matrix and picture size follow the duration in version 0 as in version 1.
    tail = form.tkhd[(8 + 36) if form.tkhd[8] else (8 + 24) :]
    flags = 2 if own.is_alternate else 3
    tkhd = boxes.make_full(
        b"tkhd", 1, flags, struct.pack(">QQIIQ", 0, 0, track_id, 0, length), tail
    )
    language = form.mdhd_language
    if own.language:
        language = mdhd_language(own.language) + language[2:]
    mdhd = boxes.make_full(
        b"mdhd", 1, 0, struct.pack(">QQIQ", 0, 0, form.timescale, own.media_length), language
    )
    stbl = boxes.wrap(b"stbl", [*own.tables, _table(b"co64", 0, offsets, ">u8")])
    minf = boxes.wrap(b"minf", [form.media_header, form.dinf, *stbl])
    return boxes.wrap(b"trak", [tkhd, edits, *boxes.wrap(b"mdia", [mdhd, form.hdlr, *minf])])


def _table(kind: bytes, version: int, rows: Ints, dtype: str = ">i4") -> bytes:
    return boxes.make_full(
        kind, version, 0, struct.pack(">I", len(rows)), rows.astype(dtype).tobytes()
    )


def _ctts(cts: Ints) -> bytes:
    """Nothing where all samples are shown when they are decoded."""
    if not cts.any():
        return b""
    return _table(b"ctts", 1 if (cts < 0).any() else 0, _run_lengths(cts))


def _stss(key: Flags) -> bytes:
    """Nothing where all samples are sync samples."""
    return b"" if key.all() else _table(b"stss", 0, np.flatnonzero(key) + 1)


def _stsz(size: Ints) -> bytes:
    head = struct.pack(">II", 0, len(size))
    return boxes.make_full(b"stsz", 0, 0, head, size.astype(">u4").tobytes())


def _run_lengths(values: Ints) -> Ints:
    """Run-length coding: shape ``(n,)`` -> ``(count, value)`` rows."""
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    edges = narrow(np.concatenate(([0], changes, [len(values)])))
    return np.stack((np.diff(edges), values[edges[:-1]]), axis=1)


def _sample_to_chunk(count: Ints, entry: Ints) -> Ints:
    """``stsc`` rows (8.7.4): first run (from 1), samples per run, sample entry (from 1)."""
    changes = (np.diff(count) != 0) | (np.diff(entry) != 0)
    starts = np.concatenate(([0], np.flatnonzero(changes) + 1))
    return np.stack((starts + 1, count[starts], entry[starts]), axis=1)
