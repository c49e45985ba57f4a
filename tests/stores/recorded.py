"""Recordings in a catalogue, as they are after somebody has made them: rows only, or with a source
and results in a bucket."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from pipeline.model import EndReason, EventKind, Gap, Origin, Recording, Rendition, StreamEvent
from pipeline.source import S3Source, fingerprint, open_presentation
from pipeline.stores.catalog import Catalog, Completion
from pipeline.stores.objects import ObjectStore

SEGMENTS = ("0.ts", "1.ts")
REPORT = {"verified": True, "frames_in": 100, "frames_out": 100}


async def begun(catalog: Catalog, key: str, began: timedelta = timedelta(hours=-1)) -> UUID:
    """A live recording; ``began``: from now."""
    accepted = await catalog.accept(
        StreamEvent(
            kind=EventKind.STARTED,
            stream_id=f"id-{key}",
            stream_key=key,
            user_id="u1",
            occurred_at=datetime.now(UTC) + began,
            origin=Origin.WEBHOOK,
            request_id=uuid4(),
        )
    )
    assert accepted.recording_id is not None
    return accepted.recording_id


async def completed(
    catalog: Catalog,
    key: str,
    *,
    bucket: str = "recordings",
    fingerprint: str | None = None,
    file_size: int = 4,
    gaps: tuple[Gap, ...] = (),
    age: timedelta = timedelta(0),
) -> Recording:
    """``age``: of its completion."""
    recording_id = await begun(catalog, key)
    now = datetime.now(UTC)
    await catalog.set_source(recording_id, f"{key}/stream.m3u8", fingerprint)
    await catalog.claim_name(recording_id, [key])
    await catalog.mark_ended(recording_id, now, EndReason.ENDLIST)
    await catalog.mark_processing(recording_id)
    rendition = Rendition(
        name="source",
        file_path=f"{bucket}/{key}.mp4",
        codecs="avc1.64001f",
        bandwidth=2,
        average_bandwidth=1,
    )
    await catalog.complete(
        recording_id,
        Completion(
            file_path=f"{bucket}/{key}.mp4",
            duration=100,
            file_size=file_size,
            completed_at=now - age,
            gaps=gaps,
            renditions=(rendition,),
        ),
        REPORT,
    )
    await catalog.forget_ledger(recording_id)
    return await catalog.get(recording_id)


@dataclass(frozen=True, slots=True)
class Buckets:
    """Of one store: live segments, results."""

    store: ObjectStore
    live: str
    results: str

    def show(self, key: str, marker: str = "") -> str:
        """An ended stream with that key; returns its fingerprint. ``marker``: in its bytes."""
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:4"]
        for name in SEGMENTS:
            self.store.put(self.live, f"{key}/{name}", f"{key} {name} {marker}".encode(), "")
            lines += ["#EXTINF:4,", name]
        text = "\n".join([*lines, "#EXT-X-ENDLIST", f"#{marker}"])
        self.store.put(self.live, f"{key}/stream.m3u8", text.encode(), "")
        source = S3Source(self.store, self.live, f"{key}/stream.m3u8")
        return fingerprint(source, open_presentation(source).playlist.segments[0])

    async def record(self, catalog: Catalog, key: str, **how: object) -> Recording:
        """A completed recording of an ended stream, with its objects."""
        mark = self.show(key)
        for name in (f"{key}.mp4", f"{key}/master.m3u8", f"{key}/source.m3u8"):
            self.store.put(self.results, name, b"data", "")
        return await completed(catalog, key, bucket=self.results, fingerprint=mark, **how)  # type: ignore[arg-type]

    def keys(self, bucket: str, prefix: str = "") -> set[str]:
        return {info.key for info in self.store.list(bucket, prefix)}
