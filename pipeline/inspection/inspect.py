"""What a support engineer asks of a stream: what is in it, what is wrong with it, what becomes of
it. One JSON document, described in docs/inspect.md; all that ``vodray inspect`` prints is in it.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from pipeline.assemble import describe_tracks, sum_up_remedies
from pipeline.gaps import describe_gap
from pipeline.inspection.dry_run import ChunkSeen, DryRun, OnProgress, SegmentSeen, dry_run
from pipeline.inspection.listing import describe_choice, describe_playlists
from pipeline.inspection.timing import describe_timeline, wrong_extinf
from pipeline.settings import Settings
from pipeline.source import Presentation, Source, open_presentation
from pipeline.uris import shown_uri

SCHEMA = 1

Report = dict[str, Any]
_Place = tuple[int, int]


class Outcome(StrEnum):
    """What a recording of the stream would be."""

    COMPLETED = "completed"
    WITH_GAPS = "completed_with_gaps"
    FAILED = "failed"


def inspect(source: Source, settings: Settings, on_progress: OnProgress) -> Report:
    """Read everything once. Raises ``SourceError`` for what is no playlist that can be read."""
    run = dry_run(open_presentation(source), settings, on_progress)
    records = [chunk.record for chunk in run.chunks]
    return {
        "schema": SCHEMA,
        "source": shown_uri(source.ref),
        "verdict": _verdict(run),
        "master": describe_choice(run.presentation.choice, run),
        "playlists": describe_playlists(run),
        "dropped_streams": sorted({d for r in records for d in r.report["dropped_streams"]}),
        "undecodable_streams": sorted(
            {d for r in records for d in r.report["undecodable_streams"]}
        ),
        "timeline": describe_timeline(run),
        "gaps": [describe_gap(gap) for gap in run.assembly.gaps] if run.assembly else [],
        "remedies": sum_up_remedies(records),
        "chunks": [_describe_chunk(chunk) for chunk in run.chunks],
        "result": _describe_result(run),
        "segments": _describe_segments(run),
    }


def _verdict(run: DryRun) -> Report:
    gaps = run.assembly.gaps if run.assembly else ()
    outcome = Outcome.WITH_GAPS if gaps else Outcome.COMPLETED
    return {
        "outcome": str(Outcome.FAILED if run.problem else outcome),
        "reason": run.problem or None,
        "gaps": len(gaps),
        "missing_s": round(sum((gap.duration_s for gap in gaps), 0.0), 6),
        "filled_s": round(run.assembly.filled_s, 6) if run.assembly else 0.0,
    }


def _describe_result(run: DryRun) -> Report | None:
    if run.assembly is None:
        return None
    return {
        "duration_s": round(run.assembly.duration_s, 6),
        "size_bytes": run.assembly.size_bytes,
        "tracks": describe_tracks(run.assembly),
        "checks": run.checks,
    }


def _describe_chunk(chunk: ChunkSeen) -> Report:
    report = chunk.record.report
    return {
        "chunk": chunk.spec.index,
        "segments": report["segments"],
        "sound_segments": [[s.sequence for s in own.segments] for own in chunk.spec.audio],
        "start_s": round(chunk.spec.main.start_s, 6),
        "duration_s": round(chunk.spec.main.duration_s, 6),
        "bytes_in": report["bytes_in"],
        "bytes_out": report["bytes_out"],
        "packets": report["packets_in"],
        "segments_lost": len(report["lost"]),
        "first_keyframe_decodes": report["border"].get("decoded"),
    }


def _describe_segments(run: DryRun) -> list[Report]:
    seen = [entry for chunk in run.chunks for entry in chunk.segments]
    written = _written_uris(run.presentation)
    reports = [chunk.record.report for chunk in run.chunks]
    lost = {(e["playlist"], e["sequence"]): e for r in reports for e in r["lost"]}
    remedies: dict[_Place, list[str]] = {}
    for report in reports:
        for noted in report["remedies"]:
            for sequence in noted["segments"]:
                remedies.setdefault((noted["playlist"], sequence), []).append(noted["remedy"])
    wrong = wrong_extinf(seen)
    return [
        _describe_segment(
            entry,
            written.get((entry.playlist, entry.segment.sequence), ""),
            lost.get((entry.playlist, entry.segment.sequence)),
            remedies.get((entry.playlist, entry.segment.sequence), ()),
            wrong.get((entry.playlist, entry.segment.sequence)),
        )
        for entry in sorted(seen, key=lambda entry: entry.playlist)
    ]


def _written_uris(presentation: Presentation) -> Mapping[_Place, str]:
    listed = [presentation.playlist, *(sound.playlist for sound in presentation.sounds)]
    return {
        (number, segment.sequence): shown_uri(segment.uri)
        for number, playlist in enumerate(listed)
        for segment in (playlist.segments if playlist else ())
    }


def _describe_segment(
    entry: SegmentSeen,
    uri: str,
    lost: Report | None,
    remedies: Sequence[str],
    wrong: tuple[float, float] | None,
) -> Report:
    segment, main = entry.segment, entry.streams[0] if entry.streams else None
    problem = lost["reason"] if lost else entry.problem
    problems = [problem] if problem else []
    if entry.unreadable and not problems:
        problems.append(f"by itself: {entry.unreadable}")
    if main is not None and main.form.kind == "video" and not main.starts_with_key:
        problems.append("does not begin with a keyframe")
    if wrong is not None:
        problems.append(f"EXTINF says {wrong[0]:.3f} s, it holds {wrong[1]:.3f} s")
    return {
        "playlist": entry.playlist,
        "sequence": segment.sequence,
        "uri": uri,
        "bytes": entry.size_bytes,
        "container": entry.kind.name if entry.kind else None,
        "claimed_s": segment.duration_s,
        "real_s": round(main.length_s, 6) if main else None,
        "clock_s": round(main.clock_s, 6) if main else None,
        "starts_with_keyframe": main.starts_with_key if main else None,
        "program_date_time": segment.program_date_time and segment.program_date_time.isoformat(),
        "discontinuity": segment.discontinuity,
        "encrypted": segment.key is not None,
        "problems": problems,
        "action": "kept" if lost is None else "left out" if lost["is_whole"] else "kept in part",
        "remedies": list(dict.fromkeys(remedies)),
    }
