"""The chunk plan: the same whatever the batches, each segment exactly once."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.media.gain import AROUND_S
from pipeline.media.layout import MAX_CHUNKS, target_chunk_bytes
from pipeline.model import ByteRange, ChunkSpec, Segment, Sound
from pipeline.plan import HEARD_S, MAX_CHUNK_S, MAX_LAG_S, Feed, PlanState, begin, extend, resume

SEGMENTS = st.lists(
    st.tuples(st.floats(0.0, 60.0), st.one_of(st.none(), st.integers(0, 30 * 2**20))), max_size=40
)


def segments_of(form: list[tuple[float, int | None]]) -> list[Segment]:
    return [
        Segment(sequence=i, uri=f"{i}.ts", duration_s=duration, size_bytes=size)
        for i, (duration, size) in enumerate(form)
    ]


def all_at_once(
    segments: list[Segment], bytes_per_s: float = 400_000.0, *, is_encoded: bool = False
) -> list[ChunkSpec]:
    state = begin(0, bytes_per_s, is_encoded=is_encoded)
    return list(extend(state, [segments], ended=True)[1])


@given(form=SEGMENTS, cuts=st.lists(st.integers(0, 40), max_size=6), is_encoded=st.booleans())
def test_batches_do_not_change_the_plan(
    form: list[tuple[float, int | None]], cuts: list[int], is_encoded: bool
) -> None:
    segments = segments_of(form)
    borders = [0, *sorted(min(cut, len(segments)) for cut in cuts), len(segments)]
    state = begin(0, 400_000.0, is_encoded=is_encoded)
    chunks: list[ChunkSpec] = []
    for first, behind in pairwise(borders):
        state, cut = extend(state, [segments[first:behind]], ended=False)
        chunks += cut
    chunks += extend(state, [[]], ended=True)[1]
    assert chunks == all_at_once(segments, is_encoded=is_encoded)


@given(form=SEGMENTS, is_encoded=st.booleans())
def test_each_segment_is_in_exactly_one_chunk_in_order(
    form: list[tuple[float, int | None]], is_encoded: bool
) -> None:
    segments = segments_of(form)
    chunks = all_at_once(segments, is_encoded=is_encoded)
    assert [s for chunk in chunks for s in chunk.main.segments] == segments
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    before = 0.0
    for chunk in chunks:
        assert chunk.main.start_s == pytest.approx(before)
        before += sum(s.duration_s for s in chunk.main.segments)


@given(form=SEGMENTS, known=st.integers(0, 10), is_encoded=st.booleans())
def test_a_new_supervisor_plans_on_as_the_old_one_would(
    form: list[tuple[float, int | None]], known: int, is_encoded: bool
) -> None:
    segments = segments_of(form)
    whole = all_at_once(segments, is_encoded=is_encoded)
    chunks = whole[:known]
    state = begin(0, 400_000.0, is_encoded=is_encoded)
    if chunks:
        state = resume(400_000.0, chunks, is_encoded=is_encoded)
    rest = segments[sum(len(chunk.main.segments) for chunk in chunks) :]
    assert [*chunks, *extend(state, [rest], ended=True)[1]] == whole


def test_sizes_come_from_ranges_then_listings_then_the_bit_rate() -> None:
    target = target_chunk_bytes(0)
    plain = Segment(sequence=0, uri="a", duration_s=2.0)
    state = PlanState(anchor_s=0, bytes_per_s=target / 4)
    assert len(extend(state, [[plain] * 5], ended=False)[1]) == 2
    listed = replace(plain, size_bytes=target // 4 + 1)
    assert len(extend(state, [[listed] * 5], ended=False)[1]) == 1
    ranged = replace(listed, byte_range=ByteRange(offset=0, length=target))
    assert len(extend(state, [[ranged] * 5], ended=False)[1]) == 4


def test_low_bit_rates_are_cut_by_time_and_the_last_chunk_takes_the_rest() -> None:
    long = Segment(sequence=0, uri="a", duration_s=60.0)
    state = PlanState(anchor_s=0, bytes_per_s=1.0)
    _, cut = extend(state, [[long] * 25], ended=False)
    assert [len(chunk.main.segments) for chunk in cut] == [MAX_CHUNK_S // 60] * 2
    almost_full = replace(state, chunks=MAX_CHUNKS - 1)
    rest, cut = extend(almost_full, [[long] * 100], ended=False)
    assert cut == ()
    _, cut = extend(rest, [[]], ended=True)
    assert (cut[0].index, len(cut[0].main.segments)) == (MAX_CHUNKS - 1, 100)


def test_what_is_left_to_encode_at_the_end_is_shared() -> None:
    state = begin(0, 400_000.0, is_encoded=True)
    segment = Segment(sequence=0, uri="a", duration_s=2.0)
    state, cut = extend(state, [[segment] * 10], ended=False)
    assert [chunk.main.duration_s for chunk in cut] == [10.0]
    _, cut = extend(state, [[]], ended=True)
    assert [chunk.main.duration_s for chunk in cut] == [4.0, 4.0, 2.0]


def test_a_gop_may_reach_back_over_several_segments() -> None:
    segments = segments_of([(4.0, None)] * 12)
    segments[7] = replace(segments[7], discontinuity=True)
    _, first, second, third = all_at_once(segments, is_encoded=True)[:4]
    assert [s.sequence for s in first.main.earlier] == [0, 1]
    assert [s.sequence for s in second.main.earlier] == [3, 4]
    assert second.main.before == segments[5]
    assert (third.main.before, third.main.earlier) == (segments[8], (segments[7],))
    assert all(not chunk.main.earlier for chunk in all_at_once(segments))


def test_an_ended_stream_without_segments_has_no_chunk() -> None:
    assert all_at_once([]) == []


def test_segments_know_what_lies_beside_them() -> None:
    plain = [Segment(sequence=n, uri=f"{n}", duration_s=300.0) for n in range(8)]
    plain[5] = replace(plain[5], discontinuity=True)
    first, second, third, last = all_at_once(plain, 1.0)
    assert (first.main.before, first.main.opening, first.main.after) == (None, None, plain[2])
    assert (second.main.before, second.main.opening) == (plain[1], plain[0])
    # Segment 5 begins anew in the middle of a chunk, and opens what follows.
    assert (third.main.before, third.main.after) == (plain[3], plain[6])
    assert (last.main.before, last.main.opening, last.main.after) == (plain[5], plain[5], None)


def test_what_is_heard_before_a_chunk_goes_back_as_far_as_it_has_to() -> None:
    plain = [Segment(sequence=n, uri=f"{n}", duration_s=2.0) for n in range(24)]
    plain[10] = replace(plain[10], discontinuity=True)
    state = PlanState(anchor_s=0, bytes_per_s=target_chunk_bytes(0) / 4.0)
    assert all(chunk.main.earlier == () for chunk in extend(state, [plain], ended=True)[1])
    state = replace(state, feeds=(Feed(reach_s=7.5),))
    _, chunks = extend(state, [plain], ended=True)
    found = [[s.sequence for s in chunk.main.earlier] for chunk in chunks]
    # Chunks of two segments; nothing is heard over a discontinuity.
    assert found[:4] == [[], [0], [0, 1, 2], [2, 3, 4]]
    assert found[5:8] == [[], [10], [10, 11, 12]]
    assert chunks[3].main.earlier[0] in set(chunks[3].every_segment())
    behind = resume(state.bytes_per_s, chunks[:3], heard_s=7.5)
    assert extend(behind, [plain[6:]], ended=True)[1] == chunks[3:]
    assert HEARD_S == AROUND_S


def test_sound_goes_beside_the_pictures_of_its_time() -> None:
    pictures = [Segment(sequence=n, uri=f"v{n}", duration_s=60.0) for n in range(25)]
    sound = [Segment(sequence=n, uri=f"a{n}", duration_s=50.0) for n in range(30)]
    state = begin(0, 1.0, [Sound(name="de")])
    _, chunks = extend(state, [pictures, sound], ended=True)
    assert [s for chunk in chunks for s in chunk.audio[0].segments] == sound
    for chunk in chunks:
        own = chunk.audio[0]
        assert own.sound == Sound(name="de")
        assert own.start_s == pytest.approx(chunk.main.start_s, abs=25.0)


def test_pictures_wait_for_their_sound_but_not_for_ever() -> None:
    pictures = [Segment(sequence=n, uri=f"v{n}", duration_s=60.0) for n in range(12)]
    state, cut = extend(begin(0, 1.0, [Sound()]), [pictures[:11], []], ended=False)
    assert cut == ()
    assert state.feeds[0].known_s - MAX_CHUNK_S == MAX_LAG_S
    _, cut = extend(state, [pictures[11:], []], ended=False)
    assert [len(chunk.main.segments) for chunk in cut] == [10]
    assert cut[0].audio[0].segments == ()


def test_sound_that_goes_on_behind_the_pictures_is_kept() -> None:
    one = Segment(sequence=0, uri="v", duration_s=2.0)
    sound = [replace(one, sequence=n, uri=f"a{n}") for n in range(4)]
    _, (chunk,) = extend(begin(0, 1.0, [Sound()]), [[one], sound], ended=True)
    assert chunk.audio[0].segments == tuple(sound)
