"""The supervisor of one recording: reads what is captured of its source, has chunks made, finishes.

Everything that matters is in the catalogue: ``run`` on a recording that was begun before reads the
ledger and does only what is missing. No media bytes come here.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from itertools import groupby
from uuid import UUID

import structlog

from actors.captured import Captured
from actors.claim import claim, remove_everything
from actors.dispatch import Dispatcher
from actors.find_source import Sources
from actors.first_look import Looker
from actors.loops import pause
from actors.planner import Planner
from actors.reopen import Reopener
from actors.submit import Submit, source_answers
from pipeline import plan
from pipeline.begin import align
from pipeline.errors import (
    Conflict,
    ObjectMissing,
    SourceError,
    SourceMissing,
    SourceUnavailable,
    VodrayError,
)
from pipeline.model import PLAIN, ChunkRecord, ChunkSpec, Output, Recording, Sound, Status, Upload
from pipeline.plan import PlanState
from pipeline.profiles import Profile, find_profile, form_for, outputs_for
from pipeline.recording_counts import count_final
from pipeline.settings import Settings
from pipeline.source import Source
from pipeline.staging import Addresses, clear, staging_prefix
from pipeline.stores.catalog import Catalog
from pipeline.stores.objects import ObjectStore
from pipeline.storyboard import tile_size
from pipeline.tracing import add_span, end_trace
from pipeline.uris import shown_uri

_RETRY_LOOK_S = 1.0
# So long after a recording has begun, what is needed at its end is imported.
_CALM_S = 10.0
_UNKNOWN_BYTES_PER_S = 400_000.0

log = structlog.get_logger()


class Supervisor:
    """Call ``run`` once. ``sources``: homes of the playlist, the first of which knows the addresses
    of what it lists."""

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
    ) -> None:
        self._id, self._catalog, self._results, self._bucket = (
            recording_id,
            catalog,
            results,
            bucket,
        )
        self._submit, self._slots = submit, slots
        self._settings, self._sources = settings, sources
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Something about the recording has changed: look now."""
        self._woken.set()

    async def run(self, *, last_try: bool = False) -> Recording:
        """Record until the recording is final. Raises only errors that a later run may overcome.

        ``last_try``: an error that nobody expected, or an object of ours that is not there, fails
        the recording instead of being raised.
        """
        recording = await self._catalog.get(self._id)
        if recording.status.is_final:
            return recording
        try:
            while (done := await self._record(recording)) is None:
                pass
            return done
        except* Exception as group:  # noqa: BLE001 - told apart below
            error = _first(group)
        if isinstance(error, VodrayError):
            return await self._stopped(error, last_try=last_try)
        log.error("unexpected_error", recording=str(self._id), exc_info=error)
        if not last_try:
            raise error
        return await self._give_up(f"Internal error: {type(error).__name__}: {error}")

    async def _stopped(self, error: VodrayError, *, last_try: bool) -> Recording:
        """The recording, final, after what ended the work on it; or that error."""
        if error.retry and not isinstance(error, SourceError):
            raise error
        recording = await self._catalog.get(self._id)
        # Somebody has taken away what is ours, or completed it: who looks again sees which.
        is_away = isinstance(error, ObjectMissing) and not last_try
        if is_away and not recording.status.is_final:
            raise error
        if isinstance(error, Conflict):
            if recording.status is Status.COMPLETED:
                return recording
            # Another supervisor may well finish what is begun.
            if recording.status is not Status.FAILED:
                raise error
            # Cancelled while it was at work.
            await self._remove_objects(recording)
            await self._catalog.forget_ledger(self._id)
            return recording
        return await self._give_up(str(error))

    async def _record(self, recording: Recording) -> Recording | None:
        """The recording once it is final; None if the stream is back meanwhile."""
        begin = time.monotonic()
        planned = list(await self._catalog.planned(self._id))
        captured = Captured(self._id, catalog=self._catalog, wait=self._wait)
        source = _Source(self._sources, captured)
        addresses = Addresses(source, self._results, self._bucket)
        state, outputs = await self._begin(recording, captured, planned, addresses, source.probe)
        recording, uploads = await claim(
            await self._catalog.get(self._id),
            outputs,
            template=self._settings.object_name,
            catalog=self._catalog,
            results=self._results,
            bucket=self._bucket,
        )
        if recording.file_path is not None and not recording.publishing:
            uploads = await Reopener(
                recording,
                catalog=self._catalog,
                results=self._results,
                bucket=self._bucket,
                submit=self._submit,
            ).reopen(uploads)
        dispatcher = await self._dispatcher(addresses, source.probe, uploads, planned)
        planner = Planner(
            self._id,
            captured=captured,
            state=state,
            planned=planned,
            dispatcher=dispatcher,
            catalog=self._catalog,
        )
        getting_ready = asyncio.get_running_loop().call_later(_CALM_S, _get_ready_to_publish)
        try:
            async with asyncio.TaskGroup() as chunks:
                await planner.run(chunks)
        finally:
            getting_ready.cancel()
        try:
            return await self._publish(
                recording, planned, dispatcher.records, uploads, captured, begin
            )
        except Conflict:
            recording = await self._catalog.get(self._id)
            if recording.status is Status.FAILED:
                raise
            if recording.status.is_final:
                return recording
            log.info("stream_is_back", recording=str(self._id))
            await self._wait(_RETRY_LOOK_S)
            return None

    async def _begin(
        self,
        recording: Recording,
        captured: Captured,
        planned: Sequence[ChunkSpec],
        addresses: Addresses,
        probe: Callable[[], object],
    ) -> tuple[PlanState, tuple[Output, ...]]:
        """The plan as if the recording had never been interrupted, and what is made of it.

        Segments that cannot be read yet are waited for until their stream has ended.
        """
        profile = find_profile(recording.profile, self._settings.profiles)
        looker = Looker(
            str(self._id),
            submit=self._submit,
            settings=self._settings,
            addresses=addresses,
            needs_pictures=bool(profile.encoders),
        )
        was_there = False
        await captured.read()
        known = tuple(upload.output for upload in await self._catalog.uploads(self._id))
        if planned:
            try:
                seen = await looker.look(planned[0].main.segments, shown_uri(captured.opened.ref))
                bytes_per_s = seen.look.bytes_per_s
            except SourceUnavailable:
                bytes_per_s = _UNKNOWN_BYTES_PER_S
            state = plan.resume(
                bytes_per_s, planned, is_encoded=_is_encoded(known), heard_s=_heard_s(known)
            )
            return state, known
        while True:
            if captured.segments:
                try:
                    return await self._look(profile, captured, looker, known)
                except SourceUnavailable:
                    # While the stream goes on, something that can be read may still come.
                    if captured.is_complete and was_there:
                        raise
                was_there = await source_answers(probe, self._settings)
                if not captured.is_complete:
                    await self._wait(_RETRY_LOOK_S)
            else:
                await captured.wait_for_more()
            await captured.read()

    async def _look(
        self,
        profile: Profile,
        captured: Captured,
        looker: Looker,
        known: tuple[Output, ...],
    ) -> tuple[PlanState, tuple[Output, ...]]:
        """``known``: outputs that were begun before."""
        main = await looker.look(captured.segments[0], shown_uri(captured.opened.ref))
        if main.lacks_pictures and profile.encoders and not (known or captured.is_complete):
            raise SourceUnavailable("No segment holds the pictures yet that are announced")
        heard = [
            (sound, await looker.look_at_sound(sound, segments))
            for sound, segments in zip(captured.opened.sounds, captured.segments[1:], strict=True)
        ]
        main, sounds = align(main, heard)
        for sound in sounds:
            if sound.shift_s:
                shifted = {"sound": sound.name, "shift_s": sound.shift_s}
                log.info("sound_has_its_own_clock", recording=str(self._id), **shifted)
        form = replace(form_for(profile, main.look), in_band=self._settings.fills_gaps)
        outputs = known or outputs_for(profile, main.look, sounds)
        state = plan.begin(
            main.look.anchor_s,
            main.look.bytes_per_s,
            sounds,
            form,
            is_encoded=_is_encoded(outputs),
            heard_s=_heard_s(outputs),
            tile=tile_size(main.look.pictures),
        )
        return state, outputs

    async def _dispatcher(
        self,
        addresses: Addresses,
        probe: Callable[[], object],
        uploads: Sequence[Upload],
        planned: Sequence[ChunkSpec],
    ) -> Dispatcher:
        dispatcher = Dispatcher(
            self._id,
            addresses=addresses,
            probe=probe,
            results=self._results,
            bucket=self._bucket,
            uploads=uploads,
            catalog=self._catalog,
            submit=self._submit,
            settings=self._settings,
            in_flight=2 * self._slots,
        )
        chunks = {chunk.index: chunk for chunk in planned}
        finished = await self._catalog.finished(self._id)
        for index, records in groupby(finished, lambda record: record.index_number):
            dispatcher.resume(chunks[index], list(records))
        return dispatcher

    async def _publish(
        self,
        recording: Recording,
        planned: Sequence[ChunkSpec],
        records: Mapping[str, Sequence[ChunkRecord]],
        uploads: Sequence[Upload],
        captured: Captured,
        begin: float,
    ) -> Recording:
        """Raises ``Conflict`` if the stream has come back."""

        async def seal() -> None:
            await captured.refuse_more()
            await self._catalog.mark_publishing(self._id)

        publishing = time.monotonic()
        await captured.refuse_more()
        # Imported late: it brings numpy, and live streams wait for their supervisors.
        from actors.publish import Publisher

        publisher = Publisher(
            recording,
            uploads=uploads,
            keep_time=self._settings.fills_gaps,
            form=planned[0].main.form if planned else PLAIN,
            sounds=[stretch.sound or Sound() for stretch in planned[0].audio] if planned else [],
            results=self._results,
            bucket=self._bucket,
            submit=self._submit,
        )
        await self._catalog.mark_processing(self._id)
        completion, report = await publisher.publish(records, seal)
        report["source"] = shown_uri(captured.opened.ref)
        report["dropped_streams"] += captured.opened.dropped
        report["profile"] = recording.profile
        report["timings_s"]["total"] = round(time.monotonic() - begin, 3)
        # The object is whole: whoever had to go on from here would find it.
        await asyncio.to_thread(publisher.clear_chunks)
        done = await self._catalog.complete(self._id, completion, report)
        count_final(done)
        if not done.resumable:
            await asyncio.to_thread(clear, self._results, self._bucket, staging_prefix(self._id))
            await self._catalog.forget_ledger(self._id)
        log.info(
            "recording_completed",
            recording=str(self._id),
            file=completion.file_path,
            duration_s=completion.duration,
            gaps=len(completion.gaps),
        )
        add_span("publish", self._id, time.monotonic() - publishing)
        end_trace(self._id, _age_s(recording), status=done.status.value, gaps=len(completion.gaps))
        return done

    async def _give_up(self, error: str) -> Recording:
        recording = await self._catalog.get(self._id)
        if recording.status.is_final:
            # What this one missed, another supervisor has finished with.
            return recording
        log.error("recording_failed", recording=str(self._id), error=error)
        await self._remove_objects(recording)
        failed = await self._catalog.fail(self._id, error)
        if failed.status is Status.FAILED:
            count_final(failed)
        end_trace(self._id, _age_s(recording), error=error, status=failed.status.value)
        await self._catalog.forget_ledger(self._id)
        return failed

    async def _remove_objects(self, recording: Recording) -> None:
        uploads = await self._catalog.uploads(self._id)
        await asyncio.to_thread(remove_everything, self._results, self._bucket, recording, uploads)

    async def _wait(self, seconds: float) -> None:
        await pause(self._woken, seconds)
        self._woken.clear()


class _Source:
    """Addresses by the recording's source as it is known when one is asked for."""

    def __init__(self, sources: Sources, captured: Captured) -> None:
        self._sources, self._captured = sources, captured

    def url(self, ref: str) -> str:
        return self._home().url(ref)

    def probe(self) -> None:
        """Raises ``SourceError``, ``StoreError`` unless its server answers with something."""
        with contextlib.suppress(SourceMissing):
            self._home().read_playlist()

    def _home(self) -> Source:
        assert self._captured.recording is not None
        return next(iter(self._sources(self._captured.recording)))


def _age_s(recording: Recording) -> float:
    return (datetime.now(UTC) - recording.created_at).total_seconds()


def _is_encoded(outputs: Sequence[Output]) -> bool:
    return any(output.pictures is not None for output in outputs)


def _heard_s(outputs: Sequence[Output]) -> float:
    """Of what lies before a chunk."""
    sounds = [output.sound for output in outputs if output.sound is not None]
    return plan.HEARD_S if any(sound.loudness is not None for sound in sounds) else 0.0


def _get_ready_to_publish() -> None:
    """In a thread: the end of a stream waits for nothing that could be done before."""
    asyncio.get_running_loop().run_in_executor(None, import_module, "actors.publish")


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    """One error of a group: one that nobody expected, else one that cannot be retried."""
    flat: list[Exception] = []
    for error in group.exceptions:
        flat += [_first(error)] if isinstance(error, BaseExceptionGroup) else [error]
    return min(flat, key=lambda error: isinstance(error, VodrayError) + getattr(error, "retry", 0))
