"""Live recordings whose stream comes back, or begins badly, while their supervisor is at work."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from actors.fair_queue import Urgency
from actors.supervisor import Supervisor
from pipeline.errors import ObjectMissing, SourceMissing
from pipeline.jobs import Answer, ChunkJob, Job, JoinJob, PosterJob
from pipeline.model import EventKind, Recording, Status
from pipeline.source import S3Source
from tests.capturing import BUCKET, PLAYLIST, World
from tests.hazards.seen import look
from tests.hazards.streams import SMALL
from tests.local_pool import LocalPool
from tests.media import FPS
from tests.media_fixtures import Clips

LONG = replace(SMALL, seconds=16, segment_s=2.0)
FRAMES = LONG.seconds * FPS

pytestmark = pytest.mark.usefixtures("small_chunks")


class Live(World):
    """Its segments are those of a clip. ``held``: jobs of the kind that ``holds`` names wait while
    it is clear, ``waiting`` says how many have; ``made``: the chunks that were asked for."""

    def __init__(self, spool: Path, clip: Path) -> None:
        super().__init__(spool)
        for segment in clip.parent.glob("*.ts"):
            self.origin.set(f"stream/{segment.name}", segment.read_bytes())
        self.pool = LocalPool()
        self.held = asyncio.Event()
        self.held.set()
        self.holds: type[Job] = ChunkJob
        self.waiting = 0
        self.made: list[int] = []
        self._supervisors: list[asyncio.Task[Recording]] = []
        self._wake: list[Callable[[], None]] = []

    def window(self, first: int, count: int, *, ended: bool = False) -> None:
        named = [f"seg_{number:05d}.ts" for number in range(first, first + count)]
        self.write(named, first, ended)

    async def submit(self, job: Job, recording: str, urgency: Urgency) -> Answer:
        if isinstance(job, ChunkJob):
            self.made.append(job.chunk.index)
        if isinstance(job, self.holds) and not self.held.is_set():
            self.waiting += 1
            await self.held.wait()
        return await self.pool.submit(job, recording, urgency)

    def supervise(self) -> "asyncio.Task[Recording]":
        supervisor = Supervisor(
            self.id,
            catalog=self.catalog,
            results=self.results,
            bucket=BUCKET,
            sources=lambda _: [S3Source(self.origin, BUCKET, PLAYLIST)],
            submit=self.submit,
            slots=2,
            settings=self.settings,
        )
        self._wake.append(supervisor.wake)
        task = asyncio.create_task(supervisor.run())
        self._supervisors.append(task)
        return task

    def on_news(self) -> None:
        for wake in self._wake:
            wake()

    async def made_one(self, index: int) -> None:
        await self.until(lambda: index in self.made)

    def frames(self, recording: Recording, folder: Path) -> list[int]:
        path = folder / "result.mp4"
        path.write_bytes(self.results.held(f"{recording.object_name}.mp4"))
        return look(path).numbers

    async def kill(self) -> None:
        for task in self._supervisors:
            task.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)
        await super().kill()
        self.pool.close()


@pytest.fixture
async def live(clips: Clips, tmp_path: Path) -> AsyncIterator[Live]:
    made = Live(tmp_path / "spool", clips(LONG))
    await made.announce()
    yield made
    made.held.set()
    await made.kill()


async def finished(task: "asyncio.Task[Recording]") -> Recording:
    async with asyncio.timeout(9):
        return await task


async def test_back_and_ended_again_while_the_last_chunk_is_made(
    live: Live, tmp_path: Path
) -> None:
    live.window(0, 4)
    live.held.clear()
    capture, supervisor = await live.new_process(), live.supervise()
    await live.logs(4)
    await live.announce(EventKind.ENDED)
    await live.done(capture)
    await live.made_one(1)
    await live.announce(EventKind.STARTED)
    capture = await live.new_process()
    live.window(0, 8)
    await live.logs(8)
    await live.announce(EventKind.ENDED)
    await live.done(capture)
    live.held.set()
    recording = await finished(supervisor)
    assert recording.status is Status.COMPLETED
    assert live.frames(recording, tmp_path) == list(range(FRAMES))


async def test_back_and_told_to_end_while_its_second_part_is_captured(
    live: Live, tmp_path: Path
) -> None:
    """Nothing is published before the capture is through."""
    live.window(0, 4)
    capture, supervisor = await live.new_process(), live.supervise()
    await live.logs(4)
    live.held.clear()
    await live.announce(EventKind.ENDED)
    await live.done(capture)
    await live.announce(EventKind.STARTED)
    live.origin.acts["seg_00005.ts"] = [3.0]
    live.window(0, 8)
    capture = await live.new_process()
    await live.asks("seg_00005.ts")
    await live.announce(EventKind.ENDED)
    live.held.set()
    await live.done(capture)
    recording = await finished(supervisor)
    assert live.frames(recording, tmp_path) == list(range(FRAMES))


async def test_a_stream_that_begins_with_gaps(live: Live, tmp_path: Path) -> None:
    """More than are looked at to learn what it is."""
    for number in range(6):
        live.origin.acts[f"seg_{number:05d}.ts"] = [SourceMissing("not there")] * 9
    live.window(0, 8, ended=False)
    capture, supervisor = await live.new_process(), live.supervise()
    await live.logs(8)
    live.window(0, 8, ended=True)
    await live.done(capture)
    recording = await finished(supervisor)
    assert recording.status is Status.COMPLETED
    assert live.frames(recording, tmp_path) == list(range(6 * 2 * FPS, FRAMES))
    assert [number for gap in recording.gaps for number in gap.segments] == list(range(6))


async def one_that_is_late(
    live: Live, job: type[Job]
) -> tuple["asyncio.Task[Recording]", asyncio.Event]:
    """A supervisor of a stream that has ended, whose first job of that kind waits for the event.
    Others' jobs wait for ``live.held``, which is clear."""
    live.window(0, 8)
    capture = await live.new_process()
    await live.logs(8)
    live.window(0, 8, ended=True)
    await live.done(capture)
    live.holds = job
    live.held.clear()
    late = live.supervise()
    await live.until(lambda: live.waiting)
    live.held, held = asyncio.Event(), live.held
    return late, held


@pytest.mark.parametrize("job", [ChunkJob, JoinJob])
async def test_two_supervisors_at_once(job: type[Job], live: Live, tmp_path: Path) -> None:
    """The one that is late leaves what the other one has finished."""
    late, held = await one_that_is_late(live, job)
    live.held.set()
    recording = await finished(live.supervise())
    assert recording.status is Status.COMPLETED
    live.held, live.made = held, []
    held.set()
    assert (await finished(late)).status is Status.COMPLETED
    assert (await live.catalog.get(live.id)).status is Status.COMPLETED
    assert live.frames(recording, tmp_path) == list(range(FRAMES))


async def test_two_supervisors_one_of_which_has_just_completed_the_upload(
    live: Live, tmp_path: Path
) -> None:
    """The other one, which finds it gone, takes nothing away."""
    late, held = await one_that_is_late(live, JoinJob)
    live.holds, live.waiting = PosterJob, 0
    first = live.supervise()
    await live.until(lambda: live.waiting)
    held.set()
    with pytest.raises(ObjectMissing):
        await finished(late)
    live.held.set()
    recording = await finished(first)
    assert recording.status is Status.COMPLETED
    assert live.frames(recording, tmp_path) == list(range(FRAMES))


@pytest.mark.parametrize("is_ended", [False, True], ids=["live", "ended"])
async def test_uploads_that_somebody_aborts(is_ended: bool, live: Live, tmp_path: Path) -> None:
    """As a bucket's rule for old uploads does: what was in them is made again."""
    live.window(0, 5)
    capture, supervisor = await live.new_process(), live.supervise()
    await live.logs(5)
    await live.until(lambda: any(r.part for r in live.catalog._ledger(live.id).finished.values()))
    if is_ended:
        live.holds = JoinJob
        live.held.clear()
        live.window(0, 8, ended=True)
        await live.until(lambda: live.waiting)
    for upload in live.results.uploads(BUCKET, ""):
        live.results.abort_upload(BUCKET, upload.key, upload.upload_id)
    live.held.set()
    live.window(0, 8, ended=True)
    await live.done(capture)
    with pytest.raises(ObjectMissing):
        await finished(supervisor)
    recording = await finished(live.supervise())
    assert recording.status is Status.COMPLETED
    assert recording.gaps == ()
    assert live.frames(recording, tmp_path) == list(range(FRAMES))
    assert live.results.uploads(BUCKET, "") == ()


@pytest.mark.parametrize("seen", [1, 3, 5, 7])
async def test_a_supervisor_that_is_killed(seen: int, live: Live, tmp_path: Path) -> None:
    """No chunk that is finished is made again, and the plan goes on from where it was."""
    live.window(0, seen)
    capture, supervisor = await live.new_process(), live.supervise()
    await live.logs(seen)
    await asyncio.sleep(0.1)
    supervisor.cancel()
    await asyncio.gather(supervisor, return_exceptions=True)
    done = {number for _, number in live.catalog._ledger(live.id).finished}
    live.made = []
    live.window(0, 8, ended=True)
    await live.done(capture)
    recording = await finished(live.supervise())
    assert not done & set(live.made)
    assert len(set(live.made)) == len(live.made)
    assert live.frames(recording, tmp_path) == list(range(FRAMES))
