"""The storyboard: which tiles it has, on which sheets they lie, and when each is shown.

Chunks choose keyframes by a grid over the time that the playlist claims: no chunk needs to know of
another, or how long the recording will be. Tiles follow each other in the order of the chunks, so
sheets can be made while the stream goes on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from math import ceil, inf
from typing import Any, TypeVar

from pipeline.model import PLAIN_TILE, ChunkRecord, PictureForm, TileSize

_COLUMNS, _ROWS = 10, 10
# Seconds from tile to tile, in recordings that are shorter than so many seconds.
_STEPS = ((1, 20.0), (2, 40.0), (5, 100.0), (10, inf))
_MOST_PER_CHUNK = 128
_MOST_WIDTH, _MOST_HEIGHT = 320, 160

Report = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A thumbnail in the strip of a chunk, ``length`` bytes from ``offset``.

    ``at_s``: the points of the grid that it is nearest to; ``time_s``: recording time of its
    picture; ``span``: where in the chunk the first fragment of its span begins.
    """

    chunk: int
    at_s: tuple[int, ...]
    time_s: float
    span: int
    offset: int
    length: int
    size: TileSize

    def describe(self) -> Report:
        """For the report of its chunk."""
        return {
            "at_s": list(self.at_s),
            "time_s": self.time_s,
            "span": self.span,
            "offset": self.offset,
            "length": self.length,
        }

    def is_of(self, step_s: int) -> bool:
        return any(at % step_s == 0 for at in self.at_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """Tile ``number`` of the storyboard is shown from ``start_ms`` to ``end_ms``."""

    number: int
    start_ms: int
    end_ms: int


def tile_size(pictures: PictureForm | None) -> TileSize:
    """In the shape in which the first pictures are shown."""
    if pictures is None:
        return PLAIN_TILE
    shown, lines = max(1, pictures.shown_width), max(1, pictures.height)
    scale = min(Fraction(_MOST_WIDTH, shown), Fraction(_MOST_HEIGHT, lines), Fraction(1))
    return TileSize(width=_even(shown * scale), height=_even(lines * scale))


def _even(value: Fraction) -> int:
    return max(2, round(value / 2) * 2)


def grid(start_s: float, length_s: float) -> list[int]:
    """Whole seconds of playlist time at which a chunk should have a tile. A playlist that claims no
    durations has one at the begin."""
    wanted = (
        at
        for at in range(ceil(start_s), max(ceil(start_s + length_s), 1))
        if any(at % step == 0 and at < until_s for step, until_s in _STEPS)
    )
    return list(islice(wanted, _MOST_PER_CHUNK))


def read_tiles(record: ChunkRecord) -> list[Tile]:
    """Those of a chunk, by its report."""
    told = record.report.get("tiles")
    if not told:
        return []
    width, height = told["size"]
    return [
        Tile(
            chunk=record.index_number,
            at_s=tuple(tile["at_s"]),
            time_s=tile["time_s"],
            span=tile["span"],
            offset=tile["offset"],
            length=tile["length"],
            size=TileSize(width=width, height=height),
        )
        for tile in told["made"]
    ]


def select(tiles: Sequence[Tile]) -> list[Tile]:
    """Those of a recording that is over. ``tiles``: of all chunks in order."""
    step_s, _ = _step(_last_at_s(tiles))
    return [tile for tile in tiles if tile.is_of(step_s)]


def _last_at_s(tiles: Iterable[Tile]) -> int:
    return max((at for tile in tiles for at in tile.at_s), default=0)


def _step(last_at_s: int) -> tuple[int, bool]:
    """Seconds from tile to tile, and whether that stays so however long the recording goes on."""
    return next((step, until_s == inf) for step, until_s in _STEPS if last_at_s < until_s)


class Growing:
    """The tiles of a recording that goes on."""

    def __init__(self) -> None:
        # By chunk, of those before which others are missing.
        self._waiting: dict[int, list[Tile]] = {}
        self._next = self._last_at_s = 0
        self._tiles: list[Tile] = []

    def add(self, chunk: int, records: Sequence[ChunkRecord]) -> None:
        """``records``: of all outputs."""
        self._waiting[chunk] = [tile for record in records for tile in read_tiles(record)]
        lasting_s, _ = _STEPS[-1]
        while self._next in self._waiting:
            tiles = self._waiting.pop(self._next)
            self._next += 1
            self._last_at_s = max(self._last_at_s, _last_at_s(tiles))
            self._tiles += [tile for tile in tiles if tile.is_of(lasting_s)]

    def full_sheets(self) -> list[Sequence[Tile]]:
        """Those that nothing changes any more, in order."""
        _, is_settled = _step(self._last_at_s)
        return sheets(self._tiles)[: len(self._tiles) // (_COLUMNS * _ROWS)] if is_settled else []


def left_out(records: Iterable[ChunkRecord]) -> list[Report]:
    """Keyframes that could not become tiles, and why."""
    return [
        {"chunk": record.index_number, "reason": reason}
        for record in records
        for reason in record.report.get("tiles", {}).get("left_out", ())
    ]


def sheets(tiles: Sequence[T]) -> list[Sequence[T]]:
    """In order; only the last one may still change."""
    per_sheet = _COLUMNS * _ROWS
    return [tiles[first : first + per_sheet] for first in range(0, len(tiles), per_sheet)]


def sheet_of(number: int) -> int:
    """On which sheet a tile lies."""
    return number // (_COLUMNS * _ROWS)


def sheet_shape(tiles: int) -> tuple[int, int]:
    """Columns and rows that so many tiles need."""
    return min(tiles, _COLUMNS), ceil(tiles / _COLUMNS)


def sheet_name(number: int) -> str:
    """``number``: from 0 on."""
    return f"storyboard-{number + 1:03d}.jpg"


def cues(
    tiles: Sequence[Tile | None], shift_s: Mapping[tuple[int, int], Fraction], length_s: float
) -> list[Cue]:
    """Each tile from when its picture is shown to the next one, the first from 0 on; together they
    are as long as the recording.

    ``tiles``: None for one that is not there; ``shift_s``: from recording time to that of the
    result, by chunk and ``Tile.span``.
    """
    end_ms = round(length_s * 1000)
    starts: list[tuple[int, int]] = []
    for number, tile in enumerate(tiles):
        shift = shift_s.get((tile.chunk, tile.span)) if tile else None
        if tile is None or shift is None:
            continue
        at_ms = round((Fraction(tile.time_s) + shift) * 1000) if starts else 0
        if at_ms < end_ms and (not starts or at_ms > starts[-1][1]):
            starts.append((number, at_ms))
    return [
        Cue(number=number, start_ms=at_ms, end_ms=until_ms)
        for (number, at_ms), (_, until_ms) in pairwise([*starts, (-1, end_ms)])
    ]


def render(cues: Sequence[Cue], size: TileSize) -> str:
    """WebVTT whose cues are parts of the sheets (W3C Media Fragments 4.2.2)."""
    return "\n\n".join(["WEBVTT", *_blocks(cues, size)]) + "\n"


def _blocks(cues: Sequence[Cue], size: TileSize) -> Iterator[str]:
    for cue in cues:
        row, column = divmod(cue.number % (_COLUMNS * _ROWS), _COLUMNS)
        part = f"{column * size.width},{row * size.height},{size.width},{size.height}"
        times = f"{_timestamp(cue.start_ms)} --> {_timestamp(cue.end_ms)}"
        yield f"{times}\n{sheet_name(sheet_of(cue.number))}#xywh={part}"


def _timestamp(ms: int) -> str:
    """WebVTT 4.1: hours where there are any."""
    minutes, left = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes:02d}:{left // 1000:02d}.{left % 1000:03d}"
    return f"{hours:02d}:{text}" if hours else text
