"""News of changed recordings, handed to any number of readers in this process.

A slow reader costs no memory beyond one id per recording: an id that waits for it already is not
queued again.
"""

import asyncio
from collections.abc import AsyncGenerator
from uuid import UUID


class Readers:
    """Fans ids out to whoever iterates ``follow``."""

    def __init__(self) -> None:
        self._inboxes: set[_Inbox] = set()

    def __len__(self) -> int:
        return len(self._inboxes)

    def publish(self, recording_id: UUID) -> None:
        for inbox in self._inboxes:
            inbox.put(recording_id)

    def close(self) -> None:
        """End every reader's iteration."""
        for inbox in self._inboxes:
            inbox.close()

    async def follow(self) -> AsyncGenerator[UUID, None]:
        inbox = _Inbox()
        self._inboxes.add(inbox)
        try:
            while (recording_id := await inbox.take()) is not None:
                yield recording_id
        finally:
            self._inboxes.discard(inbox)


class _Inbox:
    def __init__(self) -> None:
        self._waiting: dict[UUID, None] = {}
        self._is_closed = False
        self._news = asyncio.Event()

    def put(self, recording_id: UUID) -> None:
        self._waiting[recording_id] = None
        self._news.set()

    def close(self) -> None:
        self._is_closed = True
        self._news.set()

    async def take(self) -> UUID | None:
        """The id that waits longest; None once closed."""
        await self._news.wait()
        if self._is_closed:
            return None
        recording_id = next(iter(self._waiting))
        del self._waiting[recording_id]
        if not self._waiting:
            self._news.clear()
        return recording_id
