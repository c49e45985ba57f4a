"""The verbs that workers carry out: each takes a job, does its I/O and media work, answers.

A chunk's bytes never leave the worker but for the object store. One bad segment costs itself:
what cannot be read is left out and named in the chunk's report.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline.errors import (
    MediaInvalid,
    ObjectMissing,
    SourceError,
    SourceMissing,
    SourceUnavailable,
    StoreError,
    StoreUnavailable,
)
from pipeline.filling_inside import fill_inside
from pipeline.jobs import Address, ChunkJob, FillJob, JoinJob, LookJob, PosterJob
from pipeline.load import Loaded, Loader
from pipeline.maker import Made, Maker
from pipeline.media import boxes, images
from pipeline.media.entries import read_forms
from pipeline.media.filler import make_filler
from pipeline.media.holes import Blank
from pipeline.media.interleave import Body, interleave
from pipeline.media.layout import MIN_PART_BYTES
from pipeline.media.limits import DEFAULT_LIMITS, MediaLimits
from pipeline.media.remux import first_look, make_input
from pipeline.media.samples import SampleIndex, Span
from pipeline.media.segments import has_own_init
from pipeline.media.tables import sample_offsets
from pipeline.model import ChunkRecord, ChunkSpec, FirstLook, Part, Stretch
from pipeline.transfer import TransferLimits, fetch, store


@dataclass(frozen=True, slots=True)
class Tools:
    """What a worker lends to its steps: threads for I/O, and a gate that one step at a time may
    hold, so that one chunk's transfers overlap another's computing."""

    threads: Executor
    gate: AbstractContextManager[Any]


def look(job: LookJob, tools: Tools) -> FirstLook:
    """Learn from the first segment where the source's clock stands."""
    (loaded,) = Loader(job.urls, job.limits, tools.threads).load([job.segment])
    if loaded.media is None:
        raise (SourceUnavailable if loaded.may_return else MediaInvalid)(loaded.problem)
    init = b"" if has_own_init(loaded.media.data) else loaded.init
    return first_look(
        make_input([loaded.media], init, limits=job.media_limits, anchor_s=0, near_s=0.0)
    )


def make_fill(job: FillJob, tools: Tools) -> ChunkRecord:
    with tools.gate:
        record, pieces = fill_chunk(job.index, job.blanks)
    if not pieces:
        return record
    store(job.staging_url, pieces, limits=job.limits)
    return replace(record, staging_key=job.staging_key)


def fill_chunk(index: int, blanks: Sequence[Blank]) -> tuple[ChunkRecord, list[memoryview]]:
    """Black and silence as a chunk that is stored nowhere yet, and its bytes. What cannot be made
    is left out: its time stays empty."""
    bodies: list[Body] = []
    filled: list[int] = []
    for blank in blanks:
        with suppress(MediaInvalid):
            bodies.append(make_filler(blank))
            filled.append(blank.hole)
    samples = sum(len(track.size) for body in bodies for track in body.span.tracks)
    spans, pieces = interleave([bodies])
    report = {"packets_in": 0, "filler_packets": samples, "border": {}, "filled": filled}
    record = ChunkRecord(
        index_number=index,
        size_bytes=sum(map(len, pieces)),
        part=None,
        staging_key=None,
        index=SampleIndex(spans=tuple(spans)).pack(),
        report=report,
    )
    return record, pieces


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
    loader = Loader(job.urls, job.source_limits, tools.threads)
    with timings.of("download"):
        loaded = load_chunk(job.chunk, loader)
    with timings.of("waiting"), tools.gate, timings.of("media"):
        fragments = make_fragments(
            job.chunk, loaded, loader, job.media_limits, fills_gaps=job.fills_gaps
        )
    part = staging_key = None
    with timings.of("upload"):
        if job.part_url is not None and fragments.is_part:
            etag = store(job.part_url, fragments.pieces, limits=job.store_limits)
            part = Part(number=job.part_number, etag=etag, size_bytes=fragments.size_bytes)
        elif fragments.size_bytes:
            store(job.staging_url, fragments.pieces, limits=job.store_limits)
            staging_key = job.staging_key
    timings.seconds["waiting"] -= timings.seconds["media"]
    record = fragments.record(part, staging_key, timings.seconds)
    away = [entry.segment.sequence for own in loaded for entry in own if entry.may_return]
    return replace(record, report={**record.report, "unavailable": away})


def lost_chunk(chunk: ChunkSpec, reason: str) -> ChunkRecord:
    """The record of a chunk that could not be made at all: all its segments are a gap."""

    def nothing(stretch: Stretch, playlist: int) -> Made:
        lost = [Loaded(segment=segment, problem=reason) for segment in stretch.segments]
        return Maker(
            stretch, anchor_s=chunk.anchor_s, playlist=playlist, nearby=lambda _: lost[0]
        ).make(lost)

    made = [nothing(stretch, n) for n, stretch in enumerate((chunk.main, *chunk.audio))]
    return Fragments(chunk=chunk, made=made, spans=(), pieces=(), border={}).record(None, None, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragments:
    """A chunk that is made, and stored nowhere yet. ``made``: of each of its playlists;
    ``pieces``: its bytes, and ``spans`` what is where in them."""

    chunk: ChunkSpec
    made: Sequence[Made]
    spans: Sequence[Span]
    pieces: Sequence[memoryview]
    border: dict[str, Any]

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.pieces))

    @property
    def is_part(self) -> bool:
        """Whether it can be a part of its own; the first chunk shares part 1 with the head."""
        return self.chunk.index > 0 and self.size_bytes >= MIN_PART_BYTES

    def record(
        self, part: Part | None, staging_key: str | None, timings_s: Mapping[str, float]
    ) -> ChunkRecord:
        """For the ledger. ``timings_s``: by stage."""
        timings = {stage: round(spent, 4) for stage, spent in timings_s.items()}
        return ChunkRecord(
            index_number=self.chunk.index,
            size_bytes=self.size_bytes,
            part=part,
            staging_key=staging_key,
            index=SampleIndex(spans=tuple(self.spans)).pack(),
            report=_report(self.chunk, self.made)
            | {"border": self.border, "timings_s": timings, "bytes_out": self.size_bytes},
        )


def load_chunk(chunk: ChunkSpec, loader: Loader) -> list[list[Loaded]]:
    """The segments of each of its playlists."""
    return [loader.load(stretch.segments) for stretch in (chunk.main, *chunk.audio)]


def make_fragments(
    chunk: ChunkSpec,
    loaded: Sequence[Sequence[Loaded]],
    loader: Loader,
    limits: MediaLimits = DEFAULT_LIMITS,
    *,
    fills_gaps: bool = False,
) -> Fragments:
    """``loaded``: as ``load_chunk`` returns them; ``loader`` reads what is needed besides."""
    made = [
        Maker(
            stretch,
            anchor_s=chunk.anchor_s,
            playlist=playlist,
            nearby=lambda segment: loader.load([segment])[0],
            limits=limits,
        ).make(own)
        for playlist, (stretch, own) in enumerate(
            zip((chunk.main, *chunk.audio), loaded, strict=True)
        )
    ]
    if fills_gaps:
        fill_inside(made, is_first=chunk.index == 0)
    spans, pieces = interleave([of_playlist.bodies for of_playlist in made])
    border = _decode_border(spans, pieces, limits)
    return Fragments(chunk=chunk, made=made, spans=spans, pieces=pieces, border=border)


def _report(chunk: ChunkSpec, made: Sequence[Made]) -> dict[str, Any]:
    return {
        "chunk": chunk.index,
        "segments": [segment.sequence for segment in chunk.main.segments],
        "bytes_in": sum(m.bytes_in for m in made),
        "packets_in": sum(m.packets for m in made),
        "samples_out": sum(len(t.size) for m in made for b in m.bodies for t in b.span.tracks),
        "filler_packets": sum(m.filler_packets for m in made),
        "torn_packets": sum(m.torn for m in made),
        "undecoded_packets": sum(m.undecoded for m in made),
        "lost": [lost for m in made for lost in m.lost],
        "remedies": [remedy for m in made for remedy in m.remedies],
        "dropped_streams": sorted({name for m in made for name in m.dropped}),
        "undecodable_streams": sorted({name for m in made for name in m.undecodable}),
    }


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


def _fetch(address: Address, limits: TransferLimits) -> bytes:
    """What is ours. Raises ``StoreError``."""
    try:
        return fetch(address.url, byte_range=address.byte_range, limits=limits)
    except SourceUnavailable as error:
        raise StoreUnavailable(error.message) from error
    except SourceMissing as error:
        raise ObjectMissing(error.message) from error
    except SourceError as error:
        raise StoreError(error.message) from error


def _decode_border(
    spans: Sequence[Span], pieces: Sequence[memoryview], limits: MediaLimits
) -> dict[str, Any]:
    """Decode the first keyframe of the first fragment, from the bytes that will be uploaded, found
    and described by what its index and its sample entry say."""
    own = (span for span in spans if not span.is_filler)
    span = next((span for span in own if any(t.kind == "video" for t in span.tracks)), None)
    if span is None:
        return {"decoded": None}
    video = next(track for track in span.tracks if track.kind == "video")
    offsets = sample_offsets(video.run_offset, video.run_count, video.size)
    at = int(video.key.argmax())
    if not video.key[at] or offsets[at] >= span.fragment_end[0]:
        return {"decoded": False, "reason": "no keyframe in it"}
    entry = next(form.entry for form in read_forms(span.init) if form.track_id == video.track_id)
    sample = _cut_out(pieces, int(offsets[at]), int(video.size[at]))
    try:
        frame = images.decode_keyframe(entry, sample, limits)
    except MediaInvalid as error:
        return {"decoded": False, "reason": error.message}
    return {"decoded": True, "score": round(images.poster_score(frame), 3)}


def _cut_out(pieces: Sequence[memoryview], offset: int, length: int) -> bytes:
    """``length`` bytes from ``offset`` of the pieces joined; they lie in one piece."""
    for piece in pieces:
        if offset < len(piece):
            return bytes(piece[offset : offset + length])
        offset -= len(piece)
    raise IndexError("the pieces end before the sample")
