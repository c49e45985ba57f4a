"""Small chunks become parts of their objects on the way, so that little is left when a stream ends.

Which ones are joined follows from their sizes alone (``layout.Growing``): the object is the
same, whoever joins them and when.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from uuid import UUID

from actors.fair_queue import Urgency
from actors.submit import Submit, store_limits, submit_patiently
from pipeline.jobs import Address, JoinJob
from pipeline.media.layout import Growing, Joined, chunk_sizes
from pipeline.model import ChunkRecord, Part, Upload
from pipeline.staging import URL_LIFETIME_S
from pipeline.stores.catalog import Catalog
from pipeline.stores.objects import ObjectStore


class Joiner:
    """Of one recording. Holds what the ledger has of its chunks."""

    def __init__(
        self,
        recording_id: UUID,
        *,
        results: ObjectStore,
        bucket: str,
        uploads: Sequence[Upload],
        catalog: Catalog,
        submit: Submit,
    ) -> None:
        self._id, self._catalog, self._submit = recording_id, catalog, submit
        self._results, self._bucket = results, bucket
        self._uploads = uploads
        self._records: dict[str, dict[int, ChunkRecord]] = {u.rendition: {} for u in uploads}
        # Of each rendition: what its first chunks are, and how many of them that is.
        self._growing = {u.rendition: Growing() for u in uploads}
        self._first: Counter[str] = Counter()
        self._joining = asyncio.Lock()

    def add(self, records: Sequence[ChunkRecord]) -> None:
        """The ledger has them."""
        for record in records:
            self._records[record.rendition][record.index_number] = record

    def records(self) -> dict[str, list[ChunkRecord]]:
        """Of each rendition, by chunk."""
        return {
            rendition: [record for _, record in sorted(own.items())]
            for rendition, own in self._records.items()
        }

    async def join(self) -> None:
        """What can be joined by now."""
        async with self._joining:
            await asyncio.gather(
                *(
                    self._join(upload, joined)
                    for upload in self._uploads
                    for joined in self._to_join(upload.rendition)
                )
            )

    def _to_join(self, rendition: str) -> Iterator[Joined]:
        """What the chunks add that follow those that are known, without a hole."""
        own = self._records[rendition]
        while (record := own.get(self._first[rendition])) is not None:
            self._first[rendition] += 1
            for chunk in chunk_sizes([record]):
                if (joined := self._growing[rendition].add(chunk)) is not None:
                    yield joined

    async def _join(self, upload: Upload, joined: Joined) -> None:
        make_job = partial(self._job, upload, joined)
        part = await submit_patiently(self._submit, make_job, str(self._id), Urgency.LIVE)
        assert isinstance(part, Part)
        own = self._records[upload.rendition]
        staged = [own[index] for index in joined.chunks]
        records = [replace(record, part=part, staging_key=None) for record in staged]
        await self._catalog.finish_chunks(self._id, records)
        self.add(records)
        keys = [record.staging_key for record in staged if record.staging_key]
        await asyncio.to_thread(self._results.delete, self._bucket, keys)

    def _job(self, upload: Upload, joined: Joined) -> JoinJob:
        staged = [self._records[upload.rendition][index].staging_key for index in joined.chunks]
        return join_job(self._results, self._bucket, upload, joined, [key or "" for key in staged])


def join_job(
    results: ObjectStore,
    bucket: str,
    upload: Upload,
    joined: Joined,
    staged: Sequence[str],
    head: bytes = b"",
) -> JoinJob:
    """To make one part of what is ``staged`` under these keys."""
    return JoinJob(
        number=joined.number,
        head=head,
        staged=tuple(
            Address(url=results.presign_get(bucket, key, expires_s=URL_LIFETIME_S))
            for key in staged
        ),
        padding=joined.padding,
        limits=store_limits(),
        part_url=results.presign_put_part(
            bucket, upload.key, upload.upload_id, joined.number, expires_s=URL_LIFETIME_S
        ),
    )
