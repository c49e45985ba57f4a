"""What a service that runs for years does beside recording: recordings that are too old go, live
segments whose recording is safe, rows and objects that are nobody's any more; and the bucket is
told of each recording. A loop of its own: no recording waits for it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from actors.orphans import sweep_bucket
from actors.recording import sources_of
from pipeline.errors import ObjectMissing, RecordingNotFound, SourceError, StoreError
from pipeline.model import Recording
from pipeline.notes import CONTENT_TYPE, note_key, write_note
from pipeline.retention import expire, limit_of, needs_source, note
from pipeline.settings import Settings
from pipeline.source_objects import objects_named
from pipeline.stores.catalog import Catalog
from pipeline.stores.objects import ObjectStore
from pipeline.stores.platform import Platform
from pipeline.stores.upkeep import Upkeep

_LOOK_EVERY_S = 2.0
_NOTE_EVERY_S = 10.0
_RETAIN_EVERY_S = 60.0
_SOURCES_EVERY_S = 10.0
_PRUNE_EVERY_S = 3600.0
_BUCKET_EVERY_S = 24 * 3600.0
_AT_ONCE = 100

log = structlog.get_logger()


@dataclass(slots=True)
class _Duty:
    work: Callable[[], Awaitable[object]]
    every_s: float
    due_at: float = 0.0


class Housekeeper:
    """``catalog`` is open."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        platform: Platform,
        upkeep: Upkeep,
        store: ObjectStore,
    ) -> None:
        self._settings, self._catalog = settings, catalog
        self._platform, self._upkeep, self._store = platform, upkeep, store
        self._bucket, self._source_bucket = settings.minio_bucket, settings.minio_hls_bucket

    async def run(self) -> None:
        """For ever; what fails is tried again when it is due again."""
        duties = [
            _Duty(self.tell_bucket, _NOTE_EVERY_S),
            _Duty(self.expire_recordings, _RETAIN_EVERY_S),
            _Duty(self.remove_sources, _SOURCES_EVERY_S),
            _Duty(self.prune, _PRUNE_EVERY_S),
            _Duty(self.remove_orphans, _BUCKET_EVERY_S),
        ]
        while True:
            for duty in duties:
                if time.monotonic() < duty.due_at:
                    continue
                try:
                    await duty.work()
                except Exception as error:  # noqa: BLE001 - nobody else would go on with the rest
                    log.warning("upkeep_failed", duty=duty.work.__name__, error=str(error))
                duty.due_at = time.monotonic() + duty.every_s
            await asyncio.sleep(_LOOK_EVERY_S)

    async def tell_bucket(self) -> None:
        """Put down beside each recording what it is, again when that has changed."""
        for recording in await self._upkeep.to_note(_AT_ONCE):
            try:
                report = await self._catalog.report(recording.id) or {}
            except RecordingNotFound:
                continue
            if recording.object_name is not None:
                data, key = write_note(recording, report), note_key(recording.object_name)
                await asyncio.to_thread(self._store.put, self._bucket, key, data, CONTENT_TYPE)
                try:
                    await self._catalog.get(recording.id)
                except RecordingNotFound:
                    # Whoever deleted it meanwhile may have missed this.
                    await asyncio.to_thread(self._store.delete, self._bucket, [key])
                    continue
            if self._settings.delete_source_after is not None:
                await self._remember_source(recording)
            await self._upkeep.mark_noted(recording)

    async def _remember_source(self, recording: Recording) -> None:
        """What of the source may go later: its playlist may tell of another broadcast by then."""
        if needs_source(recording) or recording.fingerprint is None:
            return
        for source in sources_of(recording, self._store, self._settings):
            try:
                etags = await asyncio.to_thread(
                    objects_named, source, recording.fingerprint, self._store, self._source_bucket
                )
            except (SourceError, StoreError) as error:
                # It stays then: that costs room, and nothing else.
                log.info("source_unknown", recording=str(recording.id), error=str(error))
                continue
            if etags:
                await self._upkeep.save_source(recording.id, etags)

    async def expire_recordings(self) -> None:
        """``RETENTION_DAYS``."""
        if self._settings.retention_days is None:
            return
        before = limit_of(datetime.now(UTC), self._settings.retention_days)
        for recording in await self._upkeep.expired(before, _AT_ONCE):
            if await expire(recording, self._catalog, self._platform):
                log.info(
                    "recording_expired",
                    recording=str(recording.id),
                    file=recording.file_path,
                    bytes=recording.file_size,
                )

    async def remove_sources(self) -> None:
        """``DELETE_SOURCE_AFTER``."""
        if self._settings.delete_source_after is None:
            return
        before = datetime.now(UTC) - self._settings.delete_source_after
        for recording, etags in await self._upkeep.sources_due(before, _AT_ONCE):
            removed = await asyncio.to_thread(self._remove_source, recording, etags)
            if removed is not None:
                await note(self._platform, "source.delete", recording, objects=removed)
                log.info("source_removed", recording=str(recording.id), objects=removed)
            await self._upkeep.forget_source(recording.id)

    def _remove_source(self, recording: Recording, etags: Mapping[str, str]) -> int | None:
        """How many objects went: those that are still what they were. None where the recording is
        not what it should be: then its source is all that there is."""
        try:
            _, _, key = (recording.file_path or "").partition("/")
            size = self._store.stat(self._bucket, key).size_bytes
        except ObjectMissing:
            size = -1
        if size != recording.file_size:
            log.error("source_kept", recording=str(recording.id), bytes=size)
            return None
        there = {
            info.key: info.etag
            for folder in sorted({key.rpartition("/")[0] for key in etags})
            for info in self._store.list(self._source_bucket, f"{folder}/")
        }
        # In their order: playlists last, so that whoever is interrupted finds them again.
        keys = [key for key, etag in etags.items() if there.get(key) == etag]
        self._store.delete(self._source_bucket, keys)
        return len(keys)

    async def prune(self) -> None:
        """Rows of the past that nobody needs."""
        pruned = await self._upkeep.prune(datetime.now(UTC))
        if pruned:
            log.info("rows_pruned", **pruned)

    async def remove_orphans(self) -> None:
        await sweep_bucket(self._upkeep, self._store, self._bucket)
