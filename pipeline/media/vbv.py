"""A decoder's buffer while encoded pictures come in at a constant rate and are taken out at their
decode times (ITU-T H.264 C.1, with a buffer that is full where nothing more fits into it)."""

from dataclasses import dataclass

import numpy as np

from pipeline.media.samples import Ints


@dataclass(frozen=True, slots=True)
class BufferUse:
    """Shares of the buffer. ``lowest``: right behind the picture that left least, below 0 where
    one came too late; ``end``: when the next picture behind the last one would be taken out."""

    lowest: float
    end: float


def buffer_use(
    size: Ints, dts: Ints, timescale: int, *, max_rate: int, buffer_size: int, begin: float
) -> BufferUse:
    """``size`` in bytes, ``dts`` in ticks, shape ``(n,)`` each; ``max_rate`` in bit/s,
    ``buffer_size`` in bits; ``begin``: how full it is when the first picture is taken out."""
    bits = size.astype(np.float64) * 8
    steps = np.diff(dts)
    last = np.median(steps) if len(steps) else 0.0
    came = np.append(steps, last) / timescale * max_rate
    # Without its limit, right before each picture is taken out and behind the last one.
    before = begin * buffer_size + np.concatenate(([0.0], np.cumsum(came - bits)))
    # What did not fit in, by then.
    over = np.maximum.accumulate(np.maximum(before - buffer_size, 0.0))
    held = before - over
    return BufferUse(
        lowest=float((held[:-1] - bits).min() / buffer_size), end=float(held[-1] / buffer_size)
    )
