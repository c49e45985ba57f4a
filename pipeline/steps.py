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
from pipeline.jobs import Address, ChunkJob, FillJob, JoinJob, LookJob, Place, PosterJob
from pipeline.load import Loaded, Loader
from pipeline.maker import Made, Maker
from pipeline.media import boxes, images
from pipeline.media.entries import read_forms
from pipeline.media.filler import make_filler
from pipeline.media.holes import Blank
from pipeline.media.interleave import interleave
from pipeline.media.layout import MIN_PART_BYTES
from pipeline.media.limits import DEFAULT_LIMITS, MediaLimits
from pipeline.media.remux import first_look, make_input
from pipeline.media.samples import SampleIndex, Span
from pipeline.media.segments import has_own_init
from pipeline.media.tables import sample_offsets
from pipeline.model import (
    AS_IT_IS,
    PLAIN,
    ChunkRecord,
    ChunkSpec,
    FirstLook,
    Form,
    Output,
    Part,
    Segment,
    Stretch,
)
from pipeline.renditions import Neighbours, Rendered, render
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


def make_fill(job: FillJob, tools: Tools) -> tuple[ChunkRecord, ...]:
    outputs = [place.output for place in job.places]
    with tools.gate:
        made = fill_chunk(job.index, job.blanks, job.form, outputs)
    return tuple(
        _stored(fragments, place, job.limits)
        for fragments, place in zip(made, job.places, strict=True)
    )


def fill_chunk(
    index: int,
    blanks: Sequence[Blank],
    form: Form = PLAIN,
    outputs: Sequence[Output] = (AS_IT_IS,),
) -> "list[Fragments]":
    """Black and silence as a chunk that is stored nowhere yet, for each output. What cannot be made
    is left out: its time stays empty. ``form``: of the main playlist."""
    made = Made.nothing()
    filled: list[int] = []
    for blank in blanks:
        with suppress(MediaInvalid):
            made.bodies.append(make_filler(blank))
            filled.append(blank.hole)
    chunk = ChunkSpec(index=index, anchor_s=0, main=Stretch(segments=(), start_s=0.0, form=form))
    made.filler_packets = sum(len(t.size) for body in made.bodies for t in body.span.tracks)
    nobody = Neighbours(chunk, lambda segment: Loaded(segment=segment))
    rendered = render(chunk, [made], outputs, nobody, DEFAULT_LIMITS)
    return [
        Fragments.of(own, index, {"chunk": index, "border": {}, "lost": [], "filled": filled})
        for own in rendered
    ]


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


def make_chunk(job: ChunkJob, tools: Tools) -> tuple[ChunkRecord, ...]:
    """Download, copy or encode, index, check and upload one chunk, for all outputs."""
    timings = _Timings()
    loader = Loader(job.urls, job.source_limits, tools.threads)
    with timings.of("download"):
        loaded = load_chunk(job.chunk, loader)
    with timings.of("waiting"), tools.gate, timings.of("media"):
        made = make_fragments(
            job.chunk,
            loaded,
            loader,
            [place.output for place in job.places],
            job.media_limits,
            fills_gaps=job.fills_gaps,
        )
    timings.seconds["waiting"] -= timings.seconds["media"]
    with timings.of("upload"):
        storing = partial(_stored, limits=job.store_limits)
        records = tuple(tools.threads.map(storing, made, job.places))
    away = [entry.segment.sequence for own in loaded for entry in own if entry.may_return]
    spent = {stage: round(seconds, 4) for stage, seconds in timings.seconds.items()}
    told = {"unavailable": away, "timings_s": spent}
    first, *others = records
    return (replace(first, report={**first.report, **told}), *others)


def _stored(fragments: "Fragments", place: Place, limits: TransferLimits) -> ChunkRecord:
    """Uploaded as a part if it can be one, else staged, unless nothing is in it."""
    record = fragments.record()
    if place.part_url is not None and record.size_bytes >= MIN_PART_BYTES:
        etag = store(place.part_url, fragments.pieces, limits=limits)
        part = Part(number=place.part_number, etag=etag, size_bytes=record.size_bytes)
        return replace(record, part=part)
    if not record.size_bytes:
        return record
    store(place.staging_url, fragments.pieces, limits=limits)
    return replace(record, staging_key=place.staging_key)


def lost_chunk(chunk: ChunkSpec, reason: str, outputs: Sequence[Output]) -> tuple[ChunkRecord, ...]:
    """The records of a chunk that could not be made at all: all its segments are a gap."""

    def nothing(stretch: Stretch, playlist: int) -> Made:
        lost = [Loaded(segment=segment, problem=reason) for segment in stretch.segments]
        return Maker(
            stretch, anchor_s=chunk.anchor_s, playlist=playlist, nearby=lambda _: lost[0]
        ).make(lost)

    made = [nothing(stretch, n) for n, stretch in enumerate((chunk.main, *chunk.audio))]
    report = {**_report(chunk, made), "border": {}, "unavailable": [], "timings_s": {}}
    return tuple(
        Fragments.of(Rendered(output, []), chunk.index, _short(report) if n else report).record()
        for n, output in enumerate(outputs)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragments:
    """What an output holds of a chunk, stored nowhere yet. ``pieces``: its bytes, and ``spans``
    what is where in them; ``report``: JSON."""

    output: Output
    index: int
    spans: Sequence[Span]
    pieces: Sequence[memoryview]
    report: Mapping[str, Any]

    @classmethod
    def of(cls, rendered: Rendered, index: int, report: Mapping[str, Any]) -> "Fragments":
        spans, pieces = interleave(rendered.playlists)
        samples = _samples(spans)
        fillers = _samples([span for span in spans if span.is_filler])
        counted = {
            "packets_in": rendered.packets - fillers,
            "filler_packets": fillers,
            "samples_out": samples,
            "undecoded_pictures": rendered.undecoded,
            "bytes_out": sum(map(len, pieces)),
        }
        return cls(
            output=rendered.output,
            index=index,
            spans=spans,
            pieces=pieces,
            report={**report, **counted},
        )

    def record(self) -> ChunkRecord:
        """For the ledger, its bytes nowhere."""
        return ChunkRecord(
            index_number=self.index,
            size_bytes=sum(map(len, self.pieces)),
            part=None,
            staging_key=None,
            index=SampleIndex(spans=tuple(self.spans)).pack(),
            report=self.report,
            rendition=self.output.rendition,
        )


def _samples(spans: Sequence[Span]) -> int:
    return sum(len(track.size) for span in spans for track in span.tracks)


def load_chunk(chunk: ChunkSpec, loader: Loader) -> list[list[Loaded]]:
    """The segments of each of its playlists."""
    return [loader.load(stretch.segments) for stretch in (chunk.main, *chunk.audio)]


def make_fragments(
    chunk: ChunkSpec,
    loaded: Sequence[Sequence[Loaded]],
    loader: Loader,
    outputs: Sequence[Output] = (AS_IT_IS,),
    limits: MediaLimits = DEFAULT_LIMITS,
    *,
    fills_gaps: bool = False,
) -> list[Fragments]:
    """For each output; the first one's report tells of the source. ``loaded``: as ``load_chunk``
    returns them; ``loader`` reads what is needed besides. Raises ``EncoderMissing``."""

    def read(segment: Segment) -> Loaded:
        return loader.load([segment])[0]

    made = [
        Maker(stretch, anchor_s=chunk.anchor_s, playlist=playlist, nearby=read, limits=limits).make(
            own
        )
        for playlist, (stretch, own) in enumerate(
            zip((chunk.main, *chunk.audio), loaded, strict=True)
        )
    ]
    if fills_gaps:
        fill_inside(made, is_first=chunk.index == 0)
    rendered = render(chunk, made, outputs, Neighbours(chunk, read, limits), limits)
    made[0].lost += rendered[0].problems
    report = _report(chunk, made)
    fragments = []
    for n, own in enumerate(rendered):
        whole = Fragments.of(own, chunk.index, _short(report) if n else report)
        border = _decode_border(whole.spans, whole.pieces, limits)
        fragments.append(replace(whole, report={**whole.report, "border": border}))
    return fragments


def _report(chunk: ChunkSpec, made: Sequence[Made]) -> dict[str, Any]:
    return {
        "chunk": chunk.index,
        "segments": [segment.sequence for segment in chunk.main.segments],
        "bytes_in": sum(m.bytes_in for m in made),
        "torn_packets": sum(m.torn for m in made),
        "undecoded_packets": sum(m.undecoded for m in made),
        "lost": [lost for m in made for lost in m.lost],
        "remedies": [remedy for m in made for remedy in m.remedies],
        "dropped_streams": sorted({name for m in made for name in m.dropped}),
        "undecodable_streams": sorted({name for m in made for name in m.undecodable}),
    }


def _short(report: Mapping[str, Any]) -> dict[str, Any]:
    """Of another output than the first, which tells of the source for all."""
    return {"chunk": report["chunk"], "border": {}}


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
