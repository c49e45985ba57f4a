"""How fast a publisher sends."""

import time
from collections import deque

_RATE_OVER_S = 8.0


class Meter:
    """Bytes and pictures over the last seconds."""

    def __init__(self) -> None:
        self._bytes: deque[tuple[float, int]] = deque()
        self._pictures: deque[tuple[float, int]] = deque()
        self._sum = 0

    def add(self, size: int) -> None:
        now = time.monotonic()
        self._bytes.append((now, size))
        self._sum += size
        while self._bytes and self._bytes[0][0] < now - _RATE_OVER_S:
            self._sum -= self._bytes.popleft()[1]

    def count(self, pictures: int) -> None:
        """So many pictures have come by now."""
        now = time.monotonic()
        self._pictures.append((now, pictures))
        while self._pictures[0][0] < now - _RATE_OVER_S:
            self._pictures.popleft()

    @property
    def bits_per_s(self) -> int:
        if len(self._bytes) < 2:
            return 0
        over_s = max(time.monotonic() - self._bytes[0][0], 1.0)
        return int(8 * self._sum / over_s)

    @property
    def pictures_per_s(self) -> float | None:
        if len(self._pictures) < 2:
            return None
        (first_at, first), (last_at, last) = self._pictures[0], self._pictures[-1]
        return round((last - first) / (last_at - first_at), 1) if last_at > first_at else None
