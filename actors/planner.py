"""What was captured becomes chunks, and chunks become work, until the source is complete."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from actors.captured import Captured
from actors.dispatch import Dispatcher
from actors.fair_queue import Urgency
from pipeline import plan
from pipeline.model import ChunkSpec, Progress, Segment
from pipeline.plan import PlanState
from pipeline.stores.catalog import Catalog

_REPORT_EVERY_S = 1.0


class Planner:
    """Plans one recording. ``planned``: chunks that the ledger knows already; grows."""

    def __init__(
        self,
        recording_id: UUID,
        *,
        captured: Captured,
        state: PlanState,
        planned: list[ChunkSpec],
        dispatcher: Dispatcher,
        catalog: Catalog,
    ) -> None:
        self._id, self._captured, self._catalog = recording_id, captured, catalog
        self._state, self._planned, self._dispatcher = state, planned, dispatcher
        self._at_work: set[asyncio.Task[None]] = set()

    async def run(self, chunks: asyncio.TaskGroup) -> None:
        """Every chunk that is full goes to work in ``chunks``; returns when all are in the ledger.
        One that fails ends this by ending its task group."""
        for chunk in self._planned:
            if chunk.index not in self._dispatcher.finished:
                self._send(chunks, chunk, Urgency.BACKLOG)
        # What is read but not planned: all of it, when there is no plan yet.
        new = [
            segments[count:]
            for segments, count in zip(self._captured.segments, self._counts(), strict=True)
        ]
        is_new = not self._planned
        while True:
            ended = self._captured.is_complete
            await self._plan(chunks, new, ended=ended, live=not (is_new and ended))
            if ended:
                break
            is_new = False
            await self._captured.wait_for_more()
            new = await self._captured.read()
        while self._at_work:
            await self._report()
            _, self._at_work = await asyncio.wait(self._at_work, timeout=_REPORT_EVERY_S)
        await self._report()

    def _counts(self) -> list[int]:
        """How many segments of each playlist are planned."""
        if not self._planned:
            return [0] * len(self._captured.segments)
        stretches = zip(*((chunk.main, *chunk.audio) for chunk in self._planned), strict=True)
        return [sum(len(stretch.segments) for stretch in of_one) for of_one in stretches]

    async def _plan(
        self,
        chunks: asyncio.TaskGroup,
        new: Sequence[Sequence[Segment]],
        *,
        ended: bool,
        live: bool,
    ) -> None:
        self._state, cut = plan.extend(self._state, new, ended=ended)
        for chunk in cut:
            await self._catalog.plan_chunk(self._id, chunk)
            self._planned.append(chunk)
            self._send(chunks, chunk, Urgency.LIVE if live else Urgency.BACKLOG)
        await self._report()

    def _send(self, chunks: asyncio.TaskGroup, chunk: ChunkSpec, urgency: Urgency) -> None:
        """To the workers."""
        task = chunks.create_task(self._dispatcher.make(chunk, urgency))
        self._at_work.add(task)

    async def _report(self) -> None:
        done = self._dispatcher
        progress = Progress(
            segments=len(self._captured.segments[0]),
            chunks_done=len(done.finished),
            chunks_total=len(self._planned),
            seconds=round(done.finished_s, 3),
        )
        await self._catalog.report_progress(self._id, int(self._state.known_s), progress)
