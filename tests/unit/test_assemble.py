"""From a full ledger to the finished object on paper."""

import pytest

from pipeline.assemble import arrange, assemble, check, describe_tracks, poster_span
from pipeline.errors import SourceUnavailable, VerificationFailed
from pipeline.gaps import find_gaps
from pipeline.media.samples import Span
from pipeline.model import ChunkRecord, Gap
from tests.indexes import audio, record, span, video


def seconds(*starts_s: float, **flags: object) -> list[Span]:
    """Spans of a second each, one behind the other in a chunk."""
    return [
        span([video(start_s, 25, at=at), audio(start_s, 47, at=at + 10_000)], **flags)
        for at, start_s in zip(range(0, 10**6, 20_000), starts_s, strict=False)
    ]


def gaps_of(*records: ChunkRecord) -> list[tuple[float, float, tuple[int, ...]]]:
    found = assemble(arrange(records))
    assert found.gaps == find_gaps(records, found.placed)
    return [(round(g.start_s, 1), round(g.duration_s, 1), g.segments) for g in found.gaps]


def test_a_ledger_without_faults() -> None:
    records = [record(0, seconds(10.0)), record(1, seconds(11.0, 12.0))]
    found = assemble(arrange(records))
    assert found.gaps == ()
    assert found.duration_s == pytest.approx(3.0, abs=0.01)
    assert found.size_bytes == len(found.head) + sum(r.size_bytes for r in records)
    report = check(found, records)
    assert report["samples_out"] == report["packets_in"] == 3 * (25 + 47)
    assert report["borders_decoded"] == 2
    tracks = describe_tracks(found)
    assert [t["kind"] for t in tracks] == ["video", "audio"]
    assert [t["starts_at_s"] for t in tracks] == [0, 0]


def test_records_may_come_in_any_order_and_empty_ones_take_no_room() -> None:
    records = [
        record(2, seconds(12.0)),
        record(0, seconds(10.0)),
        record(1, [], lost=[(5, 0)]),
    ]
    found = assemble(arrange(records))
    assert sorted(found.object_offset) == [0, 2]
    assert [p.chunk for p in found.placed] == [0, 2]


@pytest.mark.parametrize(
    ("records", "gaps"),
    [
        # In the middle of a chunk, at its begin, at its end.
        ([record(0, seconds(10, 13), lost=[(1, 1)])], [(1.0, 2.0, (1,))]),
        ([record(0, seconds(12), lost=[(0, 0)])], [(0.0, 2.0, (0,))]),
        (
            [record(0, seconds(10), lost=[(1, 1)]), record(1, seconds(13))],
            [(1.0, 2.0, (1,))],
        ),
        # At the end of the recording.
        ([record(0, seconds(10), lost=[(1, 1), (2, 1)])], [(1.0, 4.0, (1, 2))]),
        # Over a chunk's border, and over chunks of which nothing is left.
        (
            [
                record(0, seconds(10), lost=[(1, 1)]),
                record(1, [], lost=[(2, 0), (3, 0)]),
                record(2, seconds(18), lost=[(4, 0)]),
            ],
            [(1.0, 8.0, (1, 2, 3, 4))],
        ),
        # Two gaps with a second of media between them.
        (
            [record(0, seconds(10, 13, 16), lost=[(1, 1), (3, 2)])],
            [(1.0, 2.0, (1,)), (2.0, 2.0, (3,))],
        ),
        # A jump that no lost segment explains, and one that the source marked.
        (
            [record(0, seconds(10, sequence=0)), record(1, seconds(41, sequence=1))],
            [(1.0, 30.0, (1,))],
        ),
        ([record(0, seconds(10)), record(1, seconds(41, discontinuity=True))], []),
        # The clock went back: nothing is missing.
        ([record(0, seconds(10)), record(1, seconds(3))], []),
    ],
)
def test_gaps(records: list[ChunkRecord], gaps: list[tuple[float, float, tuple[int, ...]]]) -> None:
    assert gaps_of(*records) == gaps


def test_short_loss_at_a_chunks_end_closes_up_too() -> None:
    """The next chunk cannot know; without the mark a pause this short would stay."""
    found = assemble(arrange([record(0, seconds(10), lost=[(1, 1)]), record(1, seconds(11.3))]))
    assert found.duration_s == pytest.approx(2.0, abs=0.01)


def test_a_gap_keeps_the_first_reason() -> None:
    (gap,) = assemble(arrange([record(0, seconds(10), lost=[(1, 1), (2, 1)])])).gaps
    assert isinstance(gap, Gap)
    assert gap.reason == "segment 1 is missing"


def test_nothing_at_all_says_why() -> None:
    with pytest.raises(SourceUnavailable, match="segment 0 is missing"):
        assemble(arrange([record(0, [], lost=[(0, 0), (1, 0)])]))
    with pytest.raises(SourceUnavailable, match="no segments"):
        assemble(arrange([]))


def test_packets_that_got_lost_on_the_way_fail_the_recording() -> None:
    records = [record(0, seconds(10.0))]
    records[0].report["packets_in"] += 1
    with pytest.raises(VerificationFailed, match=r"73 packets came in .* 72 samples go out"):
        check(assemble(arrange(records)), records)


def test_the_poster_is_the_border_with_most_to_see() -> None:
    records = [record(0, seconds(10.0)), record(1, seconds(11.0))]
    found = poster_span(assemble(arrange(records)), records)
    assert found is not None
    assert found[0] == 1
    sound = [record(0, [span([audio(10.0, 47, at=50)])])]
    assert poster_span(assemble(arrange(sound)), sound) is None
