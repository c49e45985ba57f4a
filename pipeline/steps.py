"""The verbs that workers carry out: each takes a job, does its I/O and media work, answers.

A chunk's bytes never leave the worker but for the object store. One bad segment costs itself:
what cannot be read is left out and named in the chunk's report.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.errors import MediaInvalid
from pipeline.jobs import Address, ChunkJob, JoinJob, LookJob, PosterJob
from pipeline.load import Loaded, Loader
from pipeline.maker import Made, Maker
from pipeline.media import boxes, images
from pipeline.media.entries import read_forms
from pipeline.media.interleave import interleave
from pipeline.media.layout import MIN_PART_BYTES
from pipeline.media.remux import FirstLook, first_look, make_input
from pipeline.media.samples import SampleIndex, Span
from pipeline.media.segments import has_own_init
from pipeline.media.tables import sample_offsets
from pipeline.model import ChunkRecord, ChunkSpec, Part, Stretch
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
        raise MediaInvalid(loaded.problem)
    init = b"" if has_own_init(loaded.media.data) else loaded.init
    return first_look(make_input([loaded.media], init, anchor_s=0, near_s=0.0))


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
    stretches = (job.chunk.main, *job.chunk.audio)
    with timings.of("download"):
        loaded = [loader.load(stretch.segments) for stretch in stretches]
    with timings.of("waiting"), tools.gate, timings.of("media"):
        made = [
            Maker(
                stretch,
                anchor_s=job.chunk.anchor_s,
                playlist=playlist,
                nearby=lambda segment: loader.load([segment])[0],
            ).make(own)
            for playlist, (stretch, own) in enumerate(zip(stretches, loaded, strict=True))
        ]
        spans, pieces = interleave([of_playlist.bodies for of_playlist in made])
        border = _decode_border(spans, pieces)
    size = sum(map(len, pieces))
    is_part = job.part_url is not None and size >= MIN_PART_BYTES
    part = None
    with timings.of("upload"):
        if is_part and job.part_url is not None:
            etag = store(job.part_url, pieces, limits=job.store_limits)
            part = Part(number=job.part_number, etag=etag, size_bytes=size)
        elif size:
            store(job.staging_url, pieces, limits=job.store_limits)
    timings.seconds["waiting"] -= timings.seconds["media"]
    return ChunkRecord(
        index_number=job.chunk.index,
        size_bytes=size,
        part=part,
        staging_key=job.staging_key if size and part is None else None,
        index=SampleIndex(spans=tuple(spans)).pack(),
        report=_report(job.chunk, made, border, timings) | {"bytes_out": size},
    )


def lost_chunk(chunk: ChunkSpec, reason: str) -> ChunkRecord:
    """The record of a chunk that could not be made at all: all its segments are a gap."""

    def nothing(stretch: Stretch, playlist: int) -> Made:
        lost = [Loaded(segment=segment, problem=reason) for segment in stretch.segments]
        return Maker(
            stretch, anchor_s=chunk.anchor_s, playlist=playlist, nearby=lambda _: lost[0]
        ).make(lost)

    made = [nothing(stretch, n) for n, stretch in enumerate((chunk.main, *chunk.audio))]
    return ChunkRecord(
        index_number=chunk.index,
        size_bytes=0,
        part=None,
        staging_key=None,
        index=SampleIndex(spans=()).pack(),
        report=_report(chunk, made, {}, _Timings()) | {"bytes_out": 0},
    )


def _report(
    chunk: ChunkSpec, made: Sequence[Made], border: dict[str, Any], timings: "_Timings"
) -> dict[str, Any]:
    return {
        "chunk": chunk.index,
        "segments": [segment.sequence for segment in chunk.main.segments],
        "bytes_in": sum(m.bytes_in for m in made),
        "packets_in": sum(m.packets for m in made),
        "samples_out": sum(len(t.size) for m in made for b in m.bodies for t in b.span.tracks),
        "torn_packets": sum(m.torn for m in made),
        "undecoded_packets": sum(m.undecoded for m in made),
        "lost": [lost for m in made for lost in m.lost],
        "remedies": [remedy for m in made for remedy in m.remedies],
        "dropped_streams": sorted({name for m in made for name in m.dropped}),
        "undecodable_streams": sorted({name for m in made for name in m.undecodable}),
        "border": border,
        "timings_s": {stage: round(spent, 4) for stage, spent in timings.seconds.items()},
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
    return fetch(address.url, byte_range=address.byte_range, limits=limits)


def _decode_border(spans: Sequence[Span], pieces: Sequence[memoryview]) -> dict[str, Any]:
    """Decode the first keyframe of the first fragment, from the bytes that will be uploaded, found
    and described by what its index and its sample entry say."""
    span = next((span for span in spans if any(t.kind == "video" for t in span.tracks)), None)
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
        frame = images.decode_keyframe(entry, sample)
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
