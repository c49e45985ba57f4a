"""The capture of one live source in this process: its origin, its results store and its catalogue
fail as they are told to. Segments are a few packets that name themselves."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from actors.capture import Capture
from actors.capture_log import by_playlist
from actors.depot import Depot
from actors.loops import Turns
from pipeline.errors import CatalogUnavailable, StoreUnavailable
from pipeline.model import EventKind, Origin, Segment, StreamEvent
from pipeline.source import S3Source
from pipeline.staging import staged_key
from pipeline.stores.catalog_memory import MemoryCatalog
from pipeline.stores.objects_memory import MemoryStore
from tests.local_pool import quick_settings

BUCKET = "bucket"
PLAYLIST = "stream/stream.m3u8"
SEGMENT_S = 1.0
PATIENCE_S = 8.0


def media(name: str) -> bytes:
    """Packets of a transport stream in which nothing is but the name."""
    packet = b"\x47\x1f\xff\x10" + name.encode()[:100].ljust(184, b"\0")
    return packet * 8


class FailingStore(MemoryStore):
    """``acts``: by key in its folder, what is raised, or slept for in seconds, at each request,
    one after the other and then never again; ``away``: raised for all. ``asked``: requests."""

    def __init__(self) -> None:
        super().__init__()
        self.acts: dict[str, list[Exception | float]] = {}
        self.away: Exception | None = None
        self.hangs = threading.Event()
        self.hangs.set()
        self.asked: Counter[str] = Counter()
        self.ensure_bucket(BUCKET)

    def get(self, bucket: str, key: str, **how: Any) -> bytes:
        self._act(key)
        return super().get(bucket, key, **how)

    def put(self, bucket: str, key: str, data: bytes, content_type: str) -> Any:
        self._act(key)
        return super().put(bucket, key, data, content_type)

    def set(self, key: str, data: bytes | str) -> None:
        """By somebody else, for whom it does not fail."""
        data = data.encode() if isinstance(data, str) else data
        super().put(BUCKET, key, data, "")

    def held(self, key: str) -> bytes:
        return super().get(BUCKET, key, max_bytes=2**24)

    def _act(self, key: str) -> None:
        name = key.removeprefix("stream/") if "stream/" in key else key.rpartition("/")[2]
        self.asked[name] += 1
        self.hangs.wait(PATIENCE_S)
        if self.away is not None:
            raise self.away
        acts = self.acts.get(name)
        act = acts.pop(0) if acts else 0.0
        if isinstance(act, Exception):
            raise act
        time.sleep(act)


class FailingCatalog(MemoryCatalog):
    """``away``: every call fails. ``lost``: so many writes of findings succeed and say that they
    failed."""

    away = False
    lost = 0

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or name == "accept" or not callable(found):
            return found

        async def call(*arguments: Any) -> Any:
            if self.away:
                raise CatalogUnavailable("away")
            return await found(*arguments)

        return call

    async def add_finding(self, recording_id: UUID, finding: Any) -> None:
        await super().add_finding(recording_id, finding)
        if self.lost:
            self.lost -= 1
            raise CatalogUnavailable("the answer is lost")


class World:
    """Everything around a capture. ``new_process`` makes one, with a depot of its own."""

    def __init__(self, spool: Path, **settings: Any) -> None:
        self.origin, self.results = FailingStore(), FailingStore()
        self.catalog = FailingCatalog(reconnect_window=timedelta(minutes=1), profile="copy")
        usual = {
            "monitor_interval": timedelta(milliseconds=20),
            "stall_timeout": timedelta(seconds=PATIENCE_S),
            "max_retry_attempts": 1,
            "spool_dir": spool,
        }
        self.settings = quick_settings(**(usual | settings))
        self.source = S3Source(self.origin, BUCKET, PLAYLIST)
        self.id = UUID(int=0)
        self.capture: Capture | None = None
        self._tasks: list[tuple[asyncio.Task[None], Depot]] = []

    async def announce(self, kind: EventKind = EventKind.STARTED) -> None:
        event = StreamEvent(
            kind=kind,
            stream_id="stream",
            origin=Origin.COMMAND,
            occurred_at=datetime.now(UTC),
        )
        accepted = await self.catalog.accept(event)
        assert accepted.recording_id is not None
        self.id = accepted.recording_id

    def show(
        self,
        first: int,
        count: int,
        *,
        sequence: int | None = None,
        ended: bool = False,
        token: str = "",
        tags: Sequence[str] = (),
        name: str = PLAYLIST,
        clip: str = "",
    ) -> None:
        """Segments that are there, and the playlist that names them. ``token``: in addresses."""
        for number in range(first, first + count):
            self.origin.set(f"stream/{token}{clip}{number}.ts", media(f"{clip}{number}"))
        named = [f"{token}{clip}{number}.ts" for number in range(first, first + count)]
        self.write(named, first if sequence is None else sequence, ended, tags, name)

    def write(
        self,
        named: Iterable[str],
        sequence: int,
        ended: bool = False,
        tags: Sequence[str] = (),
        name: str = PLAYLIST,
    ) -> None:
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{sequence}", *tags]
        for uri in named:
            lines += [f"#EXTINF:{SEGMENT_S},", uri]
        self.origin.set(name, "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else []), ""]))

    async def new_process(self) -> "asyncio.Task[None]":
        depot = Depot(self.results, BUCKET, self.settings)
        recording = await self.catalog.get(self.id)
        capture = self.capture = Capture(
            recording,
            catalog=self.catalog,
            sources=lambda _: [self.source],
            depot=depot,
            settings=self.settings,
            turns=Turns(100),
            on_news=self.on_news,
        )
        task = asyncio.create_task(capture.run())
        self._tasks.append((task, depot))
        return task

    def on_news(self) -> None:
        """The capture has written something down."""

    async def kill(self) -> None:
        """All processes."""
        for task, depot in self._tasks:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            depot.close()
        self._tasks.clear()

    async def until(self, told: Callable[[], object]) -> None:
        """Raises ``TimeoutError`` unless it holds soon."""
        async with asyncio.timeout(PATIENCE_S):
            while not told():
                await asyncio.sleep(0.005)

    async def asks(self, name: str) -> None:
        """The origin, for this file."""
        await self.until(lambda: self.origin.asked[name])

    async def logs(self, count: int, playlist: int = 0) -> None:
        await self.until(lambda: len(self.log(playlist)) >= count)

    async def spools(self, count: int) -> None:
        await self.until(lambda: sum(".kept" in name for name in self.spooled()) >= count)

    async def done(self, task: "asyncio.Task[None]") -> None:
        async with asyncio.timeout(PATIENCE_S):
            await task
        state = await self.catalog.source_state(self.id)
        assert state is not None
        assert state.is_final_for(await self.catalog.get(self.id))

    def log(self, playlist: int = 0) -> list[Segment]:
        findings = self.catalog._ledger(self.id).findings
        return [*by_playlist(findings)[playlist]] if findings else []

    def seen(self, playlist: int = 0) -> list[str]:
        """What the log's segments hold, by their copies; why there is none of gaps."""
        return [self.content(segment) for segment in self.log(playlist)]

    def content(self, segment: Segment) -> str:
        if segment.is_gap:
            return f"gap {segment.sequence}"
        key = staged_key(segment.uri)
        if key is None:
            return segment.uri.rpartition("/")[2]
        return self.results.held(key)[4:104].rstrip(b"\0").decode()

    def spooled(self) -> list[str]:
        folder = self.settings.spool_dir / str(self.id)
        return sorted(path.name for path in folder.glob("*"))


def away(store: FailingStore) -> None:
    store.away = StoreUnavailable("away")
