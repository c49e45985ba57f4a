"""Chunks of one recording on their way to workers and back into the ledger."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

from actors.fair_queue import Urgency
from pipeline.errors import JobIsPoison, VodrayError
from pipeline.jobs import Answer, ChunkJob, Job
from pipeline.load import references, source_limits
from pipeline.media.layout import part_number
from pipeline.model import ChunkRecord, ChunkSpec, Upload
from pipeline.settings import Settings
from pipeline.source import Source
from pipeline.steps import lost_chunk
from pipeline.stores.catalog import Catalog
from pipeline.stores.objects import ObjectStore
from pipeline.transfer import TransferLimits

Submit = Callable[[Job, str, Urgency], Awaitable[Answer]]

RENDITION = "source"
# A job may wait in the queue for long, and its addresses must still be valid when it runs.
URL_LIFETIME_S = 24 * 3600
_MAX_PART_BYTES = 5 * 2**30  # of S3
_STORE_LIMITS = TransferLimits(
    timeout_s=120.0, attempts=5, retry_delay_s=1.0, max_bytes=_MAX_PART_BYTES
)
_JOB_ATTEMPTS = 3
_RETRY_DELAY_S = 1.0

log = structlog.get_logger()


def staging_prefix(recording_id: UUID) -> str:
    return f".vodray/{recording_id}/"


def store_limits() -> TransferLimits:
    return _STORE_LIMITS


async def submit_patiently(submit: Submit, job: Job, recording: str, urgency: Urgency) -> Answer:
    """Submit, and again where another try can help."""
    for attempt in range(1, _JOB_ATTEMPTS + 1):
        try:
            return await submit(job, recording, urgency)
        except VodrayError as error:
            if not error.retry or attempt == _JOB_ATTEMPTS:
                raise
            log.warning("job_retried", recording=recording, attempt=attempt, error=str(error))
            await asyncio.sleep(_RETRY_DELAY_S * attempt)
    raise AssertionError("unreachable")


class Dispatcher:
    """Turns chunk specs into finished ledger entries, a bounded number at a time."""

    def __init__(
        self,
        recording_id: UUID,
        *,
        source: Source,
        results: ObjectStore,
        bucket: str,
        upload: Upload,
        catalog: Catalog,
        submit: Submit,
        settings: Settings,
        in_flight: int,
    ) -> None:
        self._id = recording_id
        self._source, self._results, self._bucket, self._upload = source, results, bucket, upload
        self._catalog, self._submit, self._settings = catalog, submit, settings
        self._room = asyncio.Semaphore(in_flight)
        self.finished: dict[int, ChunkRecord] = {}
        self.finished_s = 0.0

    async def make(self, chunk: ChunkSpec, urgency: Urgency) -> ChunkRecord:
        """Have a worker make the chunk and write it into the ledger."""
        async with self._room:
            job = await asyncio.to_thread(self._job, chunk)
            try:
                answer = await submit_patiently(self._submit, job, str(self._id), urgency)
            except JobIsPoison as error:
                answer = lost_chunk(chunk, str(error))
            assert isinstance(answer, ChunkRecord)
            await self._catalog.finish_chunk(self._id, RENDITION, answer)
        self.resume(chunk, answer)
        log.info(
            "chunk_done",
            recording=str(self._id),
            chunk=chunk.index,
            bytes=answer.size_bytes,
            lost=len(answer.report["lost"]),
            **answer.report["timings_s"],
        )
        return answer

    def resume(self, chunk: ChunkSpec, record: ChunkRecord) -> None:
        """The ledger has it."""
        self.finished[chunk.index] = record
        self.finished_s += chunk.main.duration_s

    def _job(self, chunk: ChunkSpec) -> ChunkJob:
        key = f"{staging_prefix(self._id)}{RENDITION}/{chunk.index:06d}"
        number = part_number(chunk.index)
        return ChunkJob(
            chunk=chunk,
            urls={ref: self._source.url(ref) for ref in references(chunk.every_segment())},
            part_number=number,
            # The first chunk shares part 1 with the head, which is known last.
            part_url=None
            if chunk.index == 0
            else self._results.presign_put_part(
                self._bucket,
                self._upload.key,
                self._upload.upload_id,
                number,
                expires_s=URL_LIFETIME_S,
            ),
            staging_key=key,
            staging_url=self._results.presign_put(self._bucket, key, expires_s=URL_LIFETIME_S),
            source_limits=source_limits(self._settings),
            media_limits=self._settings.media_limits,
            fills_gaps=self._settings.fills_gaps,
            store_limits=_STORE_LIMITS,
        )
