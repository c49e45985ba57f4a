"""What is left of recordings that are final goes: rows of the ledger, objects that were staged.

Whoever finishes a recording cleans up behind it; this is for those who died doing so, and for
ledgers that were kept in case the stream came back.
"""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from uuid import UUID

import structlog

from actors.claim import remove_everything, remove_results
from actors.orphans import is_orphan
from pipeline.errors import RecordingNotFound
from pipeline.model import Recording, Status
from pipeline.staging import PREFIX, clear, staging_prefix
from pipeline.stores.catalog import Catalog
from pipeline.stores.objects import ObjectInfo, ObjectStore

log = structlog.get_logger()


class Sweeper:
    """Any number of them may sweep at once."""

    def __init__(self, catalog: Catalog, results: ObjectStore, bucket: str) -> None:
        self._catalog, self._results, self._bucket = catalog, results, bucket

    async def settle(self) -> None:
        """Forget the ledgers that nobody will need any more."""
        for recording in await self._catalog.settleable():
            if recording.status is Status.FAILED:
                await self._remove_everything(recording)
            else:
                prefix = staging_prefix(recording.id)
                await asyncio.to_thread(clear, self._results, self._bucket, prefix)
            await self._catalog.forget_ledger(recording.id)
            log.info("recording_settled", recording=str(recording.id))

    async def remove_deleted(self) -> None:
        """Delete the objects of recordings that are deleted."""
        for recording in await self._catalog.to_remove():
            await self._remove_everything(recording)
            await asyncio.to_thread(remove_results, self._results, self._bucket, recording)
            await self._catalog.mark_removed(recording.id)
            log.info("recording_removed", recording=str(recording.id))

    async def _remove_everything(self, recording: Recording) -> None:
        uploads = await self._catalog.uploads(recording.id)
        await asyncio.to_thread(remove_everything, self._results, self._bucket, recording, uploads)

    async def remove_orphans(self) -> None:
        """Delete what is staged for recordings that will not go on, or that nobody knows."""
        for recording_id, infos in (await asyncio.to_thread(self._staged)).items():
            try:
                recording = await self._catalog.get(recording_id)
                is_over = recording.status.is_final and not recording.resumable
            except RecordingNotFound:
                # This catalogue may be older than the bucket.
                is_over = all(is_orphan(info, datetime.now(UTC)) for info in infos)
            if is_over:
                keys = [info.key for info in infos]
                await asyncio.to_thread(self._results.delete, self._bucket, keys)
                log.info("orphans_removed", recording=str(recording_id), objects=len(keys))

    def _staged(self) -> dict[UUID, list[ObjectInfo]]:
        found = defaultdict(list)
        for listed in self._results.list(self._bucket, PREFIX):
            name = listed.key.removeprefix(PREFIX).partition("/")[0]
            try:
                found[UUID(name)].append(listed)
            except ValueError:
                log.warning("not_ours", key=listed.key)
        return found
