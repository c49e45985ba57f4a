"""The verbs that workers carry out: each takes a job, does its I/O and media work, answers.

A chunk's bytes never leave the worker but for the object store. One bad segment costs itself:
what cannot be read is left out and named in the chunk's report.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline.errors import MediaInvalid, SourceError, VerificationFailed
from pipeline.jobs import Address, ChunkJob, JoinJob, LookJob, PosterJob
from pipeline.media import boxes, images
from pipeline.media.entries import read_forms, without_bit_rates
from pipeline.media.fragments import read_fragments
from pipeline.media.layout import MIN_PART_BYTES
from pipeline.media.remux import FirstLook, Remuxed, first_look, remux
from pipeline.media.samples import SampleIndex, Span
from pipeline.media.segments import has_torn_boxes
from pipeline.media.sniff import check_is_media
from pipeline.media.tables import sample_offsets
from pipeline.model import ChunkRecord, ChunkSpec, Part, Segment
from pipeline.transfer import TransferLimits, fetch, store


@dataclass(frozen=True, slots=True)
class Tools:
    """What a worker lends to its steps: threads for I/O, and a gate that one step at a time may
    hold, so that one chunk's transfers overlap another's computing."""

    threads: Executor
    gate: AbstractContextManager[Any]


def look(job: LookJob) -> FirstLook:
    """Learn from the first segment where the source's clock stands."""
    init = _fetch(job.init, job.limits) if job.init else b""
    return first_look(_fetch(job.segment, job.limits), init)


def join_part(job: JoinJob, tools: Tools) -> Part:
    """Upload one part made of a head, staged chunks and padding."""
    staged = tools.threads.map(partial(_fetch, limits=job.limits), job.staged)
    padding = [boxes.free_space(job.padding)] if job.padding else []
    pieces = [piece for piece in (job.head, *staged, *padding) if piece]
    etag = store(job.part_url, pieces, limits=job.limits)
    return Part(number=job.number, etag=etag, size_bytes=sum(map(len, pieces)))


def make_poster(job: PosterJob, tools: Tools) -> int:
    fragment = _fetch(job.fragment, job.limits)
    with tools.gate:
        picture = images.encode_jpeg(images.decode_first_keyframe(job.init, fragment))
    store(job.image_url, picture, limits=job.limits)
    return len(picture)


def make_chunk(job: ChunkJob, tools: Tools) -> ChunkRecord:
    """Download, remux, index, check and upload one chunk."""
    timings = _Timings()
    with timings.of("download"):
        loaded = _download(job, tools)
    with timings.of("waiting"), tools.gate, timings.of("media"):
        made = _Maker(job.chunk).make(loaded)
    body, size = made.pieces, sum(map(len, made.pieces))
    is_part = job.part_url is not None and size >= MIN_PART_BYTES
    part = None
    with timings.of("upload"):
        if is_part and job.part_url is not None:
            etag = store(job.part_url, body, limits=job.store_limits)
            part = Part(number=job.part_number, etag=etag, size_bytes=size)
        elif size:
            store(job.staging_url, body, limits=job.store_limits)
    timings.seconds["waiting"] -= timings.seconds["media"]
    return _record(
        job.chunk,
        made,
        timings,
        part=part,
        staging_key=job.staging_key if size and part is None else None,
    )


def lost_chunk(chunk: ChunkSpec, reason: str) -> ChunkRecord:
    """The record of a chunk that could not be made at all: all its segments are a gap."""
    nothing = _Maker(chunk).make([_Loaded(segment=s, problem=reason) for s in chunk.segments])
    return _record(chunk, nothing, _Timings(), part=None, staging_key=None)


def _record(
    chunk: ChunkSpec,
    made: "_Maker",
    timings: "_Timings",
    *,
    part: Part | None,
    staging_key: str | None,
) -> ChunkRecord:
    size = sum(map(len, made.pieces))
    return ChunkRecord(
        index_number=chunk.index,
        size_bytes=size,
        part=part,
        staging_key=staging_key,
        index=SampleIndex(spans=tuple(made.spans)).pack(),
        report={
            "chunk": chunk.index,
            "segments": [s.sequence for s in chunk.segments],
            "bytes_in": made.bytes_in,
            "bytes_out": size,
            "packets_in": made.packets,
            "torn_packets": made.torn,
            "samples_out": made.samples,
            "lost": [*made.lost],
            "dropped_streams": sorted(made.dropped),
            "border": made.border,
            "timings_s": {stage: round(spent, 4) for stage, spent in timings.seconds.items()},
        },
    )


class _Timings:
    """Seconds per stage of one chunk."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begin


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """A segment with its bytes, or why there are none."""

    segment: Segment
    init: bytes = b""
    data: bytes = b""
    problem: str = ""


def _fetch(address: Address, limits: TransferLimits) -> bytes:
    return fetch(address.url, byte_range=address.byte_range, limits=limits)


def _download(job: ChunkJob, tools: Tools) -> list[_Loaded]:
    wanted = {init for init in job.inits if init is not None}
    inits = {init: tools.threads.submit(_fetch, init, job.source_limits) for init in wanted}
    bodies = [
        None if segment.is_gap else tools.threads.submit(_fetch, address, job.source_limits)
        for segment, address in zip(job.chunk.segments, job.segments, strict=True)
    ]
    loaded = []
    for segment, init, body in zip(job.chunk.segments, job.inits, bodies, strict=True):
        try:
            if body is None:
                raise MediaInvalid(segment.gap_reason or "it is marked as missing (EXT-X-GAP)")
            # Transfers end by their own limits, so waiting for them is bounded.
            data = body.result()
            check_is_media(data)
            start = inits[init].result() if init is not None else b""
            loaded.append(_Loaded(segment=segment, data=data, init=start))
        except SourceError as error:
            loaded.append(_Loaded(segment=segment, problem=error.message))
    return loaded


class _Maker:
    """Turns loaded segments into fragments, span by span."""

    def __init__(self, chunk: ChunkSpec) -> None:
        self._chunk = chunk
        self.pieces: list[memoryview] = []
        self.spans: list[Span] = []
        self.lost: list[dict[str, Any]] = []
        self.bytes_in = 0
        self.packets = self.torn = 0
        self.samples = 0
        self.dropped: set[str] = set()
        self.border: dict[str, Any] = {}
        self._at = 0

    def make(self, loaded: Sequence[_Loaded]) -> "_Maker":
        near_s = self._chunk.start_s
        self.bytes_in = sum(len(entry.data) for entry in loaded)
        broken = False
        for run in _runs(loaded):
            if run[0].problem:
                self._lose(run[0], run[0].problem)
                broken = True
            else:
                broken = self._add_run(run, near_s, broken)
            near_s += sum(entry.segment.duration_s for entry in run)
        return self

    def _add_run(self, run: Sequence[_Loaded], near_s: float, broken: bool) -> bool:
        """Returns whether media is missing right behind what was added."""
        try:
            parts = self._add(run, near_s, broken)
        except MediaInvalid as error:
            if len(run) == 1:
                self._lose(run[0], error.message)
                return True
            # One of them is bad, unknown which.
            parts = (run[: len(run) // 2], run[len(run) // 2 :])
        for part in parts:
            if part:
                broken = self._add_run(part, near_s, broken)
                near_s += sum(entry.segment.duration_s for entry in part)
        return broken and bool(parts)

    def _add(
        self, run: Sequence[_Loaded], near_s: float, broken: bool
    ) -> Sequence[Sequence[_Loaded]]:
        """Add the run as one span; or return its parts, if it can only be added in parts."""
        torn = next((at for at, entry in enumerate(run) if has_torn_boxes(entry.data)), None)
        if torn is not None and len(run) > 1:
            return run[:torn], run[torn : torn + 1], run[torn + 1 :]
        first = run[0].segment
        made = remux(
            [entry.data for entry in run],
            run[0].init,
            anchor_s=self._chunk.anchor_s,
            near_s=near_s,
        )
        if made.silent is not None and len(run) > 1:
            return run[: made.silent], run[made.silent : made.silent + 1], run[made.silent + 1 :]
        if made.jump is not None:
            return run[: made.jump], run[made.jump :]
        self._keep(made, first, broken)
        return ()

    def _keep(self, made: Remuxed, first: Segment, broken: bool) -> None:
        span, init_bytes = read_fragments(
            made.data,
            at=self._at,
            discontinuity=first.discontinuity or broken,
            sequence=first.sequence,
        )
        span = replace(span, init=without_bit_rates(span.init))
        samples = _check_counts(made, span)
        body = memoryview(made.data)[init_bytes:]
        if not self.border:
            self.border = _decode_border(span, body)
        self.pieces.append(body)
        self.spans.append(span)
        self.packets += sum(made.packets)
        self.torn += made.torn
        self.samples += samples
        self.dropped.update(made.dropped)
        self._at = span.end

    def _lose(self, entry: _Loaded, reason: str) -> None:
        self.lost.append(
            {
                "sequence": entry.segment.sequence,
                "duration_s": entry.segment.duration_s,
                "reason": reason,
                "at_span": len(self.spans),
                "wall_clock": entry.segment.program_date_time
                and entry.segment.program_date_time.isoformat(),
            }
        )


def _check_counts(made: Remuxed, span: Span) -> int:
    """Frames in = frames out, or nothing is published."""
    samples = sum(len(track.size) for track in span.tracks)
    if samples != sum(made.packets):
        raise VerificationFailed(
            f"{sum(made.packets)} packets went into the chunk, but {samples} samples came out"
        )
    if not samples:
        raise MediaInvalid("no packet in it")
    return samples


def _decode_border(span: Span, body: memoryview) -> dict[str, Any]:
    """Decode the first keyframe of the span's first fragment, from the bytes that will be uploaded,
    found and described by what its index and its sample entry say."""
    video = next((track for track in span.tracks if track.kind == "video"), None)
    if video is None:
        return {"decoded": None}
    offsets = sample_offsets(video.run_offset, video.run_count, video.size)
    at = int(video.key.argmax())
    if not video.key[at] or offsets[at] >= fragment_range(span)[1]:
        return {"decoded": False, "reason": "no keyframe in it"}
    begin = int(offsets[at]) - span.start
    entry = next(form.entry for form in read_forms(span.init) if form.track_id == video.track_id)
    try:
        frame = images.decode_keyframe(entry, bytes(body[begin : begin + int(video.size[at])]))
    except MediaInvalid as error:
        return {"decoded": False, "reason": error.message}
    return {"decoded": True, "score": round(images.poster_score(frame), 3)}


def fragment_range(span: Span) -> tuple[int, int]:
    """The first fragment's bytes within the chunk."""
    behind = span.fragment_offset[1] if len(span.fragment_offset) > 1 else span.end
    return span.start, int(behind)


def _runs(loaded: Sequence[_Loaded]) -> Iterator[list[_Loaded]]:
    """Consecutive segments that one demuxer can read in one go; lost ones alone."""
    run: list[_Loaded] = []
    for entry in loaded:
        breaks = (
            not run or entry.problem or entry.segment.discontinuity or entry.init != run[-1].init
        )
        if run and breaks:
            yield run
            run = []
        if entry.problem:
            yield [entry]
        else:
            run.append(entry)
    if run:
        yield run
