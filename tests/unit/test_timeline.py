"""Spans on one timeline: continued, closed up over what is missing, never overlapping."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.media.timeline import KEPT_PAUSE_S, LaneKey, PlacedSpan, lanes, place
from tests.indexes import audio, span, video


def both(start_s: float, frames: int = 25, sound: int = 47, **flags: object) -> object:
    tracks = [video(start_s, frames)]
    if sound:
        tracks.append(audio(start_s, sound, at=10_000))
    return span(tracks, **flags)


def starts(placed: list[PlacedSpan]) -> list[float]:
    return [round(p.start_s(), 6) for p in placed]


def test_what_continues_is_left_as_it_is() -> None:
    placed = place([(0, both(10.0)), (1, both(11.0)), (1, both(12.0))])
    assert [p.shift_s for p in placed] == [0, 0, 0]
    assert [p.new_run for p in placed] == [False, False, False]


@pytest.mark.parametrize("jump", [-5.0, -1.0, 1.0, 3600.0])
@pytest.mark.parametrize("marked", [False, True])
def test_jumps_close_up_marked_or_not(jump: float, marked: bool) -> None:
    placed = place([(0, both(10.0)), (1, both(11.0 + jump, discontinuity=marked))])
    # The sound of the first second ends 2.7 ms after its pictures.
    assert starts(placed)[1] == pytest.approx(11.0 + 0.002667, abs=1e-4)
    assert placed[1].new_run
    assert placed[1].jump_s == pytest.approx(jump, abs=0.01)


def test_sound_stays_with_picture_over_a_jump() -> None:
    late = span([video(500.0, 25), audio(500.3, 30, at=10_000)])
    placed = place([(0, both(10.0)), (1, late)])
    found = {name: t.start_s + float(placed[1].shift_s) for name, t in lanes(late).items()}
    assert found[LaneKey(True, 0, 0)] - found[LaneKey(False, 0, 0)] == pytest.approx(0.3)


def test_short_pauses_are_the_sources_own() -> None:
    placed = place([(0, both(10.0)), (1, both(11.0 + KEPT_PAUSE_S - 0.1))])
    assert placed[1].shift_s == 0
    marked = place([(0, both(10.0)), (1, both(11.3, discontinuity=True))])
    assert marked[1].shift_s == pytest.approx(Fraction(-3, 10) + Fraction(8, 3000), abs=1e-4)


def test_a_track_that_vanishes_comes_back_in_its_place() -> None:
    placed = place(
        [(0, both(10.0)), (1, both(11.0, sound=0)), (2, both(12.0, sound=0)), (3, both(13.0))]
    )
    assert [p.shift_s for p in placed] == [0, 0, 0, 0]


def test_another_init_is_a_new_run_on_the_same_timeline() -> None:
    wide = span([video(11.0, 25)], width=96)
    placed = place([(0, both(10.0)), (1, wide)])
    assert (placed[1].shift_s, placed[1].new_run, placed[1].jump_s) == (0, True, 0.0)


def test_nothing_is_no_span() -> None:
    assert place([]) == []


def test_reordered_pictures_of_a_cut_gop_do_not_overlap_the_next() -> None:
    """The last decoded pictures are shown after the cut: their times must not come again."""
    cut = video(10.0, 25)
    cut.cts[-1] += 5 * 512
    placed = place([(0, span([cut])), (1, span([video(100.0, 25)]))])
    shown_end = max(cut.pts + cut.duration)
    second = placed[1].span.tracks[0]
    assert min(second.pts) + placed[1].ticks(second) >= shown_end


@given(
    st.lists(
        st.tuples(st.floats(0, 5000), st.integers(1, 60), st.integers(0, 100), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_no_track_ever_goes_back(form: list[tuple[float, int, int, bool]]) -> None:
    placed = place(
        [
            (i, both(start, frames, sound, discontinuity=marked))
            for i, (start, frames, sound, marked) in enumerate(form)
        ]
    )
    last: dict[str, int] = {}
    for p in placed:
        for name, track in lanes(p.span).items():
            begin = int(track.dts[0]) + p.ticks(track)
            assert begin > last.get(name, -(10**9))
            last[name] = int(track.dts[-1]) + p.ticks(track)
