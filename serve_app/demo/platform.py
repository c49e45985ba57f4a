"""The demo as streaming platform: segments into the bucket, webhooks and messages out."""

import asyncio
import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from math import ceil
from typing import Any

import httpx
from aiokafka import AIOKafkaProducer

from pipeline.errors import VodrayError, WorkerLost
from pipeline.kafka_access import KafkaAccess
from pipeline.stores.objects import ObjectStore
from serve_app.demo.stream import Item

_PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
_DONE_TIMEOUT_S = 600.0
_POLL_S = 0.1


class Platform:
    """Speaks to a running vodray at ``http`` and, if it has any, to its Kafka brokers."""

    def __init__(self, http: str, kafka: KafkaAccess, store: ObjectStore, hls_bucket: str) -> None:
        self._http, self._kafka = httpx.Client(base_url=http, timeout=30.0), kafka
        self._store, self._bucket = store, hls_bucket

    def publish(self, key: str, items: Iterable[Item], pause_s: float, *, ended: bool) -> int:
        """Segment first, playlist after, as an encoder does; returns how many segments."""
        lines: list[str] = []
        longest, count = 1, 0
        there: set[str] = set()
        for item in items:
            for name, data in item.beside:
                if name not in there:
                    there.add(name)
                    self._put(f"{key}/{name}", data, "application/octet-stream")
            if item.data:
                self._put(f"{key}/{item.name}", item.data, "video/mp2t")
            lines += [*item.tags, item.name]
            longest = max(longest, ceil(float(item.tags[-1].split(":")[1].rstrip(","))))
            count += 1
            if pause_s:
                self._put_playlist(key, lines, longest, ended=False)
                time.sleep(pause_s)
        self._put_playlist(key, lines, longest, ended=ended)
        return count

    def webhook(self, event: str, key: str, stream_id: str) -> None:
        answer = self._http.post(
            "/webhook/stream",
            json={
                "event": event,
                "stream_id": stream_id,
                "stream_key": key,
                "user_id": "demo",
                "timestamp": _now(),
            },
        )
        if answer.status_code != httpx.codes.OK:
            raise VodrayError(f"The webhook answered {answer.status_code}: {answer.text[:200]}")

    def message(self, topic: str, action: str, key: str, stream_id: str) -> None:
        """A task through Kafka."""
        asyncio.run(
            self._send(
                topic,
                {
                    "stream_id": stream_id,
                    "action": action,
                    "timestamp": _now(),
                    "hls_path": f"{self._bucket}/{key}/stream.m3u8",
                },
            )
        )

    def wait_done(self, stream_id: str) -> dict[str, Any]:
        """The stream's one recording once it is final."""
        give_up = time.monotonic() + _DONE_TIMEOUT_S
        while time.monotonic() < give_up:
            found = [r for r in self.recordings() if r["stream_id"] == stream_id]
            if found and all(r["status"] in ("completed", "failed") for r in found):
                if len(found) > 1:
                    raise VodrayError(f"{stream_id} was recorded {len(found)} times")
                return found[0]
            time.sleep(_POLL_S)
        raise WorkerLost(f"{stream_id} was not recorded within {_DONE_TIMEOUT_S:.0f} s")

    def recordings(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self._http.get("/recordings").json()["recordings"]
        return listed

    def report(self, recording_id: str) -> dict[str, Any]:
        report: dict[str, Any] = self._http.get(f"/recordings/{recording_id}/report").json()
        return report

    async def _send(self, topic: str, task: dict[str, Any]) -> None:
        producer = AIOKafkaProducer(**self._kafka.client_options())
        await producer.start()
        try:
            await producer.send_and_wait(topic, json.dumps(task).encode())
        finally:
            await producer.stop()

    def _put(self, key: str, data: bytes, content_type: str) -> None:
        self._store.put(self._bucket, key, data, content_type)

    def _put_playlist(self, key: str, lines: list[str], longest: int, *, ended: bool) -> None:
        text = "\n".join(
            [
                "#EXTM3U",
                "#EXT-X-VERSION:6",
                f"#EXT-X-TARGETDURATION:{longest}",
                "#EXT-X-MEDIA-SEQUENCE:0",
                "#EXT-X-PLAYLIST-TYPE:EVENT",
                *lines,
                *(["#EXT-X-ENDLIST"] if ended else []),
                "",
            ]
        )
        self._put(f"{key}/stream.m3u8", text.encode(), _PLAYLIST_TYPE)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
