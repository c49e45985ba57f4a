"""One connection of a publisher: its bytes become segments on disk.

It is over when either end is: whoever publishes then comes back to a new one.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from actors.ingest_process import end, lines, spawn
from pipeline.errors import MediaInvalid
from pipeline.ingest import clock, commands, local
from pipeline.ingest.commands import Form, Found
from pipeline.ingest.meter import Meter
from pipeline.ingest.playlist import Entry

MAX_BITS_PER_S = 100_000_000
"""More is not read from a publisher."""
_MAX_HEAD_BYTES = 16 * 2**20
_LOOK_S = 12.0
_FINISH_S = 5.0

# The publisher's next bytes, none once there are no more.
Read = Callable[[], Awaitable[bytes]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A segment that is complete on disk."""

    entry: Entry
    file: local.Local


class Session:
    """Call ``run`` once. ``folder``: where segments go; ``on_cut`` is told of each, in order."""

    def __init__(
        self,
        *,
        who: str,
        run: int,
        form: Form,
        folder: Path,
        max_segment_bytes: int,
        max_pixels: int,
        on_cut: Callable[[Cut], None],
    ) -> None:
        self._who, self._number, self._form, self._folder = who, run, form, folder
        self._max_segment_bytes, self._max_pixels = max_segment_bytes, max_pixels
        self._on_cut, self._seen = on_cut, set[int]()
        self._began_at = datetime.now(UTC)
        self._closing = asyncio.Event()
        self._reading: asyncio.Future[bytes] | None = None
        self._heard_at = time.monotonic()
        self.meter = Meter()

    @property
    def silent_s(self) -> float:
        """How long nothing has come."""
        return time.monotonic() - self._heard_at

    def close(self) -> None:
        """No more is taken: what is here already is finished."""
        self._closing.set()

    async def run(self, publisher: Read) -> None:
        """Until there is no more or FFmpeg ends; what was cut until then is told. Raises
        ``MediaInvalid`` for what is no use."""
        try:
            await self._run(partial(self._next, publisher))
        finally:
            if self._reading is not None:
                self._reading.cancel()

    async def _run(self, read: Read) -> None:
        head = bytearray()
        found = await self._look(read, head)
        log.info("ingest_found", stream=self._who, form=self._form, found=str(found))
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        argv = commands.cut(
            commands.ffmpeg_path(),
            self._form,
            found,
            local.pattern(self._folder, self._number),
            self._max_pixels,
        )
        cutter = await spawn(argv, max_file_bytes=self._max_segment_bytes)
        assert cutter.stdin is not None
        assert cutter.stdout is not None
        assert cutter.stderr is not None
        told = asyncio.create_task(self._take_list(cutter.stdout))
        said = asyncio.create_task(self._take_progress(cutter.stderr))
        pump = asyncio.create_task(self._pump(bytes(head), read, cutter.stdin))
        try:
            await asyncio.wait({pump, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pump.cancel()
            cutter.stdin.close()
            status = await asyncio.shield(end(cutter, _FINISH_S))
            await asyncio.wait({told, said}, timeout=1.0)
            for task in (told, said):
                task.cancel()
            self._take_rest()
            log.info("ingest_session_over", stream=self._who, run=self._number, ffmpeg=status)

    async def _next(self, publisher: Read) -> bytes:
        """Being cancelled loses nothing: what is being read is there for the next call."""
        reading = self._reading = self._reading or asyncio.ensure_future(publisher())
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            waited: set[asyncio.Future[Any]] = {reading, closing}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
        if not reading.done():
            return b""
        self._reading = None
        data = reading.result()
        if data:
            self._heard_at = time.monotonic()
            self.meter.add(len(data))
        return data

    async def _look(self, read: Read, head: bytearray) -> Found:
        """What it is; ``head`` is what was read meanwhile."""
        process = await spawn(commands.look(self._form, self._max_pixels), max_file_bytes=0)
        assert process.stdin is not None
        assert process.stdout is not None
        verdict = asyncio.create_task(process.stdout.readline())
        reading = asyncio.create_task(self._read_head(read, head, process.stdin))
        try:
            async with asyncio.timeout(_LOOK_S):
                # What it has seen may be all that it needs, or all that there is.
                await asyncio.wait({verdict, reading}, return_when=asyncio.FIRST_COMPLETED)
                line = await verdict
            if not line:
                raise MediaInvalid("what is published cannot be read")
            return Found.read(json.loads(line))
        except (TimeoutError, ValueError) as error:
            raise MediaInvalid("what is published says not what it is") from error
        finally:
            verdict.cancel()
            reading.cancel()
            await asyncio.wait({reading})
            await asyncio.shield(end(process))

    async def _read_head(self, read: Read, head: bytearray, stdin: asyncio.StreamWriter) -> None:
        try:
            while data := await read():
                head += data
                if len(head) > _MAX_HEAD_BYTES:
                    return
                # It ends as soon as it knows.
                with suppress(OSError):
                    stdin.write(data)
                    await stdin.drain()
        finally:
            stdin.close()

    async def _pump(self, head: bytes, read: Read, stdin: asyncio.StreamWriter) -> None:
        """As fast as FFmpeg takes it: who sends faster waits, or loses what SRT gives up."""
        with suppress(OSError):
            stdin.write(head)
            await stdin.drain()
            while data := await read():
                stdin.write(data)
                await stdin.drain()
                if (rate := self.meter.bits_per_s) > MAX_BITS_PER_S:
                    await asyncio.sleep(min(8 * len(data) * rate / MAX_BITS_PER_S**2, 1.0))

    async def _take_list(self, stream: asyncio.StreamReader) -> None:
        async for line in lines(stream):
            name, _, times = line.partition(",")
            begin, _, ended = times.partition(",")
            with suppress(ValueError):
                self._take(name, float(begin), float(ended))

    def _take(self, name: str, begin_s: float, end_s: float) -> None:
        file = next(
            (f for f in local.found(self._folder, self._number) if f.path.name == name), None
        )
        if file is not None and file.number not in self._seen:
            began_at = self._began_at + timedelta(seconds=begin_s)
            self._tell(file, max(end_s - begin_s, 0.001), began_at)

    def _take_rest(self) -> None:
        """What FFmpeg did not finish, since it was killed."""
        for file in local.found(self._folder, self._number):
            if file.number not in self._seen and (cut := recovered(file)):
                self._seen.add(file.number)
                self._on_cut(cut)

    def _tell(self, file: local.Local, duration_s: float, began_at: datetime) -> None:
        self._seen.add(file.number)
        entry = Entry(run=file.run, number=file.number, duration_s=duration_s, began_at=began_at)
        self._on_cut(Cut(entry=entry, file=file))

    async def _take_progress(self, stream: asyncio.StreamReader) -> None:
        said = 0
        async for line in lines(stream):
            name, is_pair, value = line.partition("=")
            if name == "frame" and value.strip().isdigit():
                self.meter.count(int(value))
            elif not is_pair or " " in name:
                said += 1
                if said <= 100:
                    log.info("ffmpeg_says", stream=self._who, text=line)


def recovered(file: local.Local) -> Cut | None:
    """A segment that nobody told the length of. None if there is nothing in it."""
    length_s = clock.duration_s(file.path.read_bytes())
    if length_s is None:
        return None
    written_at = datetime.fromtimestamp(file.path.stat().st_mtime, UTC)
    entry = Entry(
        run=file.run,
        number=file.number,
        duration_s=length_s,
        began_at=written_at - timedelta(seconds=length_s),
    )
    return Cut(entry=entry, file=file)
