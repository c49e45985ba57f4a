"""Chunks of one recording on their way to workers and back into the ledger."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from uuid import UUID

import structlog

from actors.fair_queue import Urgency
from actors.loops import backoff
from pipeline.errors import JobIsPoison, SourceError, StoreError, VodrayError
from pipeline.jobs import Answer, ChunkJob, Job
from pipeline.load import references, source_limits
from pipeline.media.layout import part_number
from pipeline.model import ChunkRecord, ChunkSpec, Upload
from pipeline.settings import Settings
from pipeline.staging import URL_LIFETIME_S, Locates, chunks_prefix, staged_key
from pipeline.stores.catalog import Catalog
from pipeline.stores.objects import ObjectStore
from pipeline.transfer import TransferLimits

Submit = Callable[[Job, str, Urgency], Awaitable[Answer]]

RENDITION = "source"
_MAX_PART_BYTES = 5 * 2**30  # of S3
_STORE_LIMITS = TransferLimits(
    timeout_s=120.0, attempts=5, retry_delay_s=1.0, max_bytes=_MAX_PART_BYTES
)
# So long may what is ours be away before a recording is given up by those who work on it,
OUTAGE_S = 3600.0
# and so long may it fail to hand out a thing that it has.
_FAILING_S = 300.0

log = structlog.get_logger()


def store_limits() -> TransferLimits:
    return _STORE_LIMITS


async def submit_patiently(
    submit: Submit, make_job: Callable[[], Job], recording: str, urgency: Urgency
) -> Answer:
    """Submit, and again while what is ours is away. What the source lacks is raised at once.

    ``make_job`` runs in a thread, each time: the first address in a process needs the store.
    """
    give_up = time.monotonic() + OUTAGE_S
    for pause_s in backoff():
        try:
            return await submit(await asyncio.to_thread(make_job), recording, urgency)
        except VodrayError as error:
            is_over = isinstance(error, SourceError) or time.monotonic() >= give_up
            if not error.retry or is_over:
                raise
            log.warning("job_retried", recording=recording, error=str(error))
        await asyncio.sleep(pause_s)
    raise AssertionError("unreachable")


async def source_answers(probe: Callable[[], object], settings: Settings) -> bool:
    """Wait until the source's server answers anything; False if it was away when it was asked
    first, so that a failure before was its own.

    ``probe`` blocks, and raises as ``Source.read_playlist`` does. A server that is not ours is
    waited for as long as a stream that has stalled.
    """
    begin = time.monotonic()
    stall_s = settings.stall_timeout.total_seconds()
    for attempt, pause_s in enumerate(backoff()):
        try:
            await asyncio.to_thread(probe)
            return attempt == 0
        except (SourceError, StoreError) as error:
            patience_s = stall_s if isinstance(error, SourceError) else OUTAGE_S
            if not error.retry or time.monotonic() - begin >= patience_s:
                return True
        await asyncio.sleep(pause_s)
    raise AssertionError("unreachable")


def failing_s(refs: Iterable[str]) -> float:
    """So long is a server asked again that answers, but fails to hand out these: ours is known to
    have them, another may never do so."""
    is_ours = any(ref.startswith("s3://") or staged_key(ref) for ref in refs)
    return _FAILING_S if is_ours else 0.0


class Dispatcher:
    """Turns chunk specs into finished ledger entries, a bounded number at a time. ``probe``: see
    ``source_answers``."""

    def __init__(
        self,
        recording_id: UUID,
        *,
        addresses: Locates,
        probe: Callable[[], object],
        results: ObjectStore,
        bucket: str,
        upload: Upload,
        catalog: Catalog,
        submit: Submit,
        settings: Settings,
        in_flight: int,
    ) -> None:
        self._id = recording_id
        self._addresses, self._probe = addresses, probe
        self._results, self._bucket, self._upload = results, bucket, upload
        self._catalog, self._submit, self._settings = catalog, submit, settings
        self._room = asyncio.Semaphore(in_flight)
        self.finished: dict[int, ChunkRecord] = {}
        self.finished_s = 0.0

    async def make(self, chunk: ChunkSpec, urgency: Urgency) -> ChunkRecord:
        """Have a worker make the chunk and write it into the ledger."""
        async with self._room:
            answer = await self._made(chunk, urgency)
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

    async def _made(self, chunk: ChunkSpec, urgency: Urgency) -> ChunkRecord:
        """Once more where segments were not to be had from a server that fails, or as soon as it
        answers again: it is asked for the playlist whether it is the segment or the server. Ours is
        asked for longer: the playlist is small, and may be had where all else is broken off."""
        is_last = False
        uris = [segment.uri for segment in chunk.every_segment() if not segment.is_gap]
        give_up = time.monotonic() + failing_s(uris)
        for pause_s in backoff():
            make_job = partial(self._job, chunk)
            try:
                answer = await submit_patiently(self._submit, make_job, str(self._id), urgency)
            except JobIsPoison as error:
                # Imported here: it brings all of the media code, which is for workers.
                from pipeline.steps import lost_chunk

                return lost_chunk(chunk, str(error))
            assert isinstance(answer, ChunkRecord)
            missing = answer.report["unavailable"]
            if not missing or is_last:
                return answer
            log.warning("chunk_again", recording=str(self._id), chunk=chunk.index, missing=missing)
            is_last = await source_answers(self._probe, self._settings)
            is_last &= time.monotonic() >= give_up
            await asyncio.sleep(pause_s)
        raise AssertionError("unreachable")

    def resume(self, chunk: ChunkSpec, record: ChunkRecord) -> None:
        """The ledger has it."""
        self.finished[chunk.index] = record
        self.finished_s += chunk.main.duration_s

    def _job(self, chunk: ChunkSpec) -> ChunkJob:
        key = f"{chunks_prefix(self._id, RENDITION)}{chunk.index:06d}"
        number = part_number(chunk.index)
        return ChunkJob(
            chunk=chunk,
            urls={ref: self._addresses.url(ref) for ref in references(chunk.every_segment())},
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
