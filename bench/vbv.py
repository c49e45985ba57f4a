"""Whether a decoder that is sent no more than a bit rate has each picture in time: its buffer as a
leaky bucket (ITU-T H.264 C.1.1)."""

from collections.abc import Iterable
from dataclasses import dataclass

# What x264 reckons to be there when the first picture is taken (vbv-init).
INITIAL = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Fullness:
    """``lowest``: as a share of the buffer, below 0 where bits are missing, at ``lowest_s``;
    ``underflows``: how often it falls below 0; ``late``: pictures whose last bits come too late,
    the latest by ``late_s``."""

    lowest: float
    lowest_s: float
    underflows: int
    late: int
    late_s: float


def fill(
    pictures: Iterable[tuple[float, int]], *, max_rate: int, size: int, initial: float = INITIAL
) -> Fullness:
    """``pictures``: ``(decode time in seconds, bytes)`` in that order; ``max_rate`` in bit/s,
    ``size`` of the buffer in bits. Bits come at ``max_rate`` whenever there is room. What is
    missing is owed: it comes before anything that follows."""
    full, last_s = initial * size, None
    lowest, lowest_s = full, 0.0
    underflows = late = 0
    for at_s, size_bytes in pictures:
        arrived = 0.0 if last_s is None else (at_s - last_s) * max_rate
        before = full
        full, last_s = min(size, full + arrived) - 8 * size_bytes, at_s
        if full < 0:
            late += 1
            underflows += before >= 0
        if full < lowest:
            lowest, lowest_s = full, at_s
    return Fullness(
        lowest=lowest / size,
        lowest_s=lowest_s,
        underflows=underflows,
        late=late,
        late_s=max(0.0, -lowest / max_rate),
    )
