"""The chunk plan: the same whatever the batches, each segment exactly once."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.media.layout import MAX_CHUNKS, target_chunk_bytes
from pipeline.model import ByteRange, ChunkSpec, Segment
from pipeline.plan import MAX_CHUNK_S, PlanState, extend, resume

SEGMENTS = st.lists(
    st.tuples(st.floats(0.0, 60.0), st.one_of(st.none(), st.integers(0, 30 * 2**20))), max_size=40
)


def segments_of(form: list[tuple[float, int | None]]) -> list[Segment]:
    return [
        Segment(sequence=i, uri=f"{i}.ts", duration_s=duration, size_bytes=size)
        for i, (duration, size) in enumerate(form)
    ]


def all_at_once(segments: list[Segment], bytes_per_s: float = 400_000.0) -> list[ChunkSpec]:
    return list(extend(resume(0, bytes_per_s, []), segments, ended=True)[1])


@given(form=SEGMENTS, cuts=st.lists(st.integers(0, 40), max_size=6))
def test_batches_do_not_change_the_plan(
    form: list[tuple[float, int | None]], cuts: list[int]
) -> None:
    segments = segments_of(form)
    borders = [0, *sorted(min(cut, len(segments)) for cut in cuts), len(segments)]
    state, chunks = resume(0, 400_000.0, []), []
    for first, behind in pairwise(borders):
        state, cut = extend(state, segments[first:behind], ended=False)
        chunks += cut
    chunks += extend(state, [], ended=True)[1]
    assert chunks == all_at_once(segments)


@given(form=SEGMENTS)
def test_each_segment_is_in_exactly_one_chunk_in_order(
    form: list[tuple[float, int | None]],
) -> None:
    segments = segments_of(form)
    chunks = all_at_once(segments)
    assert [s for chunk in chunks for s in chunk.segments] == segments
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    before = 0.0
    for chunk in chunks:
        assert chunk.start_s == pytest.approx(before)
        before += sum(s.duration_s for s in chunk.segments)


@given(form=SEGMENTS, known=st.integers(0, 10))
def test_a_new_supervisor_plans_on_as_the_old_one_would(
    form: list[tuple[float, int | None]], known: int
) -> None:
    segments = segments_of(form)
    chunks = all_at_once(segments)[:known]
    state = resume(0, 400_000.0, chunks)
    rest = segments[sum(len(chunk.segments) for chunk in chunks) :]
    assert [*chunks, *extend(state, rest, ended=True)[1]] == all_at_once(segments)


def test_sizes_come_from_ranges_then_listings_then_the_bit_rate() -> None:
    target = target_chunk_bytes(0)
    plain = Segment(sequence=0, uri="a", duration_s=2.0)
    state = PlanState(anchor_s=0, bytes_per_s=target / 4)
    assert len(extend(state, [plain] * 4, ended=False)[1]) == 2
    listed = replace(plain, size_bytes=target // 4 + 1)
    assert len(extend(state, [listed] * 4, ended=False)[1]) == 1
    ranged = replace(listed, byte_range=ByteRange(offset=0, length=target))
    assert len(extend(state, [ranged] * 4, ended=False)[1]) == 4


def test_low_bit_rates_are_cut_by_time_and_the_last_chunk_takes_the_rest() -> None:
    long = Segment(sequence=0, uri="a", duration_s=60.0)
    state = PlanState(anchor_s=0, bytes_per_s=1.0)
    _, cut = extend(state, [long] * 25, ended=False)
    assert [len(chunk.segments) for chunk in cut] == [MAX_CHUNK_S // 60] * 2
    almost_full = replace(state, chunks=MAX_CHUNKS - 1)
    rest, cut = extend(almost_full, [long] * 100, ended=False)
    assert cut == ()
    _, cut = extend(rest, [], ended=True)
    assert (cut[0].index, len(cut[0].segments)) == (MAX_CHUNKS - 1, 100)


def test_an_ended_stream_without_segments_has_no_chunk() -> None:
    assert all_at_once([]) == []
