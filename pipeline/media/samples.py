"""The sample index: what is where in a chunk's fragments, as numpy arrays.

A few bytes per sample: it travels to the supervisor and into the ledger instead of media. Times are
ticks of the track's timescale in recording time (``pipeline.timebase``); offsets count from the
first byte of the chunk. ``pipeline.media.fragments`` reads it.
"""

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

# Of 64 bits, or of 32 where `narrow` made it so.
Ints = npt.NDArray[np.signedinteger[Any]]
Flags = npt.NDArray[np.bool_]

_NARROW = np.iinfo(np.int32)


def narrow(column: Ints) -> Ints:
    """In half the memory, if nothing in it is too large for that. There are millions of samples in
    half a day; times and offsets need 64 bits, what is counted from one sample to the next does
    not."""
    if len(column) and not _NARROW.min <= column.min() <= column.max() <= _NARROW.max:
        return column
    return column.astype(np.int32, copy=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackSamples:
    """Samples of one track in decode order, shape ``(n,)`` each, and the runs that hold them.

    ``run_offset``/``run_count``, shape ``(r,)``: consecutive samples that lie side by side.
    """

    track_id: int
    timescale: int
    kind: str
    dts: Ints
    cts: Ints
    duration: Ints
    size: Ints
    key: Flags
    run_offset: Ints
    run_count: Ints

    @property
    def pts(self) -> Ints:
        return self.dts + self.cts

    @property
    def start_s(self) -> float:
        return float(self.pts.min()) / self.timescale

    @property
    def end_s(self) -> float:
        return float((self.pts + self.duration).max()) / self.timescale


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Fragments of one uninterrupted piece of source, as one muxer wrote them.

    ``fragment_offset``/``fragment_size``: each ``moof`` with its ``mdat``. ``init``: the ``ftyp``
    and ``moov`` that describe it. ``discontinuity``: the source marked one before it, or media
    before it is missing. ``sequence``: its first segment's media sequence number. ``playlist``: 0
    for the main one, ``n`` for the ``n``-th of sound alone; ``era``: see ``Segment``.
    ``is_filler``: black and silence of ours.

    ``piece`` is the same for all spans of a chunk that were made of one piece of source: pictures
    of several outputs, and sounds, that lie in fragments of their own; -1 where all its tracks are
    in this one. ``sound``: it holds only the ``sound``-th sound of its playlist, 0: pictures, or
    everything.
    """

    init: bytes
    tracks: tuple[TrackSamples, ...]
    fragment_offset: Ints
    fragment_size: Ints
    discontinuity: bool
    sequence: int
    playlist: int = 0
    era: int = 0
    is_filler: bool = False
    piece: int = -1
    sound: int = 0

    @property
    def fragment_end(self) -> Ints:
        return self.fragment_offset + self.fragment_size

    def moved(self, by: Ints) -> "Span":
        """The same with each fragment elsewhere: ``by`` bytes, shape as ``fragment_offset``."""

        def follow(track: TrackSamples) -> TrackSamples:
            own = np.searchsorted(self.fragment_offset, track.run_offset, side="right") - 1
            return replace(track, run_offset=track.run_offset + by[own])

        return replace(
            self,
            tracks=tuple(map(follow, self.tracks)),
            fragment_offset=self.fragment_offset + by,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleIndex:
    """The spans of one chunk in order."""

    spans: tuple[Span, ...]

    def pack(self) -> bytes:
        """Compressed bytes for the ledger; ``unpack`` reads them."""
        columns: list[bytes] = []
        heads = []
        for span in self.spans:
            heads.append(
                {
                    "init": len(span.init),
                    "discontinuity": span.discontinuity,
                    "sequence": span.sequence,
                    "playlist": span.playlist,
                    "era": span.era,
                    "filler": span.is_filler,
                    "piece": span.piece,
                    "sound": span.sound,
                    "fragments": len(span.fragment_offset),
                    "tracks": [
                        [t.track_id, t.timescale, t.kind, len(t.size), len(t.run_count)]
                        for t in span.tracks
                    ],
                }
            )
            columns += [span.init, _packed(span.fragment_offset), _packed(span.fragment_size)]
            for track in span.tracks:
                columns += [_packed(getattr(track, name)) for name in (*_OF_SAMPLES, *_OF_RUNS)]
                columns.append(track.key.tobytes())
        head = json.dumps(heads).encode()
        return zlib.compress(b"".join([struct.pack("<I", len(head)), head, *columns]))

    @classmethod
    def unpack(cls, packed: bytes) -> "SampleIndex":
        reader = _Reader(zlib.decompress(packed))
        (head_bytes,) = struct.unpack("<I", reader.take(4))
        heads = json.loads(reader.take(head_bytes))
        return cls(spans=tuple(_unpack_span(reader, head) for head in heads))


_OF_SAMPLES = ("dts", "cts", "duration", "size")
_OF_RUNS = ("run_offset", "run_count")


def _packed(column: Ints) -> bytes:
    """Differences: nearly constant for times, so they compress to almost nothing."""
    return np.diff(column, prepend=0).astype("<i8").tobytes()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def column(self, length: int) -> Ints:
        return np.cumsum(np.frombuffer(self.take(8 * length), "<i8"), dtype=np.int64)


def _flat(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """In no memory, if it has one value throughout, as sound has: every frame lasts as long, none
    is shown later than it is decoded, all are keys."""
    if len(column) and (column == column[0]).all():
        return np.broadcast_to(column[:1].copy(), column.shape)
    return column


def _unpack_span(reader: _Reader, head: Mapping[str, Any]) -> Span:
    init = reader.take(head["init"])
    fragment_offset, fragment_size = (reader.column(head["fragments"]) for _ in range(2))
    tracks = []
    for track_id, timescale, kind, samples, runs in head["tracks"]:
        columns = {"dts": reader.column(samples)}
        columns |= {name: _flat(narrow(reader.column(samples))) for name in _OF_SAMPLES[1:]}
        columns |= {name: reader.column(runs) for name in _OF_RUNS}
        key = _flat(np.frombuffer(reader.take(samples), np.bool_))
        tracks.append(
            TrackSamples(track_id=track_id, timescale=timescale, kind=kind, key=key, **columns)
        )
    return Span(
        init=init,
        tracks=tuple(tracks),
        fragment_offset=fragment_offset,
        fragment_size=fragment_size,
        discontinuity=head["discontinuity"],
        sequence=head["sequence"],
        playlist=head["playlist"],
        era=head["era"],
        is_filler=head.get("filler", False),
        piece=head.get("piece", -1),
        sound=head.get("sound", 0),
    )
