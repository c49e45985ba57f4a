"""The log of a source: captured segments, written into the catalogue in order.

Whoever reads the log sees a beginning of each playlist that never changes.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar
from uuid import UUID

import structlog

from actors.loops import backoff
from pipeline.errors import CatalogUnavailable
from pipeline.model import Finding, Progress, Segment, by_playlist
from pipeline.recording_counts import count_captured
from pipeline.spool import Waiting
from pipeline.staging import staged_key
from pipeline.stores.catalog import Catalog

T = TypeVar("T")

log = structlog.get_logger()


class CaptureLog:
    """``findings``: what is written already. ``counts``, ``known_s``: how many segments and how
    many seconds of each playlist were added, kept or not; ``has_copies``: whether any was kept.
    ``written_at``: when something was written last. ``note``: see ``Depot.note``."""

    def __init__(
        self,
        recording_id: UUID,
        *,
        catalog: Catalog,
        findings: Sequence[Finding],
        playlists: int,
        on_news: Callable[[], None],
        note: Callable[[Waiting], Awaitable[None]],
    ) -> None:
        self._id, self._catalog, self._on_news = recording_id, catalog, on_news
        self._note, self._noted = note, set[str]()
        self._number = len(findings)
        taken = by_playlist(findings) or [()] * playlists
        self.counts = [len(segments) for segments in taken]
        # In the catalogue, by playlist.
        self._known = list(self.counts)
        self.known_s = [sum(segment.duration_s for segment in segments) for segments in taken]
        self.has_copies = any(staged_key(s.uri) for segments in taken for s in segments)
        self.written_at = time.monotonic()
        self._written_s, self._written = self.known_s[0], self.counts[0]
        self._pending: list[deque[asyncio.Task[Segment]]] = [deque() for _ in taken]
        self._news = asyncio.Event()
        self._is_closed = False

    def add(self, playlist: int, segment: Segment, kept: "asyncio.Task[Segment]") -> None:
        """``kept``: the segment as it is to be written, once it is."""
        self.counts[playlist] += 1
        self.known_s[playlist] += segment.duration_s
        self._pending[playlist].append(kept)
        kept.add_done_callback(lambda _: self._news.set())

    def close(self) -> None:
        """Nothing more is added."""
        self._is_closed = True
        self._news.set()

    async def write(self) -> None:
        """Until all is written, once it is closed."""
        while not self._is_closed or any(self._pending):
            await self._news.wait()
            self._news.clear()
            while found := self._take():
                finding = Finding(number=self._number, segments=found)
                await patiently(
                    partial(self._catalog.add_finding, self._id, finding),
                    on_failure=partial(self._note_all, found),
                )
                self._number += 1
                self.written_at = time.monotonic()
                for segment in found[0]:
                    count_captured(segment)
                for playlist, segments in enumerate(found):
                    self._known[playlist] += len(segments)
                await self._report(found[0])
                self._on_news()

    def _take(self) -> tuple[tuple[Segment, ...], ...]:
        """What can be written now; nothing at first until each playlist that has begun tells how:
        they are aligned by their first segments."""
        if self._number == 0 and any(waits and not waits[0].done() for waits in self._pending):
            return ()
        found = tuple(tuple(_done(waits)) for waits in self._pending)
        return found if any(found) else ()

    async def _note_all(self, found: Sequence[Sequence[Segment]]) -> None:
        """What is copied and cannot be written down now is noted elsewhere, for the process that
        comes after this one."""
        for playlist, (segments, waits) in enumerate(zip(found, self._pending, strict=True)):
            copied = [*segments, *(_result(task) for task in waits)]
            for number, segment in enumerate(copied, self._known[playlist]):
                key = staged_key(segment.uri) if segment else None
                if segment is not None and key is not None and key not in self._noted:
                    self._noted.add(key)
                    await self._note(
                        Waiting(
                            key=key,
                            playlist=playlist,
                            number=number,
                            segment=segment,
                            is_stored=True,
                        )
                    )

    async def _report(self, segments: Sequence[Segment]) -> None:
        self._written += len(segments)
        self._written_s += sum(segment.duration_s for segment in segments)
        progress = Progress(segments=self._written)
        await patiently(
            lambda: self._catalog.report_progress(self._id, int(self._written_s), progress)
        )


async def _nothing() -> None: ...


async def patiently(
    call: Callable[[], Awaitable[T]], on_failure: Callable[[], Awaitable[None]] = _nothing
) -> T:
    """The call's result, however long the catalogue is away: what waits here is kept already."""
    for pause_s in backoff():
        try:
            return await call()
        except CatalogUnavailable as error:
            log.warning("catalog_away", error=str(error))
        await on_failure()
        await asyncio.sleep(pause_s)
    raise AssertionError("unreachable")


def _result(task: "asyncio.Task[Segment]") -> Segment | None:
    is_well = task.done() and not task.cancelled() and task.exception() is None
    return task.result() if is_well else None


def _done(waits: "deque[asyncio.Task[Segment]]") -> "list[Segment]":
    found = []
    while waits and waits[0].done():
        # One that failed ends the group of tasks that this one runs in.
        found.append(waits.popleft().result())
    return found
