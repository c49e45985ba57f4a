"""One clock over wraps, chunks and time bases."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import MediaInvalid
from pipeline.timebase import LEAD_S, TS_WRAP_S, Clock

TS = Fraction(1, 90_000)
WRAP = 2**33


@given(
    start=st.integers(0, WRAP - 1),
    elapsed=st.integers(0, 200 * 3600 * 90_000),
    error_s=st.floats(-12 * 3600, 12 * 3600),
)
def test_ticks_follow_the_true_time_through_any_number_of_wraps(
    start: int, elapsed: int, error_s: float
) -> None:
    """The playlist's idea of where we are may be off by hours."""
    anchor_s = start // 90_000
    near_s = max(0.0, elapsed / 90_000 + error_s)
    mapping = Clock(anchor_s=anchor_s, near_s=near_s, wraps=True).mapping(TS)
    true = start - anchor_s * 90_000 + LEAD_S * 90_000 + elapsed
    assert mapping((start + elapsed) % WRAP) == true


@given(st.integers(0, WRAP - 1), st.integers(-5 * 90_000, 5 * 90_000))
def test_the_wrap_inside_a_chunk_keeps_distances(start: int, delta: int) -> None:
    """Decode times shortly before the first timestamp do not jump to the end of the clock."""
    mapping = Clock(anchor_s=start // 90_000, near_s=0.0, wraps=True).mapping(TS)
    assert mapping((start + delta) % WRAP) - mapping(start) == delta


@pytest.mark.parametrize("time_base", [Fraction(1, 48_000), Fraction(1, 44_100), Fraction(1, 1000)])
def test_clocks_that_do_not_wrap_are_only_moved(time_base: Fraction) -> None:
    mapping = Clock(anchor_s=1_553_518_126, near_s=0.0, wraps=False).mapping(time_base)
    assert mapping(int(1_553_518_126 / time_base)) == LEAD_S / time_base
    assert mapping(0) > 0


def test_a_time_base_that_does_not_divide_a_second_is_refused() -> None:
    with pytest.raises(MediaInvalid, match="1001/30000"):
        Clock(anchor_s=0, near_s=0.0, wraps=False).mapping(Fraction(1001, 30_000))


def test_the_wrap_is_26_and_a_half_hours() -> None:
    assert float(TS_WRAP_S) == pytest.approx(26.5 * 3600, rel=0.001)
