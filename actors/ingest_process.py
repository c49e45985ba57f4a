"""FFmpeg and its like as children of this process: started, fed, ended."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import structlog

from pipeline.ingest.commands import launched
from pipeline.logs import scrub

_READ_BYTES = 64 * 1024
_KILLED_S = 2.0
_MAX_LINE_BYTES = 4096
_MAX_SAID_LINES = 200

log = structlog.get_logger()


async def spawn(
    argv: Sequence[str], *, max_file_bytes: int, has_stdin: bool = True
) -> asyncio.subprocess.Process:
    """``argv`` with pipes. It dies with the thread that calls this, that of the event loop."""
    return await asyncio.create_subprocess_exec(
        *launched(argv, os.getpid(), max_file_bytes=max_file_bytes),
        stdin=asyncio.subprocess.PIPE if has_stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_READ_BYTES,
        start_new_session=True,  # Ctrl-C is for who started us
    )


async def end(process: asyncio.subprocess.Process, grace_s: float = 0.0) -> int | None:
    """Let it end by itself for a while, then kill it. Its exit status."""
    with suppress(TimeoutError):
        async with asyncio.timeout(grace_s):
            return await process.wait()
    with suppress(ProcessLookupError):
        process.kill()
    with suppress(TimeoutError):
        async with asyncio.timeout(_KILLED_S):
            return await process.wait()
    return None


async def lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines of text, whatever a process that reads hostile media may print."""
    kept = b""
    while data := await stream.read(_READ_BYTES):
        *whole, kept = (kept + data).split(b"\n")
        for line in whole:
            yield line[:_MAX_LINE_BYTES].decode(errors="replace").strip()
        kept = kept[:_MAX_LINE_BYTES]


async def listen(stream: asyncio.StreamReader, who: str, secret: str) -> None:
    """What it complains of goes to the log, without its secret, and not without end."""
    said = 0
    async for line in lines(stream):
        said += 1
        if line and said <= _MAX_SAID_LINES:
            log.info("ffmpeg_says", stream=who, text=scrub(line, (secret,)))
