"""The sample index: what is where in a chunk's fragments, as numpy arrays.

A few bytes per sample: it travels to the supervisor and into the ledger instead of media. Times are
ticks of the track's timescale in recording time (``pipeline.timebase``); offsets count from the
first byte of the chunk. ``pipeline.media.fragments`` reads it.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


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

    ``fragment_offset``: where each ``moof`` begins; ``start``/``end``: the span's bytes. ``init``:
    the ``ftyp`` and ``moov`` that describe it. ``discontinuity``: the source marked one before
    it, or media before it is missing. ``sequence``: its first segment's media sequence number.
    """

    init: bytes
    tracks: tuple[TrackSamples, ...]
    fragment_offset: Ints
    start: int
    end: int
    discontinuity: bool
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleIndex:
    """The spans of one chunk in order."""

    spans: tuple[Span, ...]

    def pack(self) -> bytes:
        """Compressed bytes for the ledger; ``unpack`` reads them."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        heads = []
        for s, span in enumerate(self.spans):
            arrays[f"{s}.init"] = np.frombuffer(span.init, np.uint8)
            arrays[f"{s}.fragments"] = _narrow(span.fragment_offset)
            heads.append(
                {
                    "start": span.start,
                    "end": span.end,
                    "discontinuity": span.discontinuity,
                    "sequence": span.sequence,
                    "tracks": [[t.track_id, t.timescale, t.kind] for t in span.tracks],
                }
            )
            for t, track in enumerate(span.tracks):
                for name in _COLUMNS:
                    arrays[f"{s}.{t}.{name}"] = _narrow(getattr(track, name))
        arrays["head"] = np.frombuffer(json.dumps(heads).encode(), np.uint8)
        out = io.BytesIO()
        np.savez_compressed(out, allow_pickle=False, **arrays)
        return out.getvalue()

    @classmethod
    def unpack(cls, packed: bytes) -> "SampleIndex":
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            heads = json.loads(arrays["head"].tobytes())
            spans = tuple(_unpack_span(arrays, s, head) for s, head in enumerate(heads))
        return cls(spans=spans)


_COLUMNS = ("dts", "cts", "duration", "size", "key", "run_offset", "run_count")


def _narrow(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Times are stored as differences: nearly constant, so they compress to almost nothing."""
    return column if column.dtype == np.bool_ else np.diff(column, prepend=0)


def _unpack_span(arrays: Mapping[str, npt.NDArray[Any]], s: int, head: Mapping[str, Any]) -> Span:
    def column(t: int, name: str) -> Ints:
        return np.cumsum(arrays[f"{s}.{t}.{name}"], dtype=np.int64)

    tracks = tuple(
        TrackSamples(
            track_id=track_id,
            timescale=timescale,
            kind=kind,
            dts=column(t, "dts"),
            cts=column(t, "cts"),
            duration=column(t, "duration"),
            size=column(t, "size"),
            key=arrays[f"{s}.{t}.key"],
            run_offset=column(t, "run_offset"),
            run_count=column(t, "run_count"),
        )
        for t, (track_id, timescale, kind) in enumerate(head["tracks"])
    )
    return Span(
        init=arrays[f"{s}.init"].tobytes(),
        tracks=tracks,
        fragment_offset=np.cumsum(arrays[f"{s}.fragments"], dtype=np.int64),
        start=head["start"],
        end=head["end"],
        discontinuity=head["discontinuity"],
        sequence=head["sequence"],
    )
