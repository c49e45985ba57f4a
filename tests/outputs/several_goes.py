"""One recording that is made in several goes: its supervisor dies, or its stream is back."""

import asyncio
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from actors.alone import record_alone
from pipeline.jobs import ChunkJob
from pipeline.model import EventKind, Origin, StreamEvent
from pipeline.settings import Settings
from pipeline.source import FileSource
from pipeline.stores.catalog_memory import MemoryCatalog
from pipeline.stores.objects_folder import FolderStore
from tests.local_pool import LocalPool, Result, quick_settings


def show(playlist: Path, folder: Path, count: int) -> Path:
    """The first segments of a stream, as if it had ended there."""
    lines = playlist.read_text().splitlines()
    names = [line for line in lines if line[0] != "#"]
    shown = folder / "stream.m3u8"
    end = lines.index(names[count - 1]) + 1
    shown.write_text("\n".join([*lines[:end], "#EXT-X-ENDLIST", ""]))
    for name in names[:count]:
        shutil.copyfile(playlist.parent / name, folder / name)
    return shown


class Told:
    """A catalogue with one recording, by the profile of the settings."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.settings = settings or quick_settings()
        self.catalog = MemoryCatalog(
            reconnect_window=timedelta(hours=1), profile=self.settings.profile
        )
        self.folder = folder

    async def tell(self, kind: EventKind, ago_s: int) -> Any:
        """Returns the recording."""
        event = StreamEvent(
            kind=kind,
            stream_id="result",
            origin=Origin.WEBHOOK,
            occurred_at=datetime.now(UTC) - timedelta(seconds=ago_s),
        )
        return (await self.catalog.accept(event)).recording_id

    async def make(self, recording_id: Any, playlist: Path, *, until_chunks: int = 0) -> Result:
        """``until_chunks``: waits for ever when so many are done."""
        settings = self.settings
        pool = LocalPool(2)

        async def submit(job: Any, *given: Any) -> Any:
            done = sum(isinstance(job, ChunkJob) for job in pool.jobs)
            if until_chunks and isinstance(job, ChunkJob) and done >= until_chunks:
                await asyncio.Event().wait()
            return await pool.submit(job, *given)

        try:
            recording = await record_alone(
                recording_id,
                catalog=self.catalog,
                results=FolderStore(self.folder),
                bucket="",
                sources=[FileSource(playlist, limits=settings.playlist_limits)],
                submit=submit,
                slots=2,
                settings=settings,
                may_grow=False,
            )
        finally:
            pool.close()
        report = dict(await self.catalog.report(recording_id) or {})
        return Result(recording=recording, report=report, jobs=tuple(pool.jobs), folder=self.folder)
