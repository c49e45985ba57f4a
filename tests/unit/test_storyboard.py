"""Which tiles a storyboard has, where they lie, when they are shown."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import pytest

from pipeline.model import ChunkRecord, PictureForm, TileSize
from pipeline.storyboard import (
    Cue,
    Growing,
    Tile,
    cues,
    grid,
    left_out,
    read_tiles,
    render,
    select,
    sheet_name,
    sheet_shape,
    sheets,
    tile_size,
)

SIZE = TileSize(width=160, height=90)


def tile(at_s: int, *more: int, chunk: int = 0, time_s: float | None = None) -> Tile:
    """Its picture is shown at the point of the grid, but for the lead of recording time."""
    shown_s = 10.0 + at_s if time_s is None else time_s
    return Tile(
        chunk=chunk, at_s=(at_s, *more), time_s=shown_s, span=0, offset=0, length=9, size=SIZE
    )


def of_length(length_s: int, chunk_s: int = 30) -> list[Tile]:
    """All that the chunks of such a recording make."""
    return [
        tile(at, chunk=chunk)
        for chunk, start in enumerate(range(0, length_s, chunk_s))
        for at in grid(start, min(chunk_s, length_s - start))
    ]


def record(chunk: int, tiles: Sequence[Tile], left_out: Sequence[str] = ()) -> ChunkRecord:
    told = {"size": [160, 90], "made": [t.describe() for t in tiles], "left_out": list(left_out)}
    return ChunkRecord(
        index_number=chunk,
        size_bytes=1,
        part=None,
        staging_key=None,
        index=b"",
        report={"tiles": told},
    )


def points(tiles: Sequence[Tile]) -> list[int]:
    return [tile.at_s[0] for tile in tiles]


def test_chunks_cut_anywhere_have_the_same_grid_together() -> None:
    edges = [0.0, 0.4, 7.0, 7.96, 19.2, 31.5, 99.0, 100.0, 100.04, 250.0]
    cut = [at for a, b in pairwise(edges) for at in grid(a, b - a)]
    assert cut == grid(0.0, 250.0)
    assert len([at for at in cut if at < 100]) == 44
    assert [at for at in cut if at >= 100] == list(range(100, 250, 10))


def test_a_grid_over_anything_is_short() -> None:
    assert grid(0.0, 0.0) == [0]
    assert grid(0.0, 0.3) == [0]
    assert grid(101.0, 5.0) == []
    assert len(grid(0.0, 1e12)) == 128


@pytest.mark.parametrize(
    ("length_s", "step_s"), [(1, 1), (15, 1), (20, 1), (30, 2), (60, 5), (100, 5), (300, 10)]
)
def test_short_recordings_have_tiles_nearer_to_each_other(length_s: int, step_s: int) -> None:
    assert points(select(of_length(length_s))) == list(range(0, length_s, step_s))


def test_one_keyframe_may_be_nearest_to_several_points() -> None:
    tiles = [tile(0, 1), tile(2, 3, 4, 5), tile(6, 7), *(tile(at) for at in range(8, 45))]
    assert points(select(tiles))[:4] == [0, 2, 10, 15]


def test_sheets_of_a_growing_recording_are_those_of_the_whole_one() -> None:
    tiles = of_length(3_500)
    whole = sheets(select(tiles))
    assert [len(sheet) for sheet in whole] == [100, 100, 100, 50]
    growing = Growing()
    by_chunk = [[t for t in tiles if t.chunk == chunk] for chunk in range(117)]
    growing.add(1, [record(1, by_chunk[1])])
    assert growing.full_sheets() == []
    for chunk in (0, *range(2, 117)):
        growing.add(chunk, [record(chunk, by_chunk[chunk])])
        full = growing.full_sheets()
        assert full == whole[: len(full)]
    assert len(full) == 3


def test_what_a_chunk_tells_is_read_back() -> None:
    made = [tile(3, 4, chunk=7, time_s=13.025)]
    chunk = record(7, made, ["keyframe gives no whole picture"])
    assert read_tiles(chunk) == made
    assert left_out([chunk]) == [{"chunk": 7, "reason": "keyframe gives no whole picture"}]


def test_cues_cover_the_timeline_in_order() -> None:
    tiles = [tile(1), tile(5), None, tile(9, chunk=1), tile(9, chunk=2), tile(12)]
    shift = {(0, 0): Fraction(-10), (1, 0): Fraction(-9)}
    # One is missing, one lies in a chunk that was left out.
    assert cues(tiles, shift, 12.5) == [
        Cue(number=0, start_ms=0, end_ms=5_000),
        Cue(number=1, start_ms=5_000, end_ms=10_000),
        Cue(number=3, start_ms=10_000, end_ms=12_000),
        Cue(number=5, start_ms=12_000, end_ms=12_500),
    ]
    assert cues([None], shift, 12.5) == cues([], shift, 12.5) == []


def test_cues_never_go_back() -> None:
    tiles = [tile(0), tile(4), tile(4, time_s=14.0001), tile(3), tile(20)]
    found = cues(tiles, {(0, 0): Fraction(-10)}, 8.0)
    assert [(cue.number, cue.start_ms, cue.end_ms) for cue in found] == [
        (0, 0, 4_000),
        (1, 4_000, 8_000),
    ]


def test_the_text() -> None:
    shown = [
        Cue(number=0, start_ms=0, end_ms=10_021),
        Cue(number=11, start_ms=10_021, end_ms=3_599_999),
        Cue(number=359, start_ms=3_599_999, end_ms=363_600_001),
    ]
    assert render(shown, SIZE) == (
        "WEBVTT\n\n"
        "00:00.000 --> 00:10.021\nstoryboard-001.jpg#xywh=0,0,160,90\n\n"
        "00:10.021 --> 59:59.999\nstoryboard-001.jpg#xywh=160,90,160,90\n\n"
        "59:59.999 --> 101:00:00.001\nstoryboard-004.jpg#xywh=1440,450,160,90\n"
    )
    assert sheet_name(1234) == "storyboard-1235.jpg"


def test_a_sheet_is_as_large_as_it_has_to_be() -> None:
    assert [sheet_shape(n) for n in (1, 9, 10, 11, 100)] == [
        *((1, 1), (9, 1), (10, 1)),
        *((10, 2), (10, 10)),
    ]


@pytest.mark.parametrize(
    ("pictures", "size"),
    [
        (None, (160, 90)),
        (PictureForm(width=1920, height=1080), (284, 160)),
        (PictureForm(width=720, height=576, aspect=Fraction(64, 45)), (284, 160)),
        (PictureForm(width=1080, height=1920), (90, 160)),
        (PictureForm(width=128, height=72), (128, 72)),
        (PictureForm(width=5120, height=720), (320, 44)),
        (PictureForm(width=8192, height=2), (320, 2)),
    ],
)
def test_tiles_have_the_shape_of_the_first_pictures(
    pictures: PictureForm | None, size: tuple[int, int]
) -> None:
    found = tile_size(pictures)
    assert (found.width, found.height) == size
