"""A recording that is completed goes on: its stream is back within the reconnect window.

Its object stays as it is until a longer one takes its place. What the new one shares with it is
copied from it by workers, chunk by chunk, into a new upload.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from actors.dispatch import RENDITION, Submit, store_limits, submit_patiently
from actors.fair_queue import Urgency
from pipeline.errors import ObjectMissing, VerificationFailed
from pipeline.jobs import Address, JoinJob
from pipeline.model import ByteRange, ChunkRecord, Part, Recording, Upload
from pipeline.staging import URL_LIFETIME_S
from pipeline.stores.catalog import Catalog
from pipeline.stores.objects import ObjectStore

_AT_ONCE = 4

log = structlog.get_logger()


class Reopener:
    """Of one recording that was completed before. Everything may be repeated."""

    def __init__(
        self,
        recording: Recording,
        *,
        catalog: Catalog,
        results: ObjectStore,
        bucket: str,
        submit: Submit,
    ) -> None:
        self._recording, self._catalog = recording, catalog
        self._results, self._bucket, self._submit = results, bucket, submit
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def reopen(self, upload: Upload) -> Upload:
        """An upload that has all parts in the ledger; ``upload`` itself, if it is still open."""
        try:
            parts = await asyncio.to_thread(self._parts, upload)
        except ObjectMissing:
            upload_id = await asyncio.to_thread(
                self._results.create_upload, self._bucket, upload.key, "video/mp4"
            )
            upload, parts = replace(upload, upload_id=upload_id), ()
            await self._catalog.add_upload(self._recording.id, upload)
        records = await self._catalog.finished(self._recording.id, RENDITION)
        offsets = _offsets(await self._catalog.report(self._recording.id))
        await asyncio.gather(*(self._restore(record, offsets, parts, upload) for record in records))
        log.info("recording_reopened", recording=str(self._recording.id), chunks=len(records))
        return upload

    async def _restore(
        self,
        record: ChunkRecord,
        offsets: Mapping[int, int],
        parts: Sequence[Part],
        upload: Upload,
    ) -> None:
        if record.part is not None and record.part not in parts:
            url = partial(
                self._results.presign_put_part,
                self._bucket,
                upload.key,
                upload.upload_id,
                record.part.number,
                expires_s=URL_LIFETIME_S,
            )
            part = await self._copy(record, offsets, url, record.part.number)
            again = replace(record, part=part)
            await self._catalog.finish_chunk(self._recording.id, RENDITION, again)
        elif record.staging_key and not await asyncio.to_thread(self._is_there, record.staging_key):
            url = partial(
                self._results.presign_put,
                self._bucket,
                record.staging_key,
                expires_s=URL_LIFETIME_S,
            )
            await self._copy(record, offsets, url, 0)

    async def _copy(
        self,
        record: ChunkRecord,
        offsets: Mapping[int, int],
        url: Callable[[], str],
        number: int,
    ) -> Part:
        """From the object to where ``url`` says."""
        if record.index_number not in offsets:
            raise VerificationFailed(f"Nobody knows where chunk {record.index_number} lies")
        taken = ByteRange(offset=offsets[record.index_number], length=record.size_bytes)
        make_job = partial(self._copy_job, taken, url, number)
        async with self._room:
            part = await submit_patiently(
                self._submit, make_job, str(self._recording.id), Urgency.LIVE
            )
        assert isinstance(part, Part)
        return part

    def _copy_job(self, taken: ByteRange, url: Callable[[], str], number: int) -> JoinJob:
        key = f"{self._recording.object_name}.mp4"
        there = self._results.presign_get(self._bucket, key, expires_s=URL_LIFETIME_S)
        return JoinJob(
            number=number,
            head=b"",
            staged=(Address(url=there, byte_range=taken),),
            padding=0,
            part_url=url(),
            limits=store_limits(),
        )

    def _parts(self, upload: Upload) -> tuple[Part, ...]:
        return self._results.parts(self._bucket, upload.key, upload.upload_id)

    def _is_there(self, key: str) -> bool:
        try:
            self._results.stat(self._bucket, key)
        except ObjectMissing:
            return False
        return True


def _offsets(report: Mapping[str, Any] | None) -> dict[int, int]:
    """Where the chunks lie in the object, in bytes."""
    chunks = report["chunks"] if report else ()
    return {chunk["chunk"]: chunk["offset"] for chunk in chunks if "offset" in chunk}
