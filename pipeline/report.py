"""What a recording's report says, as JSON: what came in, what went out, what is missing, how long
it took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from pipeline.assemble import Assembly, Chunks, describe_tracks, sum_up_remedies
from pipeline.gaps import describe_gap
from pipeline.media.encoders import BUFFER_AT_JOINS
from pipeline.media.stitch import merge_pictures
from pipeline.media.vbv import buffer_use
from pipeline.model import ChunkRecord, EncodedPictures


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeOutput:
    """One output as it is made, and what was checked of it (``assemble.check``)."""

    rendition: str
    key: str
    pictures: EncodedPictures | None
    assembly: Assembly
    chunks: Chunks
    checks: dict[str, Any]


def build_report(outputs: Sequence[MadeOutput]) -> dict[str, Any]:
    """``outputs``: the main one, whose chunks tell of the source, first."""
    main = outputs[0]
    places = _places(main.assembly)
    assembly, checks, records = main.assembly, main.checks, main.chunks.records
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
        "chunks": [_chunk(record, assembly, places) for record in records],
        "renditions": [_rendition(output) for output in outputs],
        # Of each chunk that is not empty, in the object of each rendition: to go on from.
        "offsets": {o.rendition: dict(o.assembly.object_offset) for o in outputs},
        "timings_s": {"in_workers": _stages(records)},
    }


def _chunk(
    record: ChunkRecord, assembly: Assembly, places: Mapping[int, tuple[float, float]]
) -> dict[str, Any]:
    told = {name: value for name, value in record.report.items() if name != "tiles"}
    if (place := places.get(record.index_number)) is not None:
        told["start_s"], told["media_s"] = place
    if record.size_bytes:
        told["offset"] = assembly.object_offset[record.index_number]
    return told


def _places(assembly: Assembly) -> dict[int, tuple[float, float]]:
    """By chunk that is not empty: where it begins on the recording's timeline, how long it is."""
    ends: dict[int, tuple[float, float]] = {}
    for p in assembly.placed:
        start_s, end_s = ends.get(p.chunk, (inf, -inf))
        ends[p.chunk] = min(start_s, p.start_s()), max(end_s, p.end_s())
    begin_s = min((start_s for start_s, _ in ends.values()), default=0.0)
    return {
        chunk: (round(start_s - begin_s, 3), round(end_s - start_s, 3))
        for chunk, (start_s, end_s) in ends.items()
    }


def _rendition(output: MadeOutput) -> dict[str, Any]:
    records = output.chunks.records
    return {
        "name": output.rendition,
        "key": output.key,
        "checks": output.checks,
        "tracks": describe_tracks(output.assembly),
        "buffer": _buffer(output),
        "undecoded_pictures": sum(r.report.get("undecoded_pictures", 0) for r in records),
    }


def _buffer(output: MadeOutput) -> dict[str, Any] | None:
    """A decoder's buffer over the whole of it, where the profile limits the rate."""
    spec = output.pictures
    if spec is None or not spec.max_rate:
        return None
    video = merge_pictures(output.assembly.placed)
    if video is None:
        return None
    use = buffer_use(
        video.size,
        video.dts,
        video.form.timescale,
        max_rate=spec.max_rate,
        buffer_size=spec.buffer_size,
        begin=BUFFER_AT_JOINS,
    )
    return {
        "max_rate": spec.max_rate,
        "size": spec.buffer_size,
        "lowest": round(use.lowest, 3),
        "holds": use.lowest >= 0,
    }


def _stages(records: Sequence[ChunkRecord]) -> dict[str, float]:
    """Seconds by stage, of all workers."""
    stages: dict[str, float] = {}
    for record in records:
        for stage, spent in record.report["timings_s"].items():
            stages[stage] = round(stages.get(stage, 0.0) + spent, 3)
    return stages
