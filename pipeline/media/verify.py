"""Judges a hybrid MP4: do the sample tables say what the fragments say, and do the bytes exist?

Holds what ``tables`` reads against the fragments' own ``trun`` boxes and the HLS byte ranges.
``stitch`` never calls this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import VerificationFailed
from pipeline.media.samples import Flags, Ints, TrackSamples
from pipeline.media.tables import TableTrack, sample_offsets

# Tracks are moved by whole ticks of their own, and edit lists count movie ticks.
_SYNC_SLACK_S = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class FragmentSamples:
    """One lane from the fragments, shape ``(n,)``: ``offset`` in the object, times in ticks of
    ``timescale``; ``span`` tells samples apart that may have been moved differently."""

    kind: str
    span: Ints
    timescale: Ints
    offset: Ints
    size: Ints
    dts: Ints
    cts: Ints
    key: Flags


def fragment_samples(kind: str, tracks: Sequence[tuple[int, int, TrackSamples]]) -> FragmentSamples:
    """Join one lane's samples over all spans, in order: ``(number of the span, where in the object
    its offsets count from, samples)``."""

    def column(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(t, name) for _, _, t in tracks])

    return FragmentSamples(
        kind=kind,
        span=np.concatenate([np.full(len(t.size), span, np.int64) for span, _, t in tracks]),
        timescale=np.concatenate([np.full(len(t.size), t.timescale) for _, _, t in tracks]),
        offset=np.concatenate(
            [base + sample_offsets(t.run_offset, t.run_count, t.size) for _, base, t in tracks]
        ),
        size=column("size"),
        dts=column("dts"),
        cts=column("cts"),
        key=column("key"),
    )


def check_tables(
    tables: Sequence[TableTrack], fragments: Sequence[FragmentSamples], body: int, size: int
) -> dict[str, int]:
    """Raise ``VerificationFailed`` at the first thing that is not as it must be."""
    if len(tables) != len(fragments):
        raise VerificationFailed(f"{len(tables)} tracks in moov, {len(fragments)} in fragments")
    moved: dict[int, float] = {}
    for number, (table, truth) in enumerate(zip(tables, fragments, strict=True), 1):
        name = f"track {number} ({table.kind})"
        if table.kind != truth.kind:
            raise VerificationFailed(f"{name} is {truth.kind} in its fragments")
        for column in ("size", "offset", "key"):
            _same(getattr(table, column), getattr(truth, column), None, f"{name}: {column}")
        _check_times(table, truth, name)
        _check_sync(table, truth, moved, name)
        outside = (table.offset < body) | (table.offset + table.size > size)
        if outside.any():
            at = int(np.flatnonzero(outside)[0])
            raise VerificationFailed(f"{name}: sample {at} lies outside the object")
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


def _check_times(table: TableTrack, truth: FragmentSamples, name: str) -> None:
    """Composition offsets and, inside each span, distances between decode times."""
    scale = table.timescale / truth.timescale
    # Another time scale than the track's is rounded to it.
    slack = np.where(truth.timescale == table.timescale, 0.0, 1.01)
    _same(table.cts, truth.cts * scale, slack, f"{name}: cts")
    steps = np.diff(table.dts)
    if (steps <= 0).any():
        at = int(np.flatnonzero(steps <= 0)[0])
        raise VerificationFailed(f"{name}: decode time does not grow behind sample {at}")
    inside = np.diff(truth.span) == 0
    wanted = np.where(inside, np.diff(truth.dts) * scale[1:], steps)
    _same(steps, wanted, slack[1:], f"{name}: duration")


def _check_sync(
    table: TableTrack, truth: FragmentSamples, moved: dict[int, float], name: str
) -> None:
    """All tracks of a span are moved by the same time. ``moved``: by span, of the tracks before."""
    for first in np.flatnonzero(np.diff(truth.span, prepend=-1)):
        shown_s = table.wait_s + float(table.dts[first] - table.skip) / table.timescale
        by_s = shown_s - float(truth.dts[first]) / float(truth.timescale[first])
        before_s = moved.setdefault(int(truth.span[first]), by_s)
        slack_s = _SYNC_SLACK_S + 2 / min(table.timescale, int(truth.timescale[first]))
        if abs(by_s - before_s) > slack_s:
            raise VerificationFailed(
                f"{name}: sample {first} is {abs(by_s - before_s):.4f} s out of step"
            )


def _same(
    found: npt.NDArray[Any], truth: npt.NDArray[Any], slack: npt.NDArray[Any] | None, what: str
) -> None:
    if len(found) != len(truth):
        raise VerificationFailed(f"{what}: {len(found)} in moov, {len(truth)} in fragments")
    differs = found != truth if slack is None else np.abs(found - truth) > slack
    if differs.any():
        at = int(np.flatnonzero(differs)[0])
        raise VerificationFailed(
            f"{what} of sample {at}: {found[at]} in moov, {truth[at]} in its fragment"
        )
