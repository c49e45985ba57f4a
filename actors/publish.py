"""The end of a recording: from a full ledger to a verified object, its playlists and its poster.

Every step can be done again: a supervisor that died half way starts here anew and finds what is
there. Nothing gets its final name before the checks have passed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

from actors.dispatch import (
    RENDITION,
    Submit,
    store_limits,
    submit_patiently,
)
from actors.fair_queue import Urgency
from pipeline.assemble import (
    Arrangement,
    Assembly,
    arrange,
    assemble,
    check,
    describe_tracks,
    poster_span,
    sum_up_remedies,
)
from pipeline.errors import (
    JobIsPoison,
    ObjectMissing,
    VerificationFailed,
    VodrayError,
)
from pipeline.filling import are_enough, plan_fillers
from pipeline.gaps import describe_gap
from pipeline.jobs import Address, Answer, FillJob, Job, JoinJob, PosterJob
from pipeline.media import hls
from pipeline.media.holes import Blank
from pipeline.media.layout import Joined
from pipeline.media.samples import Span
from pipeline.model import ByteRange, ChunkRecord, Part, Recording, Rendition, Sound, Upload
from pipeline.staging import URL_LIFETIME_S, chunks_prefix, clear
from pipeline.stores.catalog import Completion
from pipeline.stores.objects import ObjectInfo, ObjectStore

_PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
log = structlog.get_logger()


class Publisher:
    """Publishes one recording: its object name is claimed, all its chunks are in the ledger.
    ``keep_time``: what is missing is filled (``GAP_POLICY``)."""

    def __init__(
        self,
        recording: Recording,
        *,
        sounds: Sequence[Sound],
        keep_time: bool,
        results: ObjectStore,
        bucket: str,
        submit: Submit,
    ) -> None:
        assert recording.object_name is not None
        self._sounds, self._keep_time = sounds, keep_time
        self._recording, self._name = recording, recording.object_name
        self._results, self._bucket, self._submit = results, bucket, submit

    async def publish(
        self, records: Sequence[ChunkRecord], upload: Upload, seal: Callable[[], Awaitable[None]]
    ) -> tuple[Completion, dict[str, Any]]:
        """Upload what is missing and give everything its name. Raises ``VerificationFailed``.

        ``seal`` is called when all is there and checked, before anything gets its final name; what
        it raises leaves everything as it was.
        """
        begin = time.perf_counter()
        arrangement = await asyncio.to_thread(arrange, records, keep_time=self._keep_time)
        fillers = await self._fill(arrangement)
        if not are_enough(arrangement.placed, arrangement.holes, fillers):
            log.warning("gaps_not_filled", recording=str(self._recording.id))
            arrangement, fillers = await asyncio.to_thread(arrange, records), []
        assembly = await asyncio.to_thread(assemble, arrangement, self._sounds, fillers)
        everything = [*records, *fillers]
        stitched = time.perf_counter()
        whole, checks = await self._make_whole(assembly, everything, upload, seal)
        checks["object_bytes"] = whole.size_bytes
        joined = time.perf_counter()
        rendition = await asyncio.to_thread(self._put_playlists, assembly)
        poster = await self._poster(assembly, records)
        report = self._report(assembly, records, checks)
        report["poster"] = poster
        report["timings_s"] |= {
            "stitch": round(stitched - begin, 3),
            "verify_and_complete": round(joined - stitched, 3),
            "playlists_and_poster": round(time.perf_counter() - joined, 3),
        }
        return Completion(
            file_path=f"{self._bucket}/{upload.key}",
            duration=round(assembly.duration_s),
            file_size=whole.size_bytes,
            completed_at=datetime.now(UTC),
            gaps=assembly.gaps,
            thumbnail_path=poster.get("file_path"),
            renditions=(rendition,),
        ), report

    async def _fill(self, arrangement: Arrangement) -> list[ChunkRecord]:
        """Black and silence for what is left open, as far as it can be made."""
        first = max(record.index_number for record in arrangement.records) + 1
        planned = plan_fillers(arrangement.holes, first)
        made = await asyncio.gather(*(self._filler(index, blanks) for index, blanks in planned))
        return [record for record in made if record is not None]

    async def _filler(self, index: int, blanks: Sequence[Blank]) -> ChunkRecord | None:
        try:
            record = await self._submit_job(partial(self._fill_job, index, blanks))
        except JobIsPoison as error:
            log.warning("filler_failed", recording=str(self._recording.id), error=str(error))
            return None
        assert isinstance(record, ChunkRecord)
        return record

    def _fill_job(self, index: int, blanks: Sequence[Blank]) -> FillJob:
        key = f"{chunks_prefix(self._recording.id, RENDITION)}filler-{index:06d}"
        return FillJob(
            index=index,
            blanks=tuple(blanks),
            staging_key=key,
            staging_url=self._results.presign_put(self._bucket, key, expires_s=URL_LIFETIME_S),
            limits=store_limits(),
        )

    async def _make_whole(
        self,
        assembly: Assembly,
        records: Sequence[ChunkRecord],
        upload: Upload,
        seal: Callable[[], Awaitable[None]],
    ) -> tuple[ObjectInfo, dict[str, Any]]:
        """The object, and what was checked of it."""
        checking = partial(asyncio.to_thread, check, assembly, records)
        whole = await asyncio.to_thread(self._completed_before, assembly, upload)
        if whole is not None:
            return whole, await checking()
        async with asyncio.TaskGroup() as tasks:
            checked = tasks.create_task(checking())
            # Parts are nothing that anybody sees yet.
            parts = tasks.create_task(self._parts(assembly, records, upload))
        await seal()
        whole = await asyncio.to_thread(self._complete, assembly, parts.result(), upload)
        return whole, checked.result()

    async def _parts(
        self, assembly: Assembly, records: Sequence[ChunkRecord], upload: Upload
    ) -> list[Part]:
        """All parts of the object in order, those of staged chunks made now."""
        staged = {r.index_number: r for r in records if r.staging_key is not None}
        made = await asyncio.gather(
            *(self._join(joined, assembly, staged, upload) for joined in assembly.layout.joined)
        )
        parts = [r.part for r in records if r.part is not None] + list(made)
        parts.sort(key=lambda part: part.number)
        # A part that was sent twice may be listed twice.
        there = set(await asyncio.to_thread(self._uploaded, upload))
        for part in parts:
            if part not in there:
                raise VerificationFailed(f"Part {part.number} of {upload.key} is not what was sent")
        if sum(part.size_bytes for part in parts) != assembly.size_bytes:
            raise VerificationFailed("The parts do not add up to the object")
        return parts

    async def _join(
        self, joined: Joined, assembly: Assembly, staged: dict[int, ChunkRecord], upload: Upload
    ) -> Part:
        part = await self._submit_job(partial(self._join_job, joined, assembly, staged, upload))
        assert isinstance(part, Part)
        return part

    def _join_job(
        self, joined: Joined, assembly: Assembly, staged: dict[int, ChunkRecord], upload: Upload
    ) -> JoinJob:
        keys = [staged[chunk].staging_key or "" for chunk in joined.chunks]
        return JoinJob(
            number=joined.number,
            head=assembly.head if joined.number == 1 else b"",
            staged=tuple(
                Address(url=self._results.presign_get(self._bucket, key, expires_s=URL_LIFETIME_S))
                for key in keys
            ),
            padding=joined.padding,
            limits=store_limits(),
            part_url=self._results.presign_put_part(
                self._bucket, upload.key, upload.upload_id, joined.number, expires_s=URL_LIFETIME_S
            ),
        )

    def _uploaded(self, upload: Upload) -> tuple[Part, ...]:
        return self._results.parts(self._bucket, upload.key, upload.upload_id)

    def _completed_before(self, assembly: Assembly, upload: Upload) -> ObjectInfo | None:
        """The object, if somebody who died since has completed the upload."""
        try:
            self._uploaded(upload)
        except ObjectMissing:
            whole = self._results.stat(self._bucket, upload.key)
            if whole.size_bytes != assembly.size_bytes:
                raise VerificationFailed(f"The upload of {upload.key} is gone") from None
            return whole
        return None

    def _complete(self, assembly: Assembly, parts: Sequence[Part], upload: Upload) -> ObjectInfo:
        whole = self._results.complete_upload(self._bucket, upload.key, upload.upload_id, parts)
        if whole.size_bytes != assembly.size_bytes:
            raise VerificationFailed(
                f"{upload.key} has {whole.size_bytes} bytes instead of {assembly.size_bytes}"
            )
        return whole

    def _put_playlists(self, assembly: Assembly) -> Rendition:
        main, *sounds = assembly.playlists
        self._put_playlist(RENDITION, main)
        members = []
        for number, playlist in zip(assembly.sounds, sounds, strict=True):
            name = f"audio-{number}"
            self._put_playlist(name, playlist)
            members.append((f"{name}.m3u8", self._sounds[number - 1]))
        variant = hls.describe_variant(f"{RENDITION}.m3u8", assembly.playlists, assembly.tracks)
        self._put("master.m3u8", hls.render_master([variant], members).encode(), _PLAYLIST_TYPE)
        return Rendition(
            name=RENDITION,
            file_path=f"{self._bucket}/{self._name}.mp4",
            codecs=variant.codecs,
            bandwidth=variant.bandwidth,
            average_bandwidth=variant.average_bandwidth,
            width=variant.width or None,
            height=variant.height or None,
            frame_rate=round(variant.frame_rate, 3) or None,
        )

    def _put_playlist(self, rendition: str, playlist: hls.MediaPlaylist) -> None:
        names = [
            f"{rendition}.init.mp4" if n == 0 else f"{rendition}.init-{n}.mp4"
            for n in range(len(playlist.inits))
        ]
        for name, init in zip(names, playlist.inits, strict=True):
            self._put(name, init, "video/mp4")
        media_uri = f"../{self._name.rpartition('/')[2]}.mp4"
        self._put(f"{rendition}.m3u8", playlist.render(media_uri, names).encode(), _PLAYLIST_TYPE)

    async def _poster(self, assembly: Assembly, records: Sequence[ChunkRecord]) -> dict[str, Any]:
        """A picture that could not be made is absent, says so, and costs nothing else."""
        best = poster_span(assembly, records)
        if best is None:
            return {"absent": "no pictures in the stream"}
        chunk, span = best
        key = f"{self._name}/poster.jpg"
        try:
            size = await self._submit_job(
                partial(self._poster_job, key, span, assembly.object_offset[chunk])
            )
        except VodrayError as error:
            log.warning("poster_failed", recording=str(self._recording.id), error=str(error))
            return {"absent": str(error)}
        return {"file_path": f"{self._bucket}/{key}", "bytes": size}

    def _poster_job(self, key: str, span: Span, offset: int) -> PosterJob:
        """``offset``: of the span's chunk in the object."""
        first, behind = (int(at) + offset for at in (span.fragment_offset[0], span.fragment_end[0]))
        url = self._results.presign_get(self._bucket, f"{self._name}.mp4", expires_s=URL_LIFETIME_S)
        return PosterJob(
            init=span.init,
            limits=store_limits(),
            fragment=Address(url=url, byte_range=ByteRange(offset=first, length=behind - first)),
            image_url=self._results.presign_put(self._bucket, key, expires_s=URL_LIFETIME_S),
        )

    async def _submit_job(self, make_job: Callable[[], Job]) -> Answer:
        recording = str(self._recording.id)
        return await submit_patiently(self._submit, make_job, recording, Urgency.FINISH)

    def _put(self, name: str, data: bytes, content_type: str) -> None:
        self._results.put(self._bucket, f"{self._name}/{name}", data, content_type)

    def clear_chunks(self) -> None:
        """Once the object is whole. An upload that was begun, and whose beginning nobody has heard
        of, goes as well."""
        for left in self._results.uploads(self._bucket, f"{self._name}.mp4"):
            if left.key == f"{self._name}.mp4":
                self._results.abort_upload(self._bucket, left.key, left.upload_id)
        clear(self._results, self._bucket, chunks_prefix(self._recording.id, RENDITION))

    def _report(
        self, assembly: Assembly, records: Sequence[ChunkRecord], checks: dict[str, Any]
    ) -> dict[str, Any]:
        stages: dict[str, float] = {}
        for record in records:
            for stage, spent in record.report["timings_s"].items():
                stages[stage] = round(stages.get(stage, 0.0) + spent, 3)
        return {
            "verified": True,
            "checks": checks,
            "segments": sum(len(r.report["segments"]) for r in records),
            "segments_lost": sum(lost["is_whole"] for r in records for lost in r.report["lost"]),
            "frames_in": checks["packets_in"],
            "frames_out": checks["samples_out"] - checks["filler_packets"],
            "duration_s": round(assembly.duration_s, 6),
            "filled_s": round(assembly.filled_s, 6),
            "tracks": describe_tracks(assembly),
            "gaps": [describe_gap(gap) for gap in assembly.gaps],
            "dropped_streams": sorted({d for r in records for d in r.report["dropped_streams"]}),
            "remedies": sum_up_remedies(records),
            "chunks": [
                {**record.report, "offset": assembly.object_offset[record.index_number]}
                if record.size_bytes
                else dict(record.report)
                for record in records
            ],
            "timings_s": {"in_workers": stages},
        }
