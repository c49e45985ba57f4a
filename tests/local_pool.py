"""A recording in this process, without Ray: the real supervisor over threads that do the jobs."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from actors.alone import record_alone
from actors.fair_queue import Urgency
from pipeline import steps
from pipeline.jobs import Answer, ChunkJob, FillJob, Job, JoinJob, LookJob, PosterJob, SheetJob
from pipeline.model import EventKind, Origin, Recording, StreamEvent
from pipeline.settings import Settings
from pipeline.source import FileSource, Source
from pipeline.stores.catalog_memory import MemoryCatalog
from pipeline.stores.objects import ObjectStore
from pipeline.stores.objects_folder import FolderStore


class LocalPool:
    """Does jobs in threads of this process, ``workers`` at a time. ``jobs``: what was asked."""

    def __init__(self, workers: int = 2) -> None:
        self._room = asyncio.Semaphore(workers)
        self._tools = steps.Tools(threads=ThreadPoolExecutor(4), gate=threading.Lock())
        self.jobs: list[Job] = []

    async def submit(self, job: Job, recording: str, urgency: Urgency) -> Answer:
        self.jobs.append(job)
        async with self._room:
            return await asyncio.to_thread(self._run, job)

    def close(self) -> None:
        self._tools.threads.shutdown()

    def _run(self, job: Job) -> Answer:
        match job:
            case ChunkJob():
                return steps.make_chunk(job, self._tools)
            case LookJob():
                return steps.look(job, self._tools)
            case FillJob():
                return steps.make_fill(job, self._tools)
            case JoinJob():
                return steps.join_part(job, self._tools)
            case PosterJob():
                return steps.make_poster(job, self._tools)
            case SheetJob():
                return steps.make_sheet(job, self._tools)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """``mp4``/``playlist``: where the files are if the results are in a folder."""

    recording: Recording
    report: dict[str, Any]
    jobs: tuple[Job, ...]
    folder: Path

    @property
    def mp4(self) -> Path:
        return self.folder / f"{self.recording.object_name}.mp4"

    @property
    def playlist(self) -> Path:
        return self.beside / "source.m3u8"

    @property
    def beside(self) -> Path:
        """Where the playlists are, and the other renditions."""
        return self.folder / str(self.recording.object_name)


def quick_settings(**values: Any) -> Settings:
    """Settings for tests: nothing of the environment, no waiting between tries."""
    quick = {"retry_delay": timedelta(0), "monitor_interval": timedelta(milliseconds=200)}
    return Settings(_env_file=None, **{**quick, **values})


async def record(
    playlist: Path | Source,
    folder: Path,
    *,
    results: ObjectStore | None = None,
    bucket: str = "",
    workers: int = 2,
    follow: bool = False,
    settings: Settings | None = None,
    name: str = "result",
    profile: str = "copy",
    started: Callable[[MemoryCatalog, Any], None] = lambda *_: None,
) -> Result:
    """Record one source into ``folder`` (or ``results``)."""
    folder.mkdir(exist_ok=True)
    store = results or FolderStore(folder)
    settings = settings or quick_settings()
    source = (
        FileSource(playlist, limits=settings.playlist_limits)
        if isinstance(playlist, Path)
        else playlist
    )
    catalog = MemoryCatalog(reconnect_window=timedelta(0), profile="copy")
    await catalog.open()
    event = StreamEvent(
        kind=EventKind.STARTED,
        stream_id=name,
        origin=Origin.COMMAND,
        occurred_at=datetime.now(UTC),
        profile=profile,
    )
    accepted = await catalog.accept(event)
    assert accepted.recording_id is not None
    pool = LocalPool(workers)
    started(catalog, accepted.recording_id)
    try:
        recording = await record_alone(
            accepted.recording_id,
            catalog=catalog,
            results=store,
            bucket=bucket,
            sources=[source],
            submit=pool.submit,
            slots=workers,
            settings=settings,
            may_grow=follow,
        )
        report = dict(await catalog.report(recording.id) or {})
    finally:
        pool.close()
        await catalog.close()
    return Result(recording=recording, report=report, jobs=tuple(pool.jobs), folder=folder)


record_one = partial(record, workers=1)
