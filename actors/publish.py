"""The end of a recording: from a full ledger to verified objects, their playlists and images.

Every step can be done again: a supervisor that died half way starts here anew and finds what is
there. Nothing gets its final name before the checks have passed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

from actors.claim import own_uploads
from actors.fair_queue import Urgency
from actors.joiner import join_job
from actors.storyboard import Storyboard
from actors.submit import Submit, store_limits, submit_patiently
from pipeline.assemble import (
    Arrangement,
    Assembly,
    Chunks,
    arrange,
    assemble_all,
    check,
    poster_span,
)
from pipeline.errors import (
    JobIsPoison,
    ObjectMissing,
    VerificationFailed,
    VodrayError,
)
from pipeline.filling import are_enough, plan_fillers
from pipeline.jobs import Address, Answer, FillJob, Job, JoinJob, Place, PosterJob
from pipeline.media.holes import Blank
from pipeline.media.layout import Joined
from pipeline.media.samples import Span
from pipeline.media.stitch import start_s
from pipeline.model import ByteRange, ChunkRecord, Form, Part, Recording, Sound, Upload
from pipeline.presentation import Made, Presentation, present
from pipeline.report import MadeOutput, build_report
from pipeline.staging import URL_LIFETIME_S, chunks_prefix, clear
from pipeline.stores.catalog import Completion
from pipeline.stores.objects import ObjectInfo, ObjectStore

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """One output that there is something of."""

    upload: Upload
    chunks: Chunks
    assembly: Assembly


class Publisher:
    """Publishes one recording: its object name is claimed, all its chunks are in the ledger.
    ``uploads``: of its outputs; ``form``: of the main playlist; ``keep_time``: what is missing is
    filled (``GAP_POLICY``)."""

    def __init__(
        self,
        recording: Recording,
        *,
        uploads: Sequence[Upload],
        form: Form,
        sounds: Sequence[Sound],
        keep_time: bool,
        results: ObjectStore,
        bucket: str,
        submit: Submit,
    ) -> None:
        assert recording.object_name is not None
        self._uploads, self._keep_time = uploads, keep_time
        self._form, self._sounds = form, sounds
        self._recording, self._name = recording, recording.object_name
        self._results, self._bucket, self._submit = results, bucket, submit

    async def publish(
        self,
        records: Mapping[str, Sequence[ChunkRecord]],
        seal: Callable[[], Awaitable[None]],
    ) -> tuple[Completion, dict[str, Any]]:
        """Upload what is missing and give everything its name. Raises ``VerificationFailed``.

        ``records``: of each rendition. ``seal`` is called when all is there and checked, before
        anything gets its final name; what it raises leaves everything as it was.
        """
        begin = time.perf_counter()
        targets = await self._assemble(records)
        stitched = time.perf_counter()
        wholes, checks = await self._make_whole(targets, seal)
        joined = time.perf_counter()
        presentation = await asyncio.to_thread(self._present, targets)
        main = targets[0]
        poster, storyboard = await asyncio.gather(self._poster(main), self._storyboard(main))
        report = build_report(
            [
                MadeOutput(
                    rendition=target.upload.rendition,
                    key=target.upload.key,
                    pictures=target.upload.output.pictures,
                    assembly=target.assembly,
                    chunks=target.chunks,
                    checks={**checked, "object_bytes": whole.size_bytes},
                )
                for target, whole, checked in zip(targets, wholes, checks, strict=True)
            ]
        )
        report["poster"], report["storyboard"] = poster, storyboard
        made = {target.upload.rendition for target in targets}
        report["absent_renditions"] = [
            upload.rendition for upload in self._uploads if upload.rendition not in made
        ]
        report["timings_s"] |= {
            "stitch": round(stitched - begin, 3),
            "verify_and_complete": round(joined - stitched, 3),
            "playlists_and_poster": round(time.perf_counter() - joined, 3),
        }
        return Completion(
            file_path=f"{self._bucket}/{main.upload.key}",
            duration=round(main.assembly.duration_s),
            file_size=wholes[0].size_bytes,
            completed_at=datetime.now(UTC),
            gaps=main.assembly.gaps,
            thumbnail_path=poster.get("file_path"),
            renditions=presentation.renditions,
        ), report

    async def _assemble(self, records: Mapping[str, Sequence[ChunkRecord]]) -> list[_Target]:
        own = records[self._uploads[0].rendition]
        arrangement = await asyncio.to_thread(arrange, own, keep_time=self._keep_time)
        fillers = await self._fill(arrangement)
        of_main = [made[0] for made in fillers]
        if not are_enough(arrangement.placed, arrangement.holes, of_main):
            log.warning("gaps_not_filled", recording=str(self._recording.id))
            arrangement, fillers = await asyncio.to_thread(arrange, own), []
        chunks = [
            Chunks(records[upload.rendition], [made[number] for made in fillers])
            for number, upload in enumerate(self._uploads)
        ]
        assemblies = await asyncio.to_thread(assemble_all, arrangement, self._sounds, chunks)
        return [
            _Target(upload=upload, chunks=own, assembly=assembly)
            for upload, own, assembly in zip(self._uploads, chunks, assemblies, strict=True)
            if assembly is not None
        ]

    async def _fill(self, arrangement: Arrangement) -> list[tuple[ChunkRecord, ...]]:
        """Black and silence for what is left open, as far as it can be made."""
        first = max(record.index_number for record in arrangement.records) + 1
        planned = plan_fillers(arrangement.holes, first)
        made = await asyncio.gather(*(self._filler(index, blanks) for index, blanks in planned))
        return [records for records in made if records is not None]

    async def _filler(self, index: int, blanks: Sequence[Blank]) -> tuple[ChunkRecord, ...] | None:
        try:
            records = await self._submit_job(partial(self._fill_job, index, blanks))
        except JobIsPoison as error:
            log.warning("filler_failed", recording=str(self._recording.id), error=str(error))
            return None
        assert isinstance(records, tuple)
        return records

    def _fill_job(self, index: int, blanks: Sequence[Blank]) -> FillJob:
        return FillJob(
            index=index,
            blanks=tuple(blanks),
            places=tuple(self._filler_place(index, upload) for upload in self._uploads),
            limits=store_limits(),
            form=self._form,
        )

    def _filler_place(self, index: int, upload: Upload) -> Place:
        key = f"{chunks_prefix(self._recording.id, upload.rendition)}filler-{index:06d}"
        url = self._results.presign_put(self._bucket, key, expires_s=URL_LIFETIME_S)
        return Place(output=upload.output, staging_key=key, staging_url=url)

    async def _make_whole(
        self, targets: Sequence[_Target], seal: Callable[[], Awaitable[None]]
    ) -> tuple[list[ObjectInfo], list[dict[str, Any]]]:
        """The objects, and what was checked of them."""
        there = [await asyncio.to_thread(self._completed_before, target) for target in targets]
        async with asyncio.TaskGroup() as tasks:
            checked = [
                tasks.create_task(asyncio.to_thread(check, t.assembly, t.chunks.everything))
                for t in targets
            ]
            # Parts are nothing that anybody sees yet.
            parts = [
                tasks.create_task(self._parts(target)) if whole is None else None
                for target, whole in zip(targets, there, strict=True)
            ]
        if None in there:
            await seal()
        wholes: list[ObjectInfo] = []
        # The main one last: it is what people look for.
        for target, found, made in reversed(list(zip(targets, there, parts, strict=True))):
            if found is None and made is not None:
                found = await asyncio.to_thread(self._complete, target, made.result())
            assert found is not None
            wholes.insert(0, found)
        return wholes, [task.result() for task in checked]

    async def _parts(self, target: _Target) -> list[Part]:
        """All parts of an object in order, those of staged chunks made now."""
        upload, assembly, records = target.upload, target.assembly, target.chunks.everything
        staged = {r.index_number: r.staging_key for r in records if r.staging_key is not None}
        made = await asyncio.gather(
            *(self._join(joined, target, staged) for joined in assembly.layout.joined)
        )
        by_number = {r.part.number: r.part for r in records if r.part is not None}
        parts = sorted([*by_number.values(), *made], key=lambda part: part.number)
        # A part that was sent twice may be listed twice.
        there = set(await asyncio.to_thread(self._uploaded, upload))
        for part in parts:
            if part not in there:
                raise VerificationFailed(f"Part {part.number} of {upload.key} is not what was sent")
        if sum(part.size_bytes for part in parts) != assembly.size_bytes:
            raise VerificationFailed("The parts do not add up to the object")
        return parts

    async def _join(self, joined: Joined, target: _Target, staged: Mapping[int, str]) -> Part:
        part = await self._submit_job(partial(self._join_job, joined, target, staged))
        assert isinstance(part, Part)
        return part

    def _join_job(self, joined: Joined, target: _Target, staged: Mapping[int, str]) -> JoinJob:
        return join_job(
            self._results,
            self._bucket,
            target.upload,
            joined,
            [staged[chunk] for chunk in joined.chunks],
            head=target.assembly.head if joined.number == 1 else b"",
        )

    def _uploaded(self, upload: Upload) -> tuple[Part, ...]:
        return self._results.parts(self._bucket, upload.key, upload.upload_id)

    def _completed_before(self, target: _Target) -> ObjectInfo | None:
        """The object, if somebody who died since has completed the upload."""
        upload = target.upload
        try:
            self._uploaded(upload)
        except ObjectMissing:
            whole = self._results.stat(self._bucket, upload.key)
            if whole.size_bytes != target.assembly.size_bytes:
                raise VerificationFailed(f"The upload of {upload.key} is gone") from None
            return whole
        return None

    def _complete(self, target: _Target, parts: Sequence[Part]) -> ObjectInfo:
        upload, size = target.upload, target.assembly.size_bytes
        whole = self._results.complete_upload(self._bucket, upload.key, upload.upload_id, parts)
        if whole.size_bytes != size:
            raise VerificationFailed(f"{upload.key} has {whole.size_bytes} bytes instead of {size}")
        return whole

    def _present(self, targets: Sequence[_Target]) -> Presentation:
        """Playlists and init segments, put beside the objects."""
        folder = self._name.rpartition("/")[0]
        presentation = present(
            [
                Made(
                    output=target.upload.output,
                    key=target.upload.key,
                    media_uri=_relative(target.upload.key, self._name, folder),
                    assembly=target.assembly,
                )
                for target in targets
            ],
            self._sounds,
            self._bucket,
        )
        for file in presentation.files:
            key = f"{self._name}/{file.name}"
            self._results.put(self._bucket, key, file.data, file.content_type)
        return presentation

    async def _poster(self, main: _Target) -> dict[str, Any]:
        """A picture that could not be made is absent, says so, and costs nothing else."""
        best = poster_span(main.assembly, main.chunks.records)
        if best is None:
            return {"absent": "no pictures in it"}
        chunk, span = best
        key = f"{self._name}/poster.jpg"
        make_job = partial(
            self._poster_job, key, main.upload.key, span, main.assembly.object_offset[chunk]
        )
        try:
            size = await self._submit_job(make_job)
        except VodrayError as error:
            log.warning("poster_failed", recording=str(self._recording.id), error=str(error))
            return {"absent": str(error)}
        return {"file_path": f"{self._bucket}/{key}", "bytes": size}

    def _poster_job(self, key: str, source: str, span: Span, offset: int) -> PosterJob:
        """``source``: key of the object; ``offset``: of the span's chunk in it."""
        first, behind = (int(at) + offset for at in (span.fragment_offset[0], span.fragment_end[0]))
        url = self._results.presign_get(self._bucket, source, expires_s=URL_LIFETIME_S)
        return PosterJob(
            init=span.init,
            limits=store_limits(),
            fragment=Address(url=url, byte_range=ByteRange(offset=first, length=behind - first)),
            image_url=self._results.presign_put(self._bucket, key, expires_s=URL_LIFETIME_S),
        )

    async def _storyboard(self, main: _Target) -> dict[str, Any]:
        assembly = main.assembly
        begin_s = start_s(assembly.tracks)
        shift_s = {
            (p.chunk, int(p.span.fragment_offset[0])): p.shift_s - begin_s for p in assembly.placed
        }
        storyboard = Storyboard(
            self._recording.id, results=self._results, bucket=self._bucket, submit=self._submit
        )
        return await storyboard.publish(
            self._name, main.chunks.records, shift_s, assembly.duration_s
        )

    async def _submit_job(self, make_job: Callable[[], Job]) -> Answer:
        recording = str(self._recording.id)
        return await submit_patiently(self._submit, make_job, recording, Urgency.FINISH)

    def clear_chunks(self) -> None:
        """Once the objects are whole. An upload that was begun, and whose beginning nobody has
        heard of, goes as well, and that of an output of which there is nothing."""
        for left in list(own_uploads(self._results, self._bucket, self._name, self._uploads)):
            self._results.abort_upload(self._bucket, left.key, left.upload_id)
        for upload in self._uploads:
            prefix = chunks_prefix(self._recording.id, upload.rendition)
            clear(self._results, self._bucket, prefix)


def _relative(key: str, name: str, folder: str) -> str:
    """An object's key as playlists below ``{name}/`` name it."""
    if key.startswith(f"{name}/"):
        return key.removeprefix(f"{name}/")
    return "../" + key.removeprefix(f"{folder}/" if folder else "")
