"""SRT listeners: FFmpeg on a port of the stream's own, again and again, one publisher at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from actors.ingest_process import end, listen, spawn
from actors.ingest_session import Read
from actors.loops import backoff
from pipeline.ingest.commands import SILENCE_S, ffmpeg_path, receive_srt

_READ_BYTES = 64 * 1024
_STEADY_S = 5.0
_AGAIN_S = 0.05

log = structlog.get_logger()


class SrtListener:
    """``publish`` takes a connection's bytes until it is over. ``open`` and ``close`` in turns."""

    def __init__(
        self, who: str, port: int, secret: str, publish: Callable[[Read], Awaitable[None]]
    ) -> None:
        self._who, self._port, self._secret, self._publish = who, port, secret, publish
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Whoever is connected is cut off; what came until then is taken."""
        task, self._task = self._task, None
        if self._process is not None:
            await end(self._process)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        delays = backoff()
        while True:
            began = clock()
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - nobody else would listen again
                log.warning("ingest_srt_failed", stream=self._who, error=str(error))
            if clock() - began > _STEADY_S:
                delays = backoff()
                await asyncio.sleep(_AGAIN_S)
            else:
                await asyncio.sleep(next(delays))

    async def _listen(self) -> None:
        argv = receive_srt(ffmpeg_path(), self._port, self._secret)
        process = self._process = await spawn(argv, max_file_bytes=0, has_stdin=False)
        assert process.stdout is not None
        assert process.stderr is not None
        said = asyncio.create_task(listen(process.stderr, self._who, self._secret))
        try:
            first = await process.stdout.read(_READ_BYTES)
            if first:
                await self._publish(_reader(first, process.stdout))
        finally:
            said.cancel()
            await asyncio.shield(end(process))


def _reader(first: bytes, stream: asyncio.StreamReader) -> Read:
    """``first``, then what comes. One that is silent for too long is gone."""
    kept = [first]

    async def read() -> bytes:
        if kept:
            return kept.pop()
        with suppress(TimeoutError):
            async with asyncio.timeout(SILENCE_S):
                return await stream.read(_READ_BYTES)
        return b""

    return read
