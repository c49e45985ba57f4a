"""Supervisors that die after any finding: the plan is the same, and no chunk is made twice."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from actors.captured import Captured
from actors.dispatch import Dispatcher
from actors.fair_queue import Urgency
from actors.planner import Planner
from pipeline import plan
from pipeline.jobs import Answer, ChunkJob, Job
from pipeline.model import (
    ChunkRecord,
    ChunkSpec,
    EventKind,
    Finding,
    InitSection,
    Opened,
    Origin,
    Segment,
    Sound,
    StreamEvent,
    Upload,
)
from pipeline.staging import Addresses
from pipeline.stores.catalog_memory import MemoryCatalog
from pipeline.stores.objects_memory import MemoryStore
from tests.local_pool import quick_settings
from tests.media_fixtures import shrink

OTHER_INIT = 25


class Plain:
    def url(self, ref: str) -> str:
        return ref


def segments(first: int, count: int, *, seconds: float = 2.0) -> tuple[Segment, ...]:
    return tuple(
        Segment(
            sequence=number,
            uri=f"{number}.m4s",
            duration_s=seconds,
            init=InitSection(uri="one" if number < OTHER_INIT else "other"),
            discontinuity=number in (7, OTHER_INIT),
        )
        for number in range(first, first + count)
    )


# Sound comes later than the pictures, and in longer pieces.
FINDINGS = [
    Finding(
        number=number,
        segments=(segments(3 * number, 3), segments(2 * number - 2, 2 * bool(number), seconds=3.0)),
    )
    for number in range(14)
]


class Run:
    """One recording with all its supervisors. ``made``: chunks that were asked of workers."""

    def __init__(self) -> None:
        self.catalog = MemoryCatalog(reconnect_window=timedelta(0), profile="copy")
        self.made: list[int] = []
        self.news = asyncio.Event()
        self.store = MemoryStore()
        self.store.ensure_bucket("b")

    async def begin(self) -> None:
        event = StreamEvent(
            kind=EventKind.STARTED,
            stream_id="stream",
            origin=Origin.COMMAND,
            occurred_at=datetime.now(UTC),
        )
        self.id = (await self.catalog.accept(event)).recording_id
        assert self.id is not None
        await self.catalog.open_source(self.id, Opened(ref="there", sounds=(Sound(name="one"),)))

    async def supervise(self) -> None:
        assert self.id is not None
        planned = list(await self.catalog.planned(self.id))
        captured = Captured(self.id, catalog=self.catalog, wait=self.wait)
        await captured.read()
        dispatcher = Dispatcher(
            self.id,
            addresses=Addresses(Plain(), self.store, "b"),
            probe=lambda: None,
            results=self.store,
            bucket="b",
            uploads=[Upload(key="k", upload_id="u")],
            catalog=self.catalog,
            submit=self.submit,
            settings=quick_settings(),
            in_flight=4,
        )
        chunks = {chunk.index: chunk for chunk in planned}
        for record in await self.catalog.finished(self.id):
            dispatcher.resume(chunks[record.index_number], [record])
        state = plan.begin(0, 2000.0, [Sound(name="one")])
        planner = Planner(
            self.id,
            captured=captured,
            state=plan.resume(2000.0, planned) if planned else state,
            planned=planned,
            dispatcher=dispatcher,
            catalog=self.catalog,
        )
        async with asyncio.TaskGroup() as tasks:
            await planner.run(tasks)

    async def wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.news.wait()
        self.news.clear()

    async def submit(self, job: Job, recording: str, urgency: Urgency) -> Answer:
        assert isinstance(job, ChunkJob)
        self.made.append(job.chunk.index)
        record = ChunkRecord(
            index_number=job.chunk.index,
            size_bytes=0,
            part=None,
            staging_key=None,
            index=b"",
            report={
                "unavailable": (),
                "lost": (),
                "timings_s": {},
                "segments": (),
                "bytes_in": 0,
                "remedies": (),
            },
        )
        return (record,)

    async def specs(self, deaths: Sequence[int]) -> tuple[ChunkSpec, ...]:
        """The plan when supervisors die after these findings."""
        await self.begin()
        assert self.id is not None
        task = asyncio.create_task(self.supervise())
        await self.catalog.add_finding(self.id, FINDINGS[0])
        for finding in FINDINGS[1:]:
            await self.catalog.add_finding(self.id, finding)
            self.news.set()
            if finding.number in deaths:
                await self.steps(finding.number)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                task = asyncio.create_task(self.supervise())
            await self.steps(60)
        await self.catalog.close_source(self.id, (await self.catalog.get(self.id)).last_start_at)
        self.news.set()
        async with asyncio.timeout(5):
            await task
        return await self.catalog.planned(self.id)

    async def steps(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)
        await asyncio.sleep(0.002)


@pytest.mark.parametrize(
    "deaths", [[1], [3, 4, 5], [7], [8, 12], [13], [*range(1, 14)]], ids=lambda at: f"{at}"
)
async def test_the_plan_is_the_same(deaths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, part_bytes=1, chunk_bytes=16_000)
    undisturbed, disturbed = Run(), Run()
    expected = await undisturbed.specs([])
    assert len(expected) > 8
    assert [chunk.index for chunk in expected] == list(range(len(expected)))
    assert await disturbed.specs(deaths) == expected
    assert sorted(disturbed.made) == list(range(len(expected)))
    everything = [s.sequence for chunk in expected for s in chunk.main.segments]
    assert everything == list(range(42))
