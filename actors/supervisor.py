"""The supervisor of one recording: finds the source, follows it, has chunks made, finishes.

Everything that matters is in the catalogue: ``run`` on a recording that was begun before reads the
ledger and does only what is missing. No media bytes come here.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from uuid import UUID

import structlog

from actors.claim import claim
from actors.dispatch import RENDITION, Dispatcher, Submit
from actors.fair_queue import Urgency
from actors.find_source import SourceFinder, Sources, Start
from actors.first_look import Looker
from actors.follow_source import Follower
from actors.publish import Publisher, remove_everything
from pipeline import plan
from pipeline.errors import Conflict, SourceError, SourceUnavailable, VodrayError
from pipeline.model import ChunkRecord, ChunkSpec, Recording, Sound, Upload
from pipeline.plan import PlanState
from pipeline.settings import Settings
from pipeline.source import Source
from pipeline.stores.catalog import Catalog
from pipeline.stores.objects import ObjectStore

_RETRY_LOOK_S = 1.0
_UNKNOWN_BYTES_PER_S = 400_000.0

log = structlog.get_logger()


class Supervisor:
    """Call ``run`` once. ``sources``: where to look for the playlist, asked until one is there.

    ``follow``: whether a playlist without ENDLIST may still grow.
    """

    def __init__(
        self,
        recording_id: UUID,
        *,
        catalog: Catalog,
        results: ObjectStore,
        bucket: str,
        sources: Sources,
        submit: Submit,
        slots: int,
        settings: Settings,
        follow: bool = True,
    ) -> None:
        self._id, self._catalog, self._results, self._bucket = (
            recording_id,
            catalog,
            results,
            bucket,
        )
        self._submit, self._slots = submit, slots
        self._settings, self._follow = settings, follow
        self._woken = asyncio.Event()
        self._finder = SourceFinder(
            recording_id,
            catalog=catalog,
            sources=sources,
            settings=settings,
            follow=follow,
            wait=self._wait,
        )

    def wake(self) -> None:
        """Something about the recording has changed: look now."""
        self._woken.set()

    async def run(self, *, last_try: bool = False) -> Recording:
        """Record until the recording is final. Raises only errors that a later run may overcome.

        ``last_try``: an error that nobody expected fails the recording instead of being raised.
        """
        recording = await self._catalog.get(self._id)
        if recording.status.is_final:
            return recording
        try:
            return await self._record(recording)
        except* Exception as group:  # noqa: BLE001 - told apart below
            error = _first(group)
        if isinstance(error, VodrayError):
            if error.retry and not isinstance(error, SourceError):
                raise error
            return await self._give_up(str(error))
        log.error("unexpected_error", recording=str(self._id), exc_info=error)
        if not last_try:
            raise error
        return await self._give_up(f"Internal error: {type(error).__name__}: {error}")

    async def _record(self, recording: Recording) -> Recording:
        begin = time.monotonic()
        planned = list(await self._catalog.planned(self._id))
        start, state = await self._start(recording, planned)
        recording, upload = await claim(
            recording,
            template=self._settings.object_name,
            catalog=self._catalog,
            results=self._results,
            bucket=self._bucket,
        )
        dispatcher = await self._dispatcher(start.source, upload, planned)
        follower = Follower(
            self._id,
            start=start,
            state=state,
            planned=planned,
            dispatcher=dispatcher,
            catalog=self._catalog,
            settings=self._settings,
            may_grow=self._follow,
            wait=self._wait,
        )
        async with asyncio.TaskGroup() as chunks:
            for chunk in planned:
                if chunk.index not in dispatcher.finished:
                    follower.send(chunks, chunk, Urgency.BACKLOG)
            await follower.follow(chunks)
            await follower.wait_for_chunks()
        records = [dispatcher.finished[chunk.index] for chunk in planned]
        try:
            return await self._publish(recording, planned, records, upload, start, begin)
        except Conflict:
            recording = await self._catalog.get(self._id)
            if recording.status.is_final:
                return recording
            log.info("stream_is_back", recording=str(self._id))
            return await self._record(recording)

    async def _start(
        self, recording: Recording, planned: Sequence[ChunkSpec]
    ) -> tuple[Start, PlanState]:
        """The source and the plan as if the recording had never been interrupted.

        Segments that cannot be read yet are waited for as long as a stalled stream would be.
        """
        give_up = time.monotonic() + self._settings.stall_timeout.total_seconds()
        while True:
            start = await self._finder.find(recording, planned)
            try:
                looker = Looker(str(self._id), self._submit, self._settings)
                look, sounds = await looker.look(start)
                if planned:
                    return start, plan.resume(look.bytes_per_s, planned)
                form = replace(look.form, in_band=self._settings.fills_gaps)
                return start, plan.begin(look.anchor_s, look.bytes_per_s, sounds, form)
            except SourceUnavailable:
                if planned:
                    return start, plan.resume(_UNKNOWN_BYTES_PER_S, planned)
                recording = await self._catalog.get(self._id)
                has_ended = recording.end_reason is not None or not self._follow
                if has_ended or time.monotonic() >= give_up:
                    raise
            await self._wait(_RETRY_LOOK_S)

    async def _dispatcher(
        self, source: Source, upload: Upload, planned: Sequence[ChunkSpec]
    ) -> Dispatcher:
        dispatcher = Dispatcher(
            self._id,
            source=source,
            results=self._results,
            bucket=self._bucket,
            upload=upload,
            catalog=self._catalog,
            submit=self._submit,
            settings=self._settings,
            in_flight=2 * self._slots,
        )
        chunks = {chunk.index: chunk for chunk in planned}
        for record in await self._catalog.finished(self._id, RENDITION):
            dispatcher.resume(chunks[record.index_number], record)
        return dispatcher

    async def _publish(
        self,
        recording: Recording,
        planned: Sequence[ChunkSpec],
        records: Sequence[ChunkRecord],
        upload: Upload,
        start: Start,
        begin: float,
    ) -> Recording:
        """Raises ``Conflict`` if the stream has come back."""
        publisher = Publisher(
            recording,
            keep_time=self._settings.fills_gaps,
            sounds=[stretch.sound or Sound() for stretch in planned[0].audio] if planned else [],
            results=self._results,
            bucket=self._bucket,
            submit=self._submit,
        )
        await self._catalog.mark_processing(self._id)
        completion, report = await publisher.publish(
            records, upload, partial(self._catalog.mark_publishing, self._id)
        )
        report["source"] = start.source.ref
        report["dropped_streams"] += start.dropped
        report["profile"] = {"asked": recording.profile, "made": "copy"}
        report["timings_s"]["total"] = round(time.monotonic() - begin, 3)
        # The object is whole: whoever had to go on from here would find it.
        await asyncio.to_thread(publisher.clear_staging)
        done = await self._catalog.complete(self._id, completion, report)
        await self._catalog.forget_ledger(self._id)
        log.info(
            "recording_completed",
            recording=str(self._id),
            file=completion.file_path,
            duration_s=completion.duration,
            gaps=len(completion.gaps),
        )
        return done

    async def _give_up(self, error: str) -> Recording:
        log.error("recording_failed", recording=str(self._id), error=error)
        recording = await self._catalog.get(self._id)
        uploads = await self._catalog.uploads(self._id)
        await asyncio.to_thread(remove_everything, self._results, self._bucket, recording, uploads)
        failed = await self._catalog.fail(self._id, error)
        await self._catalog.forget_ledger(self._id)
        return failed

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    """One error of a group: one that nobody expected, else one that cannot be retried."""
    flat: list[Exception] = []
    for error in group.exceptions:
        flat += [_first(error)] if isinstance(error, BaseExceptionGroup) else [error]
    return min(flat, key=lambda error: isinstance(error, VodrayError) + getattr(error, "retry", 0))
