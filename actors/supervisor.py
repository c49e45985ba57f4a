"""The supervisor of one recording: finds the source, follows it, has chunks made, finishes.

Everything that matters is in the catalogue: ``run`` on a recording that was begun before reads the
ledger and does only what is missing. No media bytes come here.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import UUID

import structlog

from actors.dispatch import RENDITION, Dispatcher, Submit, source_limits, submit_patiently
from actors.fair_queue import Urgency
from actors.find_source import SourceFinder, Sources, Start
from actors.publish import Publisher, remove_everything
from pipeline import plan
from pipeline.errors import (
    Conflict,
    MediaInvalid,
    PlaylistInvalid,
    SourceError,
    SourceMissing,
    SourceUnavailable,
    VodrayError,
)
from pipeline.follow import Followed, absolute, take_new
from pipeline.jobs import Address, LookJob
from pipeline.media.remux import FirstLook
from pipeline.model import ChunkSpec, EndReason, Progress, Recording, Segment, Upload
from pipeline.naming import object_names
from pipeline.plan import PlanState
from pipeline.progress import Look, Watch, advance, seconds_to_next_look
from pipeline.settings import Settings
from pipeline.source import Source, read_media_playlist
from pipeline.stores.catalog import Catalog
from pipeline.stores.objects import ObjectStore

_LIST_ABOVE_SEGMENTS = 20
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

    async def run(self) -> Recording:
        """Record until the recording is final. Raises only errors that a later run may overcome."""
        recording = await self._catalog.get(self._id)
        if recording.status.is_final:
            return recording
        try:
            return await self._record(recording)
        except* VodrayError as group:
            error = _first(group)
        if error.retry and not isinstance(error, SourceError):
            raise error
        return await self._give_up(error)

    async def _record(self, recording: Recording) -> Recording:
        begin = time.monotonic()
        planned = list(await self._catalog.planned(self._id))
        start = await self._finder.find(recording, planned)
        state = await self._plan_state(start, planned)
        recording, upload = await self._claim(recording)
        dispatcher = Dispatcher(
            self._id,
            source=start.source,
            results=self._results,
            bucket=self._bucket,
            upload=upload,
            catalog=self._catalog,
            submit=self._submit,
            settings=self._settings,
            in_flight=2 * self._slots,
        )
        publisher = Publisher(
            recording, results=self._results, bucket=self._bucket, submit=self._submit
        )
        for record in await self._catalog.finished(self._id, RENDITION):
            dispatcher.finished[record.index_number] = record
        async with asyncio.TaskGroup() as chunks:
            for chunk in planned:
                if chunk.index not in dispatcher.finished:
                    chunks.create_task(dispatcher.make(chunk, Urgency.BACKLOG))
            await self._follow_source(start, state, planned, dispatcher, chunks)
            await self._wait_for_chunks(planned, dispatcher)
        records = [dispatcher.finished[chunk.index] for chunk in planned]
        try:
            await self._catalog.mark_processing(self._id)
            completion, report = await publisher.publish(
                records, upload, partial(self._catalog.mark_publishing, self._id)
            )
        except Conflict:
            recording = await self._catalog.get(self._id)
            if recording.status.is_final:
                return recording
            log.info("stream_is_back", recording=str(self._id))
            return await self._record(recording)
        report["source"] = start.source.ref
        report["timings_s"]["total"] = round(time.monotonic() - begin, 3)
        done = await self._catalog.complete(self._id, completion, report)
        await asyncio.to_thread(publisher.clear_staging)
        await self._catalog.forget_ledger(self._id)
        log.info(
            "recording_completed",
            recording=str(self._id),
            file=completion.file_path,
            duration_s=completion.duration,
            gaps=len(completion.gaps),
        )
        return done

    async def _look(self, start: Start) -> FirstLook:
        problem: VodrayError = SourceUnavailable("No segment can be read")
        for segment in start.first:
            try:
                answer = await submit_patiently(
                    self._submit, self._look_job(segment, start.source), str(self._id), Urgency.LIVE
                )
            except (MediaInvalid, SourceMissing, SourceUnavailable) as error:
                problem = error
                continue
            assert isinstance(answer, FirstLook)
            return answer
        raise SourceUnavailable(
            f"None of the first segments of {start.source.ref} can be read: {problem.message}"
        )

    def _look_job(self, segment: Segment, source: Source) -> LookJob:
        init = segment.init
        limits = source_limits(self._settings)
        return LookJob(
            segment=Address(url=source.url(segment.uri), byte_range=segment.byte_range),
            init=Address(url=source.url(init.uri), byte_range=init.byte_range) if init else None,
            # The chunk's own download tries again; here the next segment does as well.
            limits=replace(limits, attempts=1),
        )

    async def _claim(self, recording: Recording) -> tuple[Recording, Upload]:
        """A name that nobody else has, and the multipart upload under it."""
        names = object_names(self._settings.object_name, recording)
        if recording.object_name is None:
            names = await asyncio.to_thread(self._untaken, names)
        name = await self._catalog.claim_name(self._id, names)
        known = {upload.rendition: upload for upload in await self._catalog.uploads(self._id)}
        if RENDITION not in known:
            key = f"{name}.mp4"
            upload_id = await asyncio.to_thread(
                self._results.create_upload, self._bucket, key, "video/mp4"
            )
            known[RENDITION] = Upload(rendition=RENDITION, key=key, upload_id=upload_id)
            await self._catalog.add_upload(self._id, known[RENDITION])
        return replace(recording, object_name=name), known[RENDITION]

    def _untaken(self, names: Sequence[str]) -> tuple[str, ...]:
        """Names under which the bucket holds nothing; the catalogue may not know every object."""
        return tuple(
            name
            for name in names[:-1]
            if not any(
                found.key == f"{name}.mp4"
                for found in self._results.list(self._bucket, f"{name}.mp4")
            )
        ) + tuple(names[-1:])

    async def _plan_state(self, start: Start, planned: Sequence[ChunkSpec]) -> PlanState:
        """The same plan as if the recording had never been interrupted."""
        try:
            look = await self._look(start)
        except SourceUnavailable:
            if not planned:
                raise
            return plan.resume(planned[-1].anchor_s, _UNKNOWN_BYTES_PER_S, planned)
        return plan.resume(look.anchor_s, look.bytes_per_s, planned)

    async def _follow_source(
        self,
        start: Start,
        state: PlanState,
        planned: list[ChunkSpec],
        dispatcher: Dispatcher,
        chunks: asyncio.TaskGroup,
    ) -> None:
        """Reload the playlist until the stream has ended; every complete chunk goes to work."""
        if start.next_sequence is None:
            if (await self._catalog.get(self._id)).ended_at is None:
                await self._mark_ended(state, EndReason.GONE)
            return
        followed = Followed(next_sequence=start.next_sequence)
        watch = Watch(changed_s=time.monotonic())
        target_s = 2.0
        while True:
            told = (await self._catalog.get(self._id)).end_reason is EndReason.EVENT
            new: tuple[Segment, ...] = ()
            endlist, readable = False, True
            try:
                playlist = await asyncio.to_thread(read_media_playlist, start.source)
                endlist = playlist.ended or not self._follow
                target_s = playlist.target_duration_s or target_s
                followed, new = take_new(followed, playlist, may_restart=not told)
            except (SourceMissing, SourceUnavailable, PlaylistInvalid) as error:
                readable = False
                log.warning("playlist_unreadable", recording=str(self._id), error=str(error))
            located = await asyncio.to_thread(_locate, new, start.source)
            seen = Look(
                now_s=time.monotonic(),
                new_segments=len(new),
                endlist=endlist,
                readable=readable,
                told=told,
                target_duration_s=target_s,
            )
            watch, end = advance(
                watch, seen, stall_timeout_s=self._settings.stall_timeout.total_seconds()
            )
            state, cut = plan.extend(state, located, ended=end is not None)
            for chunk in cut:
                await self._catalog.plan_chunk(self._id, chunk)
                planned.append(chunk)
                urgency = Urgency.BACKLOG if endlist else Urgency.LIVE
                chunks.create_task(dispatcher.make(chunk, urgency))
            await self._report_progress(planned, state.pending, dispatcher)
            if end is not None:
                await self._mark_ended(state, end)
                return
            longest = self._settings.monitor_interval.total_seconds()
            await self._wait(seconds_to_next_look(seen, longest))

    async def _mark_ended(self, state: PlanState, reason: EndReason) -> None:
        recording = await self._catalog.get(self._id)
        length = timedelta(seconds=state.planned_s)
        await self._catalog.mark_ended(self._id, recording.started_at + length, reason)

    async def _wait_for_chunks(self, planned: Sequence[ChunkSpec], dispatcher: Dispatcher) -> None:
        """Report progress until all is done; a failing chunk ends this by ending the task group."""
        while len(dispatcher.finished) < len(planned):
            await self._report_progress(planned, (), dispatcher)
            await self._wait(0.25)

    async def _report_progress(
        self, planned: Sequence[ChunkSpec], pending: Sequence[Segment], dispatcher: Dispatcher
    ) -> None:
        done = dispatcher.finished
        segments = [s for chunk in planned for s in chunk.segments] + list(pending)
        await self._catalog.report_progress(
            self._id,
            int(sum(s.duration_s for s in segments)),
            Progress(
                segments=len(segments),
                chunks_done=len(done),
                chunks_total=len(planned),
                seconds=round(
                    sum(
                        s.duration_s
                        for chunk in planned
                        if chunk.index in done
                        for s in chunk.segments
                    ),
                    3,
                ),
            ),
        )

    async def _give_up(self, error: VodrayError) -> Recording:
        log.error("recording_failed", recording=str(self._id), error=str(error))
        recording = await self._catalog.get(self._id)
        uploads = await self._catalog.uploads(self._id)
        await asyncio.to_thread(remove_everything, self._results, self._bucket, recording, uploads)
        failed = await self._catalog.fail(self._id, str(error))
        await self._catalog.forget_ledger(self._id)
        return failed

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()


def _locate(new: Sequence[Segment], source: Source) -> list[Segment]:
    """References and, where many segments come at once, sizes."""
    sizes = source.sizes() if len(new) > _LIST_ABOVE_SEGMENTS else {}
    return [absolute(segment, source, sizes) for segment in new]


def _first(group: BaseExceptionGroup[VodrayError]) -> VodrayError:
    """One error of a group; one that cannot be retried says more."""
    flat: list[VodrayError] = []
    for error in group.exceptions:
        flat += [_first(error)] if isinstance(error, BaseExceptionGroup) else [error]
    return min(flat, key=lambda error: error.retry)
