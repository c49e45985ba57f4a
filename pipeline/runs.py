"""Runs: consecutive segments that one demuxer can read in one go, and how they are divided."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.load import Loaded
from pipeline.media.segments import has_own_init
from pipeline.media.sniff import Kind, Media
from pipeline.media.ts import Tables, first_counters, read_tables

Run = Sequence[Loaded]


def media_of(entry: Loaded) -> Media:
    assert entry.media is not None
    return entry.media


def length_s(run: Run) -> float:
    return sum(entry.segment.duration_s for entry in run)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a run. ``damaged``: it is known that copying it does not do."""

    run: Run
    damaged: bool = False


def around(run: Run, alone: Sequence[int], *, damaged: bool) -> list[Part]:
    """Each of ``alone`` by itself, and what lies between them."""
    parts: list[Part] = []
    at = 0
    for number in alone:
        parts += [Part(run[at:number]), Part(run[number : number + 1], damaged)]
        at = number + 1
    return [part for part in (*parts, Part(run[at:])) if part.run]


def split(run: Run, cuts: Sequence[int]) -> list[Run]:
    bounds = [0, *cuts, len(run)]
    return [run[a:b] for a, b in pairwise(bounds) if a < b]


def divide(loaded: Run) -> Iterator[list[Loaded]]:
    """Consecutive segments that one demuxer can read in one go; lost ones alone."""
    run: list[Loaded] = []
    streams: frozenset[tuple[int, int, int]] | None = None
    for entry in loaded:
        tables = _tables(entry)
        changes = tables is not None and streams is not None and tables.streams != streams
        if run and (changes or _breaks(run[-1], entry)):
            yield run
            run = []
        streams = tables.streams if tables is not None else streams
        if entry.problem:
            yield [entry]
        else:
            run.append(entry)
    if run:
        yield run


def restarts_behind(run: Run, number: int) -> bool:
    """Whether the continuity counters begin anew with each segment, as packagers write them that
    make every one by itself: FFmpeg takes that for lost packets at its end."""
    if number + 1 >= len(run) or media_of(run[number]).kind is not Kind.TS:
        return False
    own, following = (first_counters(media_of(run[n]).data) for n in (number, number + 1))
    return own == following


def are_alike(one: Media, other: Media) -> bool:
    """Whether one demuxer can read both in one go."""
    if one.kind is not other.kind:
        return False
    first, second = (read_tables(m.data) if m.kind is Kind.TS else None for m in (one, other))
    return first is None or second is None or first.streams == second.streams


def _tables(entry: Loaded) -> Tables | None:
    is_ts = entry.media is not None and entry.media.kind is Kind.TS
    return read_tables(media_of(entry).data) if is_ts else None


def _breaks(before: Loaded, entry: Loaded) -> bool:
    if entry.media is None or before.media is None or entry.segment.discontinuity:
        return True
    return (
        init_of(entry) != init_of(before)
        or entry.media.kind is not before.media.kind
        or entry.media.stamp is not None
        or has_own_init(entry.media.data)
    )


def init_of(entry: Loaded) -> bytes:
    """The init that it is read with, whatever its playlist says: bytes decide."""
    media = media_of(entry)
    return b"" if media.kind is not Kind.MP4 or has_own_init(media.data) else entry.init
