"""The model of a decoder's buffer, against one that counts bit by bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.media.vbv import buffer_use

SECOND = 90_000


def by_steps(
    sizes: list[int], step_s: float, rate: float, whole: float, begin: float
) -> list[float]:
    """Fullness in bits right behind each picture, and before the next one."""
    held, seen = begin * whole, []
    for size in sizes:
        held -= 8 * size
        seen.append(held)
        held = min(whole, held + rate * step_s)
    return [*seen, held]


@given(
    sizes=st.lists(st.integers(1, 40_000), min_size=2, max_size=60),
    begin=st.floats(0.0, 1.0),
)
def test_the_model(sizes: list[int], begin: float) -> None:
    dts = np.arange(len(sizes)) * SECOND // 25
    use = buffer_use(
        np.array(sizes), dts, SECOND, max_rate=1_000_000, buffer_size=500_000, begin=begin
    )
    *behind, end = by_steps(sizes, 1 / 25, 1e6, 5e5, begin)
    assert use.lowest == pytest.approx(min(behind) / 5e5, abs=1e-6)
    assert use.end == pytest.approx(end / 5e5, abs=1e-6)


def test_a_steady_stream_keeps_it_as_it_is() -> None:
    sizes, dts = np.full(250, 5000), np.arange(250) * 3600
    use = buffer_use(sizes, dts, SECOND, max_rate=1_000_000, buffer_size=2_000_000, begin=0.5)
    assert use.end == pytest.approx(0.5)
    assert use.lowest == pytest.approx(0.48)
