"""Which waiting job goes next: the most urgent, then by start-time fair queueing.

Each recording has a turn of its own: its n-th waiting job stands beside every other's n-th, so a
recording of thousands of chunks does not hold up one of three. Within a recording, order is kept.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Iterator
from enum import IntEnum
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Urgency(IntEnum):
    """Lower goes first."""

    FINISH = 0
    LIVE = 1
    BACKLOG = 2


class FairQueue(Generic[Item]):
    """Pure: no clock, no waiting."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int, str, Item]] = []
        self._order = itertools.count()
        # Per urgency: the turn that was served last, and each waiting recording's latest turn.
        self._served: Counter[Urgency] = Counter()
        self._latest: dict[tuple[Urgency, str], int] = {}

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, item: Item, recording: str, urgency: Urgency) -> None:
        lane = (urgency, recording)
        turn = max(self._latest.get(lane, 0), self._served[urgency]) + 1
        self._latest[lane] = turn
        heapq.heappush(self._heap, (int(urgency), turn, next(self._order), recording, item))

    def waiting(self) -> Iterator[tuple[Urgency, Item]]:
        """All that waits, in no order."""
        return ((Urgency(entry[0]), entry[-1]) for entry in self._heap)

    def peek(self) -> Item:
        """What ``pop`` would return."""
        return self._heap[0][-1]

    def pop(self) -> Item:
        """Raises ``IndexError`` if nothing waits."""
        number, turn, _, recording, item = heapq.heappop(self._heap)
        urgency = Urgency(number)
        self._served[urgency] = turn
        if self._latest[urgency, recording] == turn:
            del self._latest[urgency, recording]
        return item
