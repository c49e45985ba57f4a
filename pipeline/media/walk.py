"""Walks over the fragments of a finished MP4, by reading their ``moof`` boxes only, and finds out
which samples of ``moov`` each run of samples is. Fragments may lie in any order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.errors import MediaInvalid, VerificationFailed
from pipeline.media import boxes
from pipeline.media.fragments import Run, read_runs
from pipeline.media.samples import Ints
from pipeline.media.tables import TableTrack

_MAX_MOOF_BYTES = 16 * 2**20

Progress = Callable[[int, int], None]


class Bytes(Protocol):
    """A file or object. ``read`` gives fewer bytes where it ends."""

    size: int

    def read(self, offset: int, length: int) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRun:
    """A run of samples, of which ``first`` is the number of the first one in ``track``."""

    track: int
    first: int
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """``moof`` at ``start`` with its ``mdat`` up to ``end``; ``number``: counted from 0 in the
    file; ``sequence``: its muxer's own count, which each muxer begins with 1."""

    number: int
    start: int
    end: int
    sequence: int
    runs: tuple[PlacedRun, ...]


class Offsets:
    """Finds samples by where they lie."""

    def __init__(self, offset: Ints) -> None:
        in_order = bool((np.diff(offset) >= 0).all())
        self._offset = offset
        self._order = None if in_order else np.argsort(offset, kind="stable")

    def next_from(self, start: int) -> int | None:
        """The number of the first sample that lies at ``start`` or behind it."""
        at = int(np.searchsorted(self._offset, start, sorter=self._order))
        if at == len(self._offset):
            return None
        return at if self._order is None else int(self._order[at])

    def at(self, start: int) -> int | None:
        """The number of the sample that begins at ``start``."""
        number = self.next_from(start)
        return number if number is not None and self._offset[number] == start else None


def walk(
    data: Bytes, tables: Sequence[TableTrack], body: int, end: int, on_progress: Progress
) -> list[Fragment]:
    """All fragments from byte ``body`` to ``end``. Raises ``VerificationFailed``."""
    return _Walk(data, tables, on_progress).fragments(body, end)


def runs_by_track(
    tables: Sequence[TableTrack], fragments: Sequence[Fragment]
) -> list[list[tuple[Fragment, PlacedRun]]]:
    """Each track's runs in the order of its samples. Raises ``VerificationFailed`` where two of
    them are the same samples, or none is a track's."""
    found: list[list[tuple[Fragment, PlacedRun]]] = [[] for _ in tables]
    for fragment in fragments:
        for placed in fragment.runs:
            found[placed.track].append((fragment, placed))
    for table, own in zip(tables, found, strict=True):
        if not own:
            raise VerificationFailed(f"no fragment holds samples of the {table.kind} track")
        own.sort(key=lambda entry: entry[1].first)
        behind = 0
        for fragment, placed in own:
            if placed.first < behind:
                raise VerificationFailed(
                    f"fragment at byte {fragment.start} holds sample {placed.first} of the "
                    f"{table.kind} track, as another run does"
                )
            behind = placed.first + len(placed.run.size)
    return found


class _Walk:
    def __init__(self, data: Bytes, tables: Sequence[TableTrack], on_progress: Progress) -> None:
        self._data, self._on_progress = data, on_progress
        # Fragments of one muxer have numbers of their own: what names a track is where it points.
        self._offsets = [Offsets(table.offset) for table in tables]

    def fragments(self, body: int, end: int) -> list[Fragment]:
        found: list[Fragment] = []
        at = body
        while at < end:
            self._on_progress(at, end)
            box = self._header(at, end)
            if box.kind == b"moof":
                fragment = self._fragment(len(found), at, box.end, end)
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

    def _fragment(self, number: int, at: int, moof_bytes: int, end: int) -> Fragment:
        if moof_bytes > _MAX_MOOF_BYTES:
            raise VerificationFailed(f"byte {at}: moof of {moof_bytes} bytes")
        mdat = self._header(at + moof_bytes, end)
        if mdat.kind != b"mdat":
            raise VerificationFailed(f"byte {at + moof_bytes}: {mdat.kind!r} behind a moof")
        try:
            moof = self._data.read(at, moof_bytes)
            sequence, runs = _sequence(moof), read_runs(moof)
        except MediaInvalid as error:
            raise VerificationFailed(f"fragment at byte {at}: {error.message}") from error
        first, behind = at + moof_bytes + mdat.body, at + moof_bytes + mdat.end
        placed = []
        for run in runs:
            begin = at + run.offset
            if begin < first or begin + int(run.size.sum()) > behind:
                raise VerificationFailed(f"fragment at byte {at} points outside its mdat")
            placed.append(self._place(begin, run, at))
        return Fragment(number=number, start=at, end=behind, sequence=sequence, runs=tuple(placed))

    def _place(self, offset: int, run: Run, at: int) -> PlacedRun:
        for track, offsets in enumerate(self._offsets):
            first = offsets.at(offset)
            if first is not None and len(run.size):
                return PlacedRun(track=track, first=first, run=run)
        raise VerificationFailed(
            f"fragment at byte {at}: no track of moov has a sample at byte {offset}"
        )


@boxes.reading("a fragment")
def _sequence(moof: bytes) -> int:
    """``mfhd`` (ISO/IEC 14496-12 8.8.5)."""
    mfhd = boxes.need(moof, "moof/mfhd")
    return int.from_bytes(moof[mfhd.body + 4 : mfhd.body + 8])
