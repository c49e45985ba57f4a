"""Chunks of one recording on their way to workers and back into the ledger."""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

import structlog

from actors.fair_queue import Urgency
from actors.joiner import Joiner
from actors.loops import backoff
from actors.storyboard import Storyboard
from actors.submit import Submit, failing_s, source_answers, store_limits, submit_patiently
from pipeline.errors import JobIsPoison
from pipeline.jobs import ChunkJob, Place
from pipeline.load import references, source_limits
from pipeline.media.layout import part_number
from pipeline.model import ChunkRecord, ChunkSpec, Upload
from pipeline.recording_counts import count_chunk
from pipeline.settings import Settings
from pipeline.staging import URL_LIFETIME_S, Locates, chunks_prefix, strip_key
from pipeline.stores.catalog import Catalog
from pipeline.stores.objects import ObjectStore
from pipeline.tracing import add_span

log = structlog.get_logger()


class Dispatcher:
    """Turns chunk specs into finished ledger entries, a bounded number at a time. ``probe``: see
    ``source_answers``; ``uploads``: of all outputs."""

    def __init__(
        self,
        recording_id: UUID,
        *,
        addresses: Locates,
        probe: Callable[[], object],
        results: ObjectStore,
        bucket: str,
        uploads: Sequence[Upload],
        catalog: Catalog,
        submit: Submit,
        settings: Settings,
        in_flight: int,
    ) -> None:
        self._id = recording_id
        self._addresses, self._probe = addresses, probe
        self._results, self._bucket, self._uploads = results, bucket, uploads
        self._catalog, self._submit, self._settings = catalog, submit, settings
        self._room = asyncio.Semaphore(in_flight)
        self._joiner = Joiner(
            recording_id,
            results=results,
            bucket=bucket,
            uploads=uploads,
            catalog=catalog,
            submit=submit,
        )
        self._storyboard = Storyboard(recording_id, results=results, bucket=bucket, submit=submit)
        self.finished: set[int] = set()
        self.finished_s = 0.0

    @property
    def records(self) -> dict[str, list[ChunkRecord]]:
        """Those of each rendition, by chunk."""
        return self._joiner.records()

    async def make(self, chunk: ChunkSpec, urgency: Urgency) -> None:
        """Have a worker make the chunk and write it into the ledger; join what can be joined, make
        sheets of the storyboard."""
        async with self._room:
            begin = time.monotonic()
            answer = await self._made(chunk, urgency)
            await self._catalog.finish_chunks(self._id, answer)
        count_chunk(chunk, answer)
        self.resume(chunk, answer)
        told = {
            "chunk": chunk.index,
            "worker": answer[0].report.get("worker", ""),
            "bytes": sum(record.size_bytes for record in answer),
            "lost": len(answer[0].report["lost"]),
            **answer[0].report["timings_s"],
        }
        log.info("chunk_done", recording=str(self._id), **told)
        add_span("chunk", self._id, time.monotonic() - begin, **told)
        await self._joiner.join()
        await self._storyboard.stage()

    async def _made(self, chunk: ChunkSpec, urgency: Urgency) -> tuple[ChunkRecord, ...]:
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

                return lost_chunk(chunk, str(error), [upload.output for upload in self._uploads])
            assert isinstance(answer, tuple)
            missing = answer[0].report["unavailable"]
            if not missing or is_last:
                return answer
            log.warning("chunk_again", recording=str(self._id), chunk=chunk.index, missing=missing)
            is_last = await source_answers(self._probe, self._settings)
            is_last &= time.monotonic() >= give_up
            await asyncio.sleep(pause_s)
        raise AssertionError("unreachable")

    def resume(self, chunk: ChunkSpec, records: Sequence[ChunkRecord]) -> None:
        """The ledger has it."""
        self.finished.add(chunk.index)
        self.finished_s += chunk.main.duration_s
        self._joiner.add(records)
        self._storyboard.add(chunk.index, records)

    def _job(self, chunk: ChunkSpec) -> ChunkJob:
        return ChunkJob(
            chunk=chunk,
            urls={ref: self._addresses.url(ref) for ref in references(chunk.every_segment())},
            places=tuple(self._place(chunk, upload) for upload in self._uploads),
            strip_url=self._put_url(strip_key(self._id, chunk.index)),
            source_limits=source_limits(self._settings),
            media_limits=self._settings.media_limits,
            fills_gaps=self._settings.fills_gaps,
            store_limits=store_limits(),
        )

    def _place(self, chunk: ChunkSpec, upload: Upload) -> Place:
        key = f"{chunks_prefix(self._id, upload.rendition)}{chunk.index:06d}"
        number = part_number(chunk.index)
        return Place(
            output=upload.output,
            part_number=number,
            # The first chunk shares part 1 with the head, which is known last.
            part_url=None
            if chunk.index == 0
            else self._results.presign_put_part(
                self._bucket,
                upload.key,
                upload.upload_id,
                number,
                expires_s=URL_LIFETIME_S,
            ),
            staging_key=key,
            staging_url=self._put_url(key),
        )

    def _put_url(self, key: str) -> str:
        return self._results.presign_put(self._bucket, key, expires_s=URL_LIFETIME_S)
