"""A recording that is completed goes on: its stream is back within the reconnect window.

Its objects stay as they are until longer ones take their places. What the new ones share with them
is copied from them by workers, part by part, into new uploads.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import structlog

from actors.claim import begin_anew
from actors.fair_queue import Urgency
from actors.submit import Submit, store_limits, submit_patiently
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

    async def reopen(self, uploads: Sequence[Upload]) -> tuple[Upload, ...]:
        """Uploads that have all parts in the ledger; each itself, if it is still open."""
        records = await self._catalog.finished(self._recording.id)
        report = await self._catalog.report(self._recording.id)
        opened = []
        for upload in uploads:
            own = [record for record in records if record.rendition == upload.rendition]
            opened.append(await self._reopen(upload, own, _offsets(report, upload.rendition)))
        log.info("recording_reopened", recording=str(self._recording.id), chunks=len(records))
        return tuple(opened)

    async def _reopen(
        self, upload: Upload, records: Sequence[ChunkRecord], offsets: Mapping[int, int]
    ) -> Upload:
        try:
            parts = await asyncio.to_thread(self._parts, upload)
        except ObjectMissing:
            upload = await asyncio.to_thread(begin_anew, self._results, self._bucket, upload)
            parts = ()
            await self._catalog.add_uploads(self._recording.id, [upload])
        await asyncio.gather(
            *(self._restore(shared, offsets, parts, upload) for shared in _by_part(records))
        )
        return upload

    async def _restore(
        self,
        records: Sequence[ChunkRecord],
        offsets: Mapping[int, int],
        parts: Sequence[Part],
        upload: Upload,
    ) -> None:
        """``records``: of the chunks of one part, or of one that is staged."""
        part, staging_key = records[0].part, records[0].staging_key
        if part is not None and part not in parts:
            url = partial(
                self._results.presign_put_part,
                self._bucket,
                upload.key,
                upload.upload_id,
                part.number,
                expires_s=URL_LIFETIME_S,
            )
            copied = await self._copy(records, offsets, upload, url)
            again = [replace(record, part=copied) for record in records]
            await self._catalog.finish_chunks(self._recording.id, again)
        elif staging_key and not await asyncio.to_thread(self._is_there, staging_key):
            url = partial(
                self._results.presign_put, self._bucket, staging_key, expires_s=URL_LIFETIME_S
            )
            await self._copy(records, offsets, upload, url)

    async def _copy(
        self,
        records: Sequence[ChunkRecord],
        offsets: Mapping[int, int],
        upload: Upload,
        url: Callable[[], str],
    ) -> Part:
        """From the object to where ``url`` says."""
        first, part = records[0].index_number, records[0].part
        if first not in offsets:
            raise VerificationFailed(f"Nobody knows where chunk {first} of {upload.key} lies")
        size = sum(record.size_bytes for record in records)
        taken = ByteRange(offset=offsets[first], length=size)
        padding = part.size_bytes - size if part else 0
        make_job = partial(
            self._copy_job, upload.key, taken, url, part.number if part else 0, padding
        )
        async with self._room:
            copied = await submit_patiently(
                self._submit, make_job, str(self._recording.id), Urgency.LIVE
            )
        assert isinstance(copied, Part)
        return copied

    def _copy_job(
        self, key: str, taken: ByteRange, url: Callable[[], str], number: int, padding: int
    ) -> JoinJob:
        there = self._results.presign_get(self._bucket, key, expires_s=URL_LIFETIME_S)
        return JoinJob(
            number=number,
            head=b"",
            staged=(Address(url=there, byte_range=taken),),
            padding=padding,
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


def _by_part(records: Sequence[ChunkRecord]) -> Iterator[list[ChunkRecord]]:
    """Those of a part that neighbours share together, all others alone."""
    for _, own in groupby(records, lambda r: r.part.number if r.part else -1 - r.index_number):
        yield list(own)


def _offsets(report: Mapping[str, Any] | None, rendition: str) -> dict[int, int]:
    """Where the chunks of an output lie in its object, in bytes."""
    told = report.get("offsets", {}).get(rendition, {}) if report else {}
    return {int(chunk): offset for chunk, offset in told.items()}
