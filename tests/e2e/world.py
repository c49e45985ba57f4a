"""The world around a running service: streams in the bucket, events out, results to look at."""

import asyncio
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from pipeline.stores.objects import ObjectInfo
from pipeline.stores.objects_s3 import S3Store
from tests.media import Packet, decode_complaints, packets, remux_with_ffmpeg

T = TypeVar("T")
DONE_S = 90.0
Json = dict[str, Any]


def instant(after_s: float = 0.0) -> str:
    """Now, or so many seconds later, as events tell it."""
    at = datetime.now(UTC) + timedelta(seconds=after_s)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def eventually(look: Callable[[], T], *, within_s: float = DONE_S) -> T:
    """The first true answer."""
    give_up = time.monotonic() + within_s
    while not (answer := look()):
        assert time.monotonic() < give_up, f"not within {within_s} s"
        time.sleep(0.05)
    return answer


class World:
    """Knows what the service printed about itself, and nothing else of it."""

    def __init__(self, endpoints: Mapping[str, Any]) -> None:
        self.endpoints = endpoints
        self.http = httpx.Client(base_url=endpoints["http"], timeout=30)
        self.store = S3Store(
            endpoints["s3"].removeprefix("http://"),
            endpoints["s3_access_key"],
            endpoints["s3_secret_key"],
            secure=False,
        )
        self.bucket: str = endpoints["bucket"]
        self.hls_bucket: str = endpoints["hls_bucket"]

    def close(self) -> None:
        self.http.close()

    # --- tasks -----------------------------------------------------------------------------------
    def webhook(self, event: str, stream_id: str, key: str, **more: Any) -> httpx.Response:
        body = {"event": f"stream.{event}", "stream_id": stream_id, "stream_key": key}
        body |= {"user_id": "u1", "timestamp": instant()}
        return self.http.post("/webhook/stream", json=body | more)

    def tell(self, event: str, stream_id: str, key: str, **more: Any) -> None:
        answer = self.webhook(event, stream_id, key, **more)
        assert (answer.status_code, answer.json()) == (
            200,
            {"message": "Webhook processed successfully"},
        )

    def task(self, stream_id: str, action: str | None = None, **more: Any) -> None:
        told = {"action": action} if action else {}
        self.message(json.dumps({"stream_id": stream_id, "timestamp": instant(), **told, **more}))

    def message(self, value: bytes | str, topic: str = "recording.tasks") -> None:
        asyncio.run(self._send(topic, value.encode() if isinstance(value, str) else value))

    async def _send(self, topic: str, value: bytes) -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=self.endpoints["kafka"], max_request_size=4 * 2**20
        ) as producer:
            await producer.send_and_wait(topic, value, key=b"k")

    # --- what clients see ------------------------------------------------------------------------
    def recordings(self, stream_id: str) -> list[Json]:
        """Newest first."""
        answer = self.http.get("/recordings", params={"limit": 1000})
        return [r for r in answer.json()["recordings"] if r["stream_id"] == stream_id]

    def report(self, recording: Json) -> Json:
        answer = self.http.get(f"/recordings/{recording['id']}/report")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    @contextmanager
    def listening(self, recording_id: str) -> Iterator[list[Json]]:
        """The recording's server-sent events as they come; complete once the block is left."""
        events: list[Json] = []

        def listen() -> None:
            path = f"/recordings/{recording_id}/events"
            with self.http.stream("GET", path, timeout=DONE_S) as answer:
                assert answer.status_code == 200
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        events.append(json.loads(line.removeprefix("data: ")))

        thread = Thread(target=listen, daemon=True)
        thread.start()
        yield events
        thread.join(DONE_S)
        assert not thread.is_alive(), "the stream of events has not ended"

    def messages(self, topic: str, wanted: Callable[[list[ConsumerRecord]], bool]) -> list[Any]:
        """All records of a topic as soon as they are what is wanted."""
        return asyncio.run(self._read(topic, wanted))

    async def _read(self, topic: str, wanted: Callable[[list[Any]], bool]) -> list[Any]:
        found: list[Any] = []
        async with AIOKafkaConsumer(
            topic, bootstrap_servers=self.endpoints["kafka"], auto_offset_reset="earliest"
        ) as consumer:
            async with asyncio.timeout(20):
                while not wanted(found):
                    for batch in (await consumer.getmany(timeout_ms=200)).values():
                        found += batch
        return found

    def dead_letter(self, reason: str) -> ConsumerRecord:
        """The last dead letter whose reason says this."""

        def matching(records: list[Any]) -> list[Any]:
            return [r for r in records if reason in dict(r.headers)["reason"].decode()]

        letters = self.messages("recording.tasks.dlq", lambda records: bool(matching(records)))
        return matching(letters)[-1]

    # --- the bucket ------------------------------------------------------------------------------
    def objects(self, prefix: str) -> dict[str, ObjectInfo]:
        return {found.key: found for found in self.store.list(self.bucket, prefix)}

    def fetch(self, recording: Json, folder: Path) -> Path:
        """All objects of the recording as files; returns the MP4."""
        bucket, _, key = recording["file_path"].partition("/")
        assert bucket == self.bucket
        name = key.removesuffix(".mp4")
        for found in (key, *self.objects(f"{name}/")):
            path = folder / found
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.store.get(bucket, found, max_bytes=2**30))
        return folder / key

    # --- the database ----------------------------------------------------------------------------
    def rows(self, sql: str, *arguments: Any) -> list[Any]:
        async def fetch() -> list[Any]:
            connection = await asyncpg.connect(self.endpoints["postgres"], timeout=10)
            try:
                return list(await connection.fetch(sql, *arguments))
            finally:
                await connection.close(timeout=10)

        return asyncio.run(fetch())

    def finished_chunks(self, recording_id: str) -> dict[int, tuple[str, int]]:
        """What the ledger holds: number -> (the transaction that wrote it, bytes)."""
        found = self.rows(
            "SELECT number, xmin::text AS version, size_bytes FROM chunk_results"
            " WHERE recording_id = $1",
            uuid.UUID(recording_id),
        )
        return {row["number"]: (row["version"], row["size_bytes"]) for row in found}


@dataclass(slots=True)
class Broadcast:
    """An HLS stream that appears in the bucket segment by segment, as the test says."""

    world: World
    playlist: Path
    key: str = field(default_factory=lambda: f"key-{uuid.uuid4().hex[:12]}")
    stream_id: str = field(default_factory=lambda: f"stream-{uuid.uuid4().hex[:12]}")
    folder: str = ""
    shown: int = 0

    @property
    def entries(self) -> list[list[str]]:
        """Lines of each segment, the last one its URI."""
        found: list[list[str]] = [[]]
        for line in self._lines()[len(self.head) :]:
            found[-1].append(line)
            if not line.startswith("#"):
                found.append([])
        return found[:-1]

    @property
    def head(self) -> list[str]:
        lines = self._lines()
        return list(takewhile(lambda line: not line.startswith("#EXTINF"), lines))

    def _lines(self) -> list[str]:
        text = self.playlist.read_text()
        return [line for line in text.splitlines() if line != "#EXT-X-ENDLIST"]

    def show(self, count: int | None = None, *, ended: bool = False) -> None:
        """``count`` more segments (all by default), then the playlist, as an encoder does."""
        entries = self.entries
        upto = len(entries) if count is None else min(self.shown + count, len(entries))
        if not self.shown:
            for init in self.playlist.parent.glob("init*.mp4"):
                self.put(init.name, init.read_bytes())
        for entry in entries[self.shown : upto]:
            self.put(entry[-1], (self.playlist.parent / entry[-1]).read_bytes())
        self.shown = upto
        head = [line.replace("TYPE:VOD", "TYPE:EVENT") for line in self.head]
        lines = head + [line for entry in entries[:upto] for line in entry]
        self.write_playlist("\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else []), ""]))

    def show_whole(self) -> None:
        self.show(ended=True)

    def write_playlist(self, text: str) -> None:
        self.put("stream.m3u8", text.encode())

    def put(self, name: str, data: bytes) -> None:
        kind = "application/vnd.apple.mpegurl" if name.endswith(".m3u8") else "video/mp2t"
        folder = self.folder or self.key
        self.world.store.put(self.world.hls_bucket, f"{folder}/{name}", data, kind)

    # --- tasks -----------------------------------------------------------------------------------
    def tell(self, event: str, **more: Any) -> None:
        """By webhook: ``started`` or ``ended``."""
        self.world.tell(event, self.stream_id, self.key, **more)

    def task(self, action: str | None, **more: Any) -> None:
        """By Kafka."""
        path = f"{self.world.hls_bucket}/{self.key}/stream.m3u8"
        self.world.task(self.stream_id, action, **{"hls_path": path, **more})

    # --- what becomes of it ----------------------------------------------------------------------
    def recording(self) -> Json:
        """Its only recording, as soon as there is one."""
        found = eventually(lambda: self.world.recordings(self.stream_id))
        assert len(found) == 1, found
        return found[0]

    def finished(self, *, count: int = 1, within_s: float = DONE_S) -> list[Json]:
        """All its recordings, newest first, once ``count`` are there and final."""

        def look() -> list[Json]:
            found = self.world.recordings(self.stream_id)
            final = all(r["status"] in ("completed", "failed") for r in found)
            return found if final and len(found) >= count else []

        found = eventually(look, within_s=within_s)
        assert len(found) == count, found
        return found

    def completed(self, *, within_s: float = DONE_S) -> Json:
        """Its only recording once that is completed. Nothing else is left behind."""
        (recording,) = self.finished(within_s=within_s)
        assert recording["status"] == "completed", recording["error"]
        assert recording["error"] is None
        assert self.left_behind() == []
        return recording

    def failed(self, *, within_s: float = DONE_S) -> str:
        """Why its only recording failed. Nothing is left behind."""
        (recording,) = self.finished(within_s=within_s)
        assert recording["status"] == "failed", recording
        assert recording["file_path"] is None
        assert recording["error"], recording
        assert self.left_behind() == []
        assert self.world.objects(self.key) == {}
        return str(recording["error"])

    def left_behind(self) -> list[str]:
        """Staging objects and unfinished uploads: none, once its recordings are final. Copies of
        live segments and tiles stay for as long as the stream may come back."""
        ids = [recording["id"] for recording in self.world.recordings(self.stream_id)]
        kept = tuple(f".vodray/{id_}/{what}/" for id_ in ids for what in ("live", "storyboard"))
        found = [key for id_ in ids for key in self.world.objects(f".vodray/{id_}/")]
        staged = [key for key in found if not key.startswith(kept)]
        uploads = self.world.store.uploads(self.world.bucket, self.key)
        return staged + [upload.key for upload in uploads]


def live_so_far(world: World, recording_id: str, folder: Path) -> Path:
    """What ``live.m3u8`` shows, from the start, as files."""
    path = f"/recordings/{recording_id}/"
    answer = world.http.get(f"{path}live.m3u8")
    assert answer.status_code == 200, answer.text
    names = re.findall(r"^[^#\n]+$|(?<=URI=\")[^\"]+", answer.text, re.MULTILINE)
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(world.http.get(path + name, follow_redirects=True).content)
    playlist = folder / "live.m3u8"
    end = "#EXT-X-ENDLIST\n"
    playlist.write_text(answer.text.removesuffix(end) + end)
    return playlist


def reference(playlist: Path, folder: Path) -> list[Packet]:
    """The stream's packets as FFmpeg itself remuxes them."""
    return packets(remux_with_ffmpeg(playlist, folder / "reference.mp4"))


def check_media(mp4: Path) -> None:
    assert decode_complaints(mp4) == ""


def ask_ray(world: World, path: str) -> Any:
    """The API of the Ray dashboard."""
    token = Path.home() / ".ray" / "auth_token"
    headers = {"Authorization": f"Bearer {token.read_text().strip()}"} if token.exists() else {}
    answer = httpx.get(f"{world.endpoints['ray_dashboard']}{path}", headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()
