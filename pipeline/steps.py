"""The verbs that workers carry out: each takes a job, does its I/O and media work, answers.

A chunk's bytes never leave the worker but for the object store. One bad segment costs itself:
what cannot be read is left out and named in the chunk's report.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
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
from pipeline.jobs import (
    Address,
    ChunkJob,
    FillJob,
    JoinJob,
    LookJob,
    Place,
    PosterJob,
    SheetJob,
    StripTiles,
)
from pipeline.keyframes import Decoder
from pipeline.load import Loaded, Loader
from pipeline.maker import Made, Maker
from pipeline.media import boxes, images
from pipeline.media.filler import make_filler
from pipeline.media.holes import Blank
from pipeline.media.interleave import interleave
from pipeline.media.layout import MIN_PART_BYTES
from pipeline.media.limits import DEFAULT_LIMITS, MediaLimits
from pipeline.media.remux import first_look, make_input
from pipeline.media.samples import SampleIndex, Span
from pipeline.media.segments import has_own_init
from pipeline.media.tiles import draw_sheet
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
from pipeline.neighbours import Neighbours
from pipeline.renditions import Rendered, render
from pipeline.stages import counted, stage
from pipeline.strip import Strip, draw_strip
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


def make_sheet(job: SheetJob, tools: Tools) -> int:
    def read(strip: StripTiles) -> list[tuple[int, int, bytes]]:
        data = _fetch(Address(url=strip.url), job.limits)
        return [
            (place % job.columns, place // job.columns, data[at.offset : at.offset + at.length])
            for place, at in strip.places
        ]

    tiles = chain.from_iterable(tools.threads.map(read, job.strips))
    with tools.gate:
        sheet = draw_sheet(tiles, job.columns, job.rows, job.size)
    store(job.sheet_url, sheet, limits=job.limits)
    return len(sheet)


def make_chunk(job: ChunkJob, tools: Tools) -> tuple[ChunkRecord, ...]:
    """Download, copy or encode, index, check and upload one chunk, for all outputs."""
    loader = Loader(job.urls, job.source_limits, tools.threads)
    with counted() as stages:
        with stage("download"):
            loaded = load_chunk(job.chunk, loader)
        with stage("waiting"), tools.gate:
            # What belongs to no stage of its own is reading what has come out.
            with stage("index"):
                made = make_fragments(
                    job.chunk,
                    loaded,
                    loader,
                    [place.output for place in job.places],
                    job.media_limits,
                    fills_gaps=job.fills_gaps,
                )
            with stage("tiles"):
                strip = _draw_strip(job.chunk, made[0])
        with stage("upload"):
            storing = partial(_stored, limits=job.store_limits)
            records = tuple(tools.threads.map(storing, made, job.places))
            tiles = _store_strip(strip, job)
    away = [entry.segment.sequence for own in loaded for entry in own if entry.may_return]
    spent = {name: round(seconds, 4) for name, seconds in stages.seconds.items()}
    told = {"unavailable": away, "tiles": tiles, "timings_s": spent}
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


def _draw_strip(chunk: ChunkSpec, fragments: "Fragments") -> Strip:
    try:
        return draw_strip(chunk, fragments.spans, fragments.decoder)
    except Exception as error:  # noqa: BLE001 - whatever it is, no chunk is lost for its tiles
        return Strip(left_out=[f"internal error: {type(error).__name__}: {error}"])


def _store_strip(strip: Strip, job: ChunkJob) -> dict[str, Any]:
    """For the report. A strip that cannot be stored costs its tiles."""
    if strip.made:
        try:
            store(job.strip_url, strip.data, limits=job.store_limits)
        except StoreError as error:
            strip = Strip(left_out=[*strip.left_out, error.message])
    return strip.describe(job.chunk)


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
    what is where in them; ``decoder``: of its keyframes; ``report``: JSON."""

    output: Output
    index: int
    spans: Sequence[Span]
    pieces: Sequence[memoryview]
    decoder: Decoder
    report: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        rendered: Rendered,
        index: int,
        report: Mapping[str, Any],
        limits: MediaLimits = DEFAULT_LIMITS,
    ) -> "Fragments":
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
            decoder=Decoder(pieces, limits),
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

    here = {entry.segment: entry for own in loaded for entry in own}

    def read(segment: Segment) -> Loaded:
        with stage("download"):
            return here.get(segment) or loader.load([segment])[0]

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
        whole = Fragments.of(own, chunk.index, _short(report) if n else report, limits)
        border = whole.decoder.decode_border(whole.spans)
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
