"""What a live stream costs while it goes on: several of them, published in real time, recorded by
the real service."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.media import PLAIN, SEGMENT_S, Stream, make_stream
from bench.servers import written
from bench.watch import Watch
from bench.world import World, running
from pipeline.errors import StoreError

_STREAMS = 16
_WINDOW = 6
# Processes start, and what was new at first is caught up with.
_CALM_S = 40.0
_LENGTH_S = 32
_THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCost:
    """``cpu_ms``: by kind of process, for each stream and second; ``idle_cpu_ms``: for each second
    before there was any stream. Transactions and bytes of log: the same of PostgreSQL."""

    title: str
    streams: int
    segment_s: int
    seconds: float
    cpu_ms: Mapping[str, float]
    idle_cpu_ms: Mapping[str, float]
    transactions: float
    idle_transactions: float
    wal_bytes: float
    idle_wal_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """Of some seconds: what was used for each of them."""

    cpu_ms: Mapping[str, float]
    transactions: float
    wal_bytes: float


def measure_live(
    folder: Path, say: Callable[[str], object], streams: int = _STREAMS, seconds: float = 40.0
) -> LiveCost:
    """The recordings are never finished."""
    stream = make_stream(PLAIN, _LENGTH_S, folder / "media")
    with running(folder) as world:
        time.sleep(_CALM_S / 2)
        idle = _watch(world, seconds / 2)
        say(f"live: {streams} streams for {_CALM_S + seconds:.0f} s")
        with _published(world, stream, streams):
            time.sleep(_CALM_S)
            live = _watch(world, seconds)
    return LiveCost(
        title=PLAIN.title,
        streams=streams,
        segment_s=SEGMENT_S,
        seconds=seconds,
        cpu_ms={
            kind: (ms - idle.cpu_ms.get(kind, 0.0)) / streams for kind, ms in live.cpu_ms.items()
        },
        idle_cpu_ms=idle.cpu_ms,
        transactions=(live.transactions - idle.transactions) / streams,
        idle_transactions=idle.transactions,
        wal_bytes=(live.wal_bytes - idle.wal_bytes) / streams,
        idle_wal_bytes=idle.wal_bytes,
    )


def _watch(world: World, seconds: float) -> _Span:
    dsn = world.settings.database_dsn
    assert dsn is not None
    before = asyncio.run(written(dsn))
    with Watch([world.pid]) as watch:
        time.sleep(seconds)
    used = asyncio.run(written(dsn)) - before
    return _Span(
        cpu_ms={usage.kind: 1000 * usage.cpu_s / seconds for usage in watch.usage()},
        transactions=used.transactions / seconds,
        wal_bytes=used.wal_bytes / seconds,
    )


@contextmanager
def _published(world: World, stream: Stream, count: int) -> Iterator[None]:
    """Each in a thread's turn, a segment every few seconds, all of them evenly spread."""
    over = threading.Event()
    pieces = [path.read_bytes() for path in stream.segments]
    with ThreadPoolExecutor(_THREADS) as threads:
        publishing = threading.Thread(
            target=_publish, args=(world, pieces, count, threads.submit, over), daemon=True
        )
        publishing.start()
        try:
            time.sleep(SEGMENT_S)
            for number in range(count):
                path = f"{world.settings.minio_hls_bucket}/live-{number}/stream.m3u8"
                world.announce("stream.started", f"live-{number}", path)
            yield
        finally:
            over.set()
            publishing.join()


def _publish(
    world: World,
    pieces: list[bytes],
    count: int,
    submit: Callable[..., object],
    over: threading.Event,
) -> None:
    begin, turn = time.monotonic(), 0
    while not over.is_set():
        stream, segment = turn % count, turn // count
        submit(_put, world, stream, segment, pieces[segment % len(pieces)])
        turn += 1
        over.wait(max(0.0, begin + turn * SEGMENT_S / count - time.monotonic()))


def _put(world: World, stream: int, segment: int, data: bytes) -> None:
    """The segment, then the playlist that names it. The clock is set back with each repetition, as
    an encoder's that begins anew: marked."""
    bucket, first = world.settings.minio_hls_bucket, max(0, segment + 1 - _WINDOW)
    per_turn = _LENGTH_S // SEGMENT_S
    lines = [
        "#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{SEGMENT_S}",
        f"#EXT-X-MEDIA-SEQUENCE:{first}",
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{max(0, first - 1) // per_turn}",
    ]  # fmt: skip
    for number in range(first, segment + 1):
        if number and number % per_turn == 0:
            lines.append("#EXT-X-DISCONTINUITY")
        lines += [f"#EXTINF:{SEGMENT_S}.0,", f"segment-{number:05d}.ts"]
    try:
        world.store.put(bucket, f"live-{stream}/segment-{segment:05d}.ts", data, "video/mp2t")
        text = "\n".join([*lines, ""]).encode()
        world.store.put(bucket, f"live-{stream}/stream.m3u8", text, "application/vnd.apple.mpegurl")
    except StoreError:
        # One less; the service is being measured, not the publisher.
        return
