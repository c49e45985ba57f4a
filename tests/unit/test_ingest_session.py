"""Connections of publishers without the service: real FFmpeg cuts, stores are told to fail."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import imageio_ffmpeg
import psutil
import pytest

from actors.ingest_process import spawn
from actors.ingest_rtmp import RtmpListener
from actors.ingest_session import Cut, Read, Session
from actors.ingest_uploads import Uploads
from pipeline.errors import MediaInvalid, StoreUnavailable
from pipeline.ingest import local, playlist
from pipeline.ingest import state as states
from pipeline.ingest.local import Disk
from pipeline.ingest.playlist import Entry
from pipeline.ingest.state import Ingest
from pipeline.stores.objects_memory import MemoryStore
from tests.media import Form as ClipForm
from tests.media import ffmpeg, frame_numbers, make_hls
from tests.media_fixtures import Clips

NOW = datetime(2025, 10, 5, 18, 0, tzinfo=UTC)
BUCKET = "hls"


def joined(listed: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(listed.parent.glob("*.ts")))


def reading(data: bytes, step: int = 30_000, pause_s: float = 0.0) -> Read:
    pieces = [data[at : at + step] for at in range(0, len(data), step)]

    async def read() -> bytes:
        await asyncio.sleep(pause_s)
        return pieces.pop(0) if pieces else b""

    return read


def session(folder: Path, cuts: list[Cut], *, max_pixels: int = 2**24) -> Session:
    return Session(
        who="s",
        run=1,
        form="mpegts",
        folder=folder,
        max_segment_bytes=2**28,
        max_pixels=max_pixels,
        on_cut=cuts.append,
    )


def whole(cuts: list[Cut], target: Path) -> Path:
    target.write_bytes(b"".join(cut.file.path.read_bytes() for cut in cuts))
    return target


async def test_packets_are_copied(clips: Clips, tmp_path: Path) -> None:
    cuts: list[Cut] = []
    await session(tmp_path / "cut", cuts).run(reading(joined(clips(ClipForm(seconds=12)))))
    lengths = [cut.entry.duration_s for cut in cuts]
    assert lengths == pytest.approx([4.0, 4.0, 4.0], abs=0.15)
    assert frame_numbers(whole(cuts, tmp_path / "all.ts")) == list(range(300))


async def test_what_cannot_be_copied_is_encoded(tmp_path: Path) -> None:
    source = tmp_path / "mpeg2.ts"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=9"),
        *("-f", "lavfi", "-i", "sine=duration=9", "-c:v", "mpeg2video", "-c:a", "mp2", source),
    )
    cuts: list[Cut] = []
    await session(tmp_path / "cut", cuts).run(reading(source.read_bytes()))
    with av.open(str(whole(cuts, tmp_path / "all.ts"))) as made:
        names = [stream.codec_context.name for stream in made.streams]
        count = sum(packet.size > 0 for packet in made.demux(video=0))
    assert (names, count) == (["h264", "aac"], 225)
    assert [cut.entry.duration_s for cut in cuts][:2] == pytest.approx([4.0, 4.0], abs=0.1)


async def test_pictures_without_keyframes_are_encoded(tmp_path: Path) -> None:
    listed = make_hls(tmp_path / "clip", ClipForm(seconds=12, gop_s=12, segment_s=12))
    cuts: list[Cut] = []
    await session(tmp_path / "cut", cuts).run(reading(joined(listed)))
    lengths = [cut.entry.duration_s for cut in cuts]
    assert lengths[:3] == pytest.approx([4.0, 4.0, 4.0], abs=0.15)
    # A constant rate: the first picture is there from the beginning of the sound.
    shown = frame_numbers(whole(cuts, tmp_path / "all.ts"))
    assert list(dict.fromkeys(shown)) == list(range(300))
    assert len(shown) <= 303


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n" * 5000, bytes(200_000)])
async def test_what_is_no_media_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(MediaInvalid):
        await session(tmp_path, []).run(reading(data))


async def test_pictures_that_are_too_large_are_refused(clips: Clips, tmp_path: Path) -> None:
    data = joined(clips(ClipForm(seconds=12)))
    with pytest.raises(MediaInvalid, match="pictures of 128 x 72"):
        await session(tmp_path, [], max_pixels=100).run(reading(data))


async def test_what_ffmpeg_was_cutting_when_it_was_killed_is_kept(
    clips: Clips, tmp_path: Path
) -> None:
    data = joined(clips(ClipForm(seconds=12, b_frames=0)))
    cuts: list[Cut] = []
    own = session(tmp_path / "cut", cuts)
    running = asyncio.create_task(own.run(reading(data, 4000, pause_s=0.06)))
    cutter = await cutting(tmp_path / "cut")
    async with asyncio.timeout(30):
        while not cuts:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
    os.kill(cutter, signal.SIGKILL)
    async with asyncio.timeout(10):
        await running
    assert len(cuts) >= 2
    assert 0 < cuts[-1].entry.duration_s < 4.5
    numbers = frame_numbers(whole(cuts, tmp_path / "all.ts"))
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 100


async def cutting(folder: Path) -> int:
    async with asyncio.timeout(30):
        while True:
            for process in psutil.Process().children(recursive=True):
                # One of another test may end meanwhile.
                with suppress(psutil.Error):
                    if any(str(folder) in word for word in process.cmdline()):
                        return process.pid
            await asyncio.sleep(0.02)


async def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    """However that ends."""
    script = (
        "import asyncio, sys\n"
        "from actors.ingest_process import spawn\n"
        "async def main():\n"
        "    child = await spawn(['/bin/sleep', '60'], max_file_bytes=0)\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(30):
        pid = int(await parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
        await parent.wait()
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.02)


async def test_a_child_writes_no_larger_file(tmp_path: Path) -> None:
    argv = ["/bin/dd", "if=/dev/zero", f"of={tmp_path / 'x'}", "bs=1000", "count=100"]
    child = await spawn(argv, max_file_bytes=5000)
    async with asyncio.timeout(20):
        assert await child.wait() != 0
    assert (tmp_path / "x").stat().st_size == 5000


# --- into the bucket --------------------------------------------------------------------------


class Rows:
    """In place of PostgreSQL."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    async def segments(self, _state: Ingest) -> list[Entry]:
        return list(self.entries)

    async def add_segment(self, _state: Ingest, entry: Entry) -> None:
        if entry not in self.entries:
            self.entries.append(entry)


class Away(MemoryStore):
    """A store that is away for as long as it is told to be."""

    is_away = False

    def put(self, bucket: str, key: str, data: bytes, content_type: str) -> object:  # type: ignore[override]
        if self.is_away:
            raise StoreUnavailable("away")
        return super().put(bucket, key, data, content_type)


STATE = states.connected(
    Ingest(stream_id="s", stream_key="k", secret="x" * 32, port=1, asked_at=NOW),
    "srt",
    NOW,
    timedelta(seconds=60),
)


def uploads(
    store: MemoryStore, rows: Rows, disk: Disk, on_news: Callable[[], Awaitable[None]]
) -> Uploads:
    return Uploads(STATE, store=store, bucket=BUCKET, ingests=rows, disk=disk, on_news=on_news)  # type: ignore[arg-type]


def written(disk: Disk, number: int, data: bytes = b"x" * 100) -> Cut:
    assert STATE.broadcast is not None
    folder = disk.of_broadcast(STATE.stream_id, STATE.broadcast)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"001-{number:05}.ts"
    path.write_bytes(data)
    entry = Entry(run=1, number=number, duration_s=4.0, began_at=NOW)
    file = local.Local(path=path, run=1, number=number, size_bytes=len(data))
    return Cut(entry=entry, file=file)


async def nothing() -> None: ...


def keys(store: MemoryStore) -> list[str]:
    return sorted(found.key for found in store.list(BUCKET, "k/"))


async def test_what_finds_no_room_while_the_bucket_is_away_is_a_gap(tmp_path: Path) -> None:
    store, rows, disk = Away(), Rows(), Disk(tmp_path, 250)
    store.ensure_bucket(BUCKET)
    own = uploads(store, rows, disk, nothing)
    await own.open()
    store.is_away = True
    for number in range(4):
        own.add(written(disk, number))
    assert len(list(own.folder.iterdir())) == 2
    await asyncio.sleep(0.1)
    assert keys(store) == []
    store.is_away = False
    async with asyncio.timeout(10):
        await own.finish()
    await own.close()
    assert [entry.is_gap for entry in rows.entries] == [False, False, True, True]
    text = store.get(BUCKET, "k/stream.m3u8", max_bytes=10_000).decode()
    assert text.count("#EXT-X-GAP\n") == 2
    assert text.endswith("#EXT-X-ENDLIST\n")
    assert len(keys(store)) == 3
    assert list(own.folder.iterdir()) == []
    assert disk.take(250)


async def test_a_segment_is_there_before_the_playlist_names_it(tmp_path: Path) -> None:
    store, rows, disk = MemoryStore(), Rows(), Disk(tmp_path, 10_000)
    store.ensure_bucket(BUCKET)
    seen = []

    async def look() -> None:
        text = store.get(BUCKET, "k/stream.m3u8", max_bytes=10_000).decode()
        named = {f"k/{line}" for line in text.splitlines() if line.endswith(".ts")}
        assert named <= set(keys(store))
        seen.append(len(named))

    own = uploads(store, rows, disk, look)
    await own.open()
    for number in range(3):
        own.add(written(disk, number))
        await asyncio.sleep(0.05)
    await own.finish()
    await own.close()
    assert seen[-1] == 3


async def test_what_another_process_has_left_is_stored_once(clips: Clips, tmp_path: Path) -> None:
    store, rows, disk = MemoryStore(), Rows(), Disk(tmp_path, 2**30)
    store.ensure_bucket(BUCKET)
    data = next(iter(clips(ClipForm(seconds=12)).parent.glob("*.ts"))).read_bytes()
    stored, _, cut_off = (written(disk, number, data) for number in range(3))
    cut_off.file.path.write_bytes(data[: len(data) // 2])
    written(disk, 3, b"no media")
    rows.entries.append(replace(stored.entry, duration_s=2.0))
    own = uploads(store, rows, disk, nothing)
    await own.open()
    await own.finish()
    await own.close()
    assert [entry.number for entry in rows.entries] == [0, 1, 2]
    assert rows.entries[1].duration_s == pytest.approx(2.0, abs=0.1)
    assert 0 < rows.entries[2].duration_s < 2.0
    assert list(own.folder.iterdir()) == []
    assert STATE.broadcast is not None
    names = [playlist.segment_name(STATE.broadcast, 1, number) for number in (1, 2)]
    assert keys(store) == [*(f"k/{name}" for name in names), "k/stream.m3u8"]


# --- RTMP on a socket -------------------------------------------------------------------------


async def test_strangers_do_not_hold_the_rtmp_port(
    unused_tcp_port: int, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.ingest_rtmp._HELLO_S", 0.5)
    taken = bytearray()

    async def publish(read: Read) -> None:
        while data := await read():
            taken.extend(data)

    listener = RtmpListener(unused_tcp_port, lambda secret: publish if secret == "good" else None)
    await listener.open()
    try:
        silent, waits = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
        rude, wrote = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
        wrote.write(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(5):
            assert await rude.read() == b""
            assert await silent.read() == b""
        for writer in (waits, wrote):
            writer.close()
        clip = clips(ClipForm(seconds=12))
        for secret, is_taken in (("bad", False), ("good", True)):
            url = f"rtmp://127.0.0.1:{unused_tcp_port}/live/{secret}"
            done = await publisher(clip, url)
            assert (done == 0, bool(taken)) == (is_taken, is_taken)
    finally:
        await listener.close()
    assert taken.startswith(b"FLV\x01")


async def publisher(clip: Path, url: str) -> int | None:
    process = await asyncio.create_subprocess_exec(
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "quiet", "-i", str(clip)),
        *("-c", "copy", "-f", "flv", url),
    )
    async with asyncio.timeout(30):
        return await process.wait()
