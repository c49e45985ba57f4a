"""What is left open for lost media, and what is made to fill it."""

from dataclasses import replace
from fractions import Fraction

import pytest

from pipeline.assemble import Assembly, arrange, assemble, check
from pipeline.filling import are_enough, plan_fillers
from pipeline.media.samples import Span
from pipeline.media.timeline import KEPT_PAUSE_S, MOST_OPEN_S
from pipeline.model import ChunkRecord
from pipeline.steps import fill_chunk
from tests.indexes import audio, record, span, video


def second(start_s: float, **flags: object) -> Span:
    return span([video(start_s, 25), audio(start_s, 47, at=10_000)], **flags)


def holes_of(*records: ChunkRecord) -> list[tuple[float, float]]:
    found = arrange(records, keep_time=True).holes
    return [(round(float(hole.start_s), 1), round(float(hole.length_s), 1)) for hole in found]


def filled(*records: ChunkRecord) -> tuple[Assembly, list[ChunkRecord]]:
    arrangement = arrange(records, keep_time=True)
    planned = plan_fillers(arrangement.holes, len(records))
    fillers = [fill_chunk(index, blanks)[0].record() for index, blanks in planned]
    return assemble(arrangement, fillers=fillers), fillers


@pytest.mark.parametrize(
    ("records", "holes"),
    [
        # The clock agrees with what the playlist claims (2 s), more or less.
        ([record(0, [second(10)], lost=[(1, 1)]), record(1, [second(13)])], [(11.0, 1.9)]),
        ([record(0, [second(10)], lost=[(1, 1)]), record(1, [second(13.4)])], [(11.0, 2.3)]),
        # It was set, forward or back.
        ([record(0, [second(10)], lost=[(1, 1)]), record(1, [second(500)])], [(11.0, 2.0)]),
        ([record(0, [second(500)], lost=[(1, 1)]), record(1, [second(10)])], [(501.0, 2.0)]),
        # Only it tells.
        ([record(0, [second(10)]), record(1, [second(71)])], [(11.0, 59.9)]),
        # The source says that nothing is missing.
        ([record(0, [second(10)]), record(1, [second(71, discontinuity=True)])], []),
        ([record(0, [second(10)]), record(1, [second(11 + KEPT_PAUSE_S - 0.1)])], []),
        # At the ends.
        ([record(0, [second(10)], lost=[(0, 0)])], [(10.0, 1.9)]),
        ([record(0, [second(10)], lost=[(1, 1), (2, 1)])], [(11.0, 4.0)]),
        # Too much for all to be left open.
        (
            [record(n, [second(10 + MOST_OPEN_S * at)]) for n, at in enumerate((0, 0.9, 1.1))],
            [(11.0, round(MOST_OPEN_S * 0.9 - 1.1, 1))],
        ),
    ],
)
def test_what_is_left_open(records: list[ChunkRecord], holes: list[tuple[float, float]]) -> None:
    assert holes_of(*records) == [
        (start, pytest.approx(length, abs=0.11)) for start, length in holes
    ]


def test_nothing_stays_open_where_it_is_cut() -> None:
    assert arrange([record(0, [second(10)]), record(1, [second(71)])]).holes == ()


def test_fillers_are_pieces_of_an_hour_at_most() -> None:
    records = [record(0, [second(10)]), record(1, [second(10 + 9000)]), record(2, [second(9500)])]
    holes = arrange(records, keep_time=True).holes
    planned = list(plan_fillers(holes, 3))
    assert [index for index, _ in planned] == [3, 4, 5]
    lengths = [[float(blank.length_s) for blank in blanks] for _, blanks in planned]
    assert lengths == [[3600], [3600], pytest.approx([1799, 489], abs=0.2)]
    first, second_piece = planned[0][1][0].tracks[0], planned[1][1][0].tracks[0]
    assert first.until_s == second_piece.start_s


@pytest.mark.parametrize("later_s", [-0.2, 0.0, 0.2])
def test_tracks_that_go_on_apart_from_each_other(later_s: float) -> None:
    """Also where a piece of an hour ends between them."""
    at_s = 11 + 3600.0 - 0.1
    behind = span([video(at_s, 25), audio(at_s + later_s, 47, at=10_000)])
    records = [record(0, [second(10)]), record(1, [behind])]
    found, fillers = filled(*records)
    check(found, [*records, *fillers])
    assert found.filled_s == pytest.approx(3600, abs=0.5)


def test_sound_of_its_own_that_is_there_where_pictures_are_lost() -> None:
    def sound(start_s: float) -> Span:
        return replace(span([audio(start_s, 94, at=20_000)]), playlist=1)

    records = [
        record(0, [sound(10)], lost=[(0, 0)]),
        record(1, [span([video(12, 25)]), sound(12)]),
    ]
    found, fillers = filled(*records)
    check(found, [*records, *fillers])
    assert found.filled_s == pytest.approx(2.0, abs=0.2)
    assert not found.playlists[0, 0].segments[0].discontinuity


def test_more_than_can_be_filled_is_not_planned() -> None:
    records = [record(n, [second(10 + 2 * n)]) for n in range(600)]
    found = arrange(records, keep_time=True)
    assert len(found.holes) == 599
    assert list(plan_fillers(found.holes, 600)) == []
    assert not are_enough(found.placed, found.holes, [])


def test_a_ledger_of_before() -> None:
    """Its reports do not know of fillers."""
    records = [record(0, [second(10)], lost=[(1, 1)]), record(1, [second(13)])]
    for entry in records:
        del entry.report["filler_packets"]
        for lost in entry.report["lost"]:
            del lost["is_filled"]
    found, fillers = filled(*records)
    check(found, [*records, *fillers])


def test_a_filled_recording_is_whole() -> None:
    records = [record(0, [second(10)]), record(1, [second(21)])]
    found, fillers = filled(*records)
    assert found.filled_s == pytest.approx(10.0, abs=0.1)
    assert found.duration_s == pytest.approx(12.0, abs=0.01)
    report = check(found, [*records, *fillers])
    assert report["filler_packets"] == sum(r.report["filler_packets"] for r in fillers) > 500
    assert report["packets_in"] + report["filler_packets"] == report["samples_out"]
    assert [p.span.is_filler for p in found.placed] == [False, True, False]
    # In front of all chunks, behind the head.
    assert found.object_offset[2] == len(found.head)
    assert found.layout.joined[0].chunks[0] == 2
    (gap,) = found.gaps
    assert (gap.start_s, gap.duration_s) == pytest.approx((1.0, 10.0), abs=0.1)


def test_a_filler_goes_on_with_the_clock_beside_it() -> None:
    found, _ = filled(record(0, [second(10)]), record(1, [second(21)]))
    before, filler, behind = found.placed
    assert [p.shift_s for p in found.placed] == [Fraction(0)] * 3
    assert before.end_s() <= filler.start_s() + 0.01
    assert filler.end_s() == pytest.approx(behind.start_s(), abs=0.03)
