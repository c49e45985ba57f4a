"""Judges a hybrid MP4: do the sample tables say what the fragments say, and do the bytes exist?

Holds what ``tables`` reads against the fragments' own ``trun`` boxes and the HLS byte ranges.
``stitch`` never calls this.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import VerificationFailed
from pipeline.media.samples import TrackSamples
from pipeline.media.tables import TableTrack, sample_offsets

# Tracks are moved by whole ticks of their own, and edit lists count movie ticks.
_SYNC_SLACK_S = 1e-4


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples of one track from the fragments, all moved by the same time. ``span``: the same for
    what was moved together with it in other tracks; ``base``: where in the object its offsets count
    from."""

    span: int
    base: int
    samples: TrackSamples


@dataclass(frozen=True, slots=True)
class Truth:
    """A track of ``moov`` as its fragments have it: ``pieces`` in order."""

    kind: str
    pieces: Sequence[Piece]


def check_tables(
    tables: Iterable[TableTrack], truths: Sequence[Truth], body: int, size: int
) -> dict[str, int]:
    """Raise ``VerificationFailed`` at the first thing that is not as it must be. ``tables`` is gone
    through once, so that not all tracks need be in memory."""
    moved: dict[int, float] = {}
    tracks = samples = 0
    for table in tables:
        tracks += 1
        if tracks > len(truths):
            continue
        name, truth = f"track {tracks} ({table.kind})", truths[tracks - 1]
        if table.kind != truth.kind:
            raise VerificationFailed(f"{name} is {truth.kind} in its fragments")
        _check_track(table, truth, moved, name)
        outside = (table.offset < body) | (table.offset + table.size > size)
        if outside.any():
            at = int(np.flatnonzero(outside)[0])
            raise VerificationFailed(f"{name}: sample {at} lies outside the object")
        samples += len(table.size)
        # Else it would stay while the next one is read.
        del table
    if tracks != len(truths):
        raise VerificationFailed(f"{tracks} tracks in moov, {len(truths)} in fragments")
    return {"tracks": tracks, "samples": samples}


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


def _check_track(table: TableTrack, truth: Truth, moved: dict[int, float], name: str) -> None:
    count = sum(len(piece.samples.size) for piece in truth.pieces)
    if count != len(table.size):
        raise VerificationFailed(f"{name}: {len(table.size)} samples in moov, {count} in fragments")
    stays = table.dts[1:] <= table.dts[:-1]
    if stays.any():
        at = int(np.flatnonzero(stays)[0])
        raise VerificationFailed(f"{name}: decode time does not grow behind sample {at}")
    first = 0
    for piece in truth.pieces:
        _check_piece(table, first, piece, name)
        _check_sync(table, first, piece, moved, name)
        first += len(piece.samples.size)


def _check_piece(table: TableTrack, first: int, piece: Piece, name: str) -> None:
    """What is told of each sample, composition offsets, distances between decode times. ``first``:
    number of its first sample in the table."""
    own = piece.samples
    part = slice(first, first + len(own.size))
    offset = piece.base + sample_offsets(own.run_offset, own.run_count, own.size)
    scale = table.timescale / own.timescale
    # Another time scale than the track's is rounded to it.
    slack = 0.0 if own.timescale == table.timescale else 1.01
    for what, found, true, apart in (
        ("size", table.size[part], own.size, 0.0),
        ("offset", table.offset[part], offset, 0.0),
        ("key", table.key[part], own.key, 0.0),
        ("cts", table.cts[part], own.cts * scale, slack),
        ("duration", np.diff(table.dts[part]), np.diff(own.dts) * scale, slack),
    ):
        differs = np.abs(found - true) > apart if apart else found != true
        if differs.any():
            at = int(np.flatnonzero(differs)[0])
            raise VerificationFailed(
                f"{name}: {what} of sample {first + at}: {found[at]} in moov, {true[at]} in its "
                "fragment"
            )


def _check_sync(
    table: TableTrack, first: int, piece: Piece, moved: dict[int, float], name: str
) -> None:
    """All tracks of a span are moved by the same time. ``moved``: by span, of the tracks before."""
    own = piece.samples
    shown_s = table.wait_s + float(table.dts[first] - table.skip) / table.timescale
    by_s = shown_s - float(own.dts[0]) / float(own.timescale)
    before_s = moved.setdefault(piece.span, by_s)
    slack_s = _SYNC_SLACK_S + 2 / min(table.timescale, own.timescale)
    if abs(by_s - before_s) > slack_s:
        raise VerificationFailed(
            f"{name}: sample {first} is {abs(by_s - before_s):.4f} s out of step"
        )
