"""A ladder whose supervisor dies, or whose stream is back when it was completed: what comes out is
what an undisturbed recording has, to the byte."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.jobs import ChunkJob, JoinJob
from pipeline.media import layout
from pipeline.model import EventKind, Status
from tests.hazards.streams import SMALL
from tests.local_pool import Result, record
from tests.media_fixtures import Clips
from tests.outputs.own_profiles import with_profiles
from tests.outputs.several_goes import Told, show

FORM = replace(SMALL, seconds=24, noise=True)
_WAIT_S = 60

pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.fixture(autouse=True)
def joined_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_JOINED_BYTES", 40_000)
    monkeypatch.setattr(layout, "_ENCODED_CHUNK_S", 2.0)


def files(result: Result) -> dict[str, bytes]:
    """All results, and nothing staged."""
    found = [path for path in result.folder.rglob("*") if path.is_file()]
    return {
        name: path.read_bytes()
        for path in found
        if not (name := str(path.relative_to(result.folder))).startswith(".")
    }


async def undisturbed(clips: Clips, folder: Path, profile: str = "rungs") -> dict[str, bytes]:
    result = await record(clips(FORM), folder, profile=profile, settings=with_profiles(folder))
    assert result.recording.status is Status.COMPLETED
    return files(result)


async def test_a_stream_that_is_back(clips: Clips, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    told = Told(out, with_profiles(out, profile="rungs"))
    await told.catalog.open()
    recording_id = await told.tell(EventKind.STARTED, 30)
    await told.tell(EventKind.ENDED, 20)
    first = await told.make(recording_id, show(clips(FORM), source, 8))
    assert first.recording.resumable
    assert await told.tell(EventKind.STARTED, 10) == recording_id
    whole = await told.make(recording_id, show(clips(FORM), source, 12))
    assert whole.recording.error is None
    made_again = [job.chunk.index for job in whole.jobs if isinstance(job, ChunkJob)]
    assert min(made_again) >= 7
    assert files(whole) == await undisturbed(clips, tmp_path / "calm")
    await told.catalog.close()


@pytest.mark.parametrize(
    ("done", "profile"), [(1, "rungs"), (5, "rungs"), (11, "rungs"), (5, "even")]
)
async def test_a_supervisor_that_dies(
    done: int, profile: str, clips: Clips, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    told = Told(out, with_profiles(out, profile=profile))
    await told.catalog.open()
    recording_id = await told.tell(EventKind.STARTED, 30)
    await told.tell(EventKind.ENDED, 20)
    playlist = show(clips(FORM), source, 12)
    dying = asyncio.create_task(told.make(recording_id, playlist, until_chunks=done))
    async with asyncio.timeout(_WAIT_S):
        while len({r.index_number for r in await told.catalog.finished(recording_id)}) < done:
            await asyncio.sleep(0.01)
    dying.cancel()
    await asyncio.wait({dying})
    kept = {r.index_number for r in await told.catalog.finished(recording_id)}
    second = await told.make(recording_id, playlist)
    made_again = {job.chunk.index for job in second.jobs if isinstance(job, ChunkJob)}
    assert not kept & made_again
    assert any(isinstance(job, JoinJob) for job in second.jobs)
    assert files(second) == await undisturbed(clips, tmp_path / "calm", profile)
    await told.catalog.close()
