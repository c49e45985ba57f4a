"""What the source's clocks do, as JSON: where they jump, pause and go round, where EXTINF is wrong,
how far sound is from pictures. See docs/inspect.md.

Jumps are those that the recording's timeline closes up; the rest is told from segments read alone.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.inspection.dry_run import DryRun, SegmentSeen
from pipeline.media.stitch import Track
from pipeline.media.timeline import LaneKey, PlacedSpan, lanes

Report = dict[str, Any]

_ROUNDED_S = 0.5


def describe_timeline(run: DryRun) -> Report:
    seen = [segment for chunk in run.chunks for segment in chunk.segments]
    placed = run.assembly.placed if run.assembly else ()
    lost = {
        (entry["playlist"], entry["sequence"] + 1)
        for chunk in run.chunks
        for entry in chunk.record.report["lost"]
    }
    events = list(_placed_events(placed, seen, lost))
    closed = {(event["playlist"], event["segment"]) for event in events if event["is_jump"]}
    for number in sorted({entry.playlist for entry in seen}):
        own = [entry for entry in seen if entry.playlist == number]
        events += _clock_events(own, closed)
    events.sort(key=lambda event: (event["playlist"], event["segment"]))
    for event in events:
        del event["is_jump"]
    return {
        "duration_s": round(run.assembly.duration_s, 6) if run.assembly else None,
        "events": events,
        "extinf": _describe_extinf(seen),
        "sound": _describe_offsets(run, seen),
    }


def wrong_extinf(seen: Sequence[SegmentSeen]) -> dict[tuple[int, int], tuple[float, float]]:
    """``(playlist, sequence) -> (claimed, real)`` in seconds, where they are more than a frame
    apart; where all claims are whole numbers, also more than rounding."""
    is_rounded = all(entry.segment.duration_s % 1 == 0 for entry in seen)
    found = {}
    for entry in seen:
        if entry.streams:
            claimed, main = entry.segment.duration_s, entry.streams[0]
            allowed = main.step_s * 1.01 + (_ROUNDED_S if is_rounded else 0.0)
            if abs(main.length_s - claimed) > allowed:
                key = (entry.playlist, entry.segment.sequence)
                found[key] = (claimed, round(main.length_s, 6))
    return found


def _describe_extinf(seen: Sequence[SegmentSeen]) -> Report:
    wrong = wrong_extinf(seen)
    worst = max(wrong, key=lambda key: abs(wrong[key][0] - wrong[key][1]), default=None)
    if worst is None:
        return {"wrong": 0, "worst": None}
    claimed, real = wrong[worst]
    return {
        "wrong": len(wrong),
        "worst": {"playlist": worst[0], "segment": worst[1], "claimed_s": claimed, "real_s": real},
    }


def _event(
    kind: str, playlist: int, segment: int, seconds: float, at_s: float | None, **more: object
) -> Report:
    return {
        "kind": kind,
        "playlist": playlist,
        "segment": segment,
        "seconds": round(seconds, 6),
        "at_s": None if at_s is None else round(at_s, 6),
        "marked": False,
        "after_loss": False,
        "is_jump": False,
        **more,
    }


def _placed_events(
    shown: Sequence[PlacedSpan], seen: Sequence[SegmentSeen], behind_lost: set[tuple[int, int]]
) -> Iterator[Report]:
    marked = {(e.playlist, e.segment.sequence) for e in seen if e.segment.discontinuity}
    begin_s = min((p.start_s() for p in shown), default=0.0)
    inits: dict[int, bytes] = {}
    for p in shown:
        if p.span.is_filler:
            continue
        place = (p.span.playlist, p.span.sequence)
        at_s, is_marked = p.start_s() - begin_s, place in marked
        if p.jump_s:
            kind = "jump" if p.jump_s > 0 else "reset"
            after_loss = place in behind_lost
            more = {"marked": is_marked, "after_loss": after_loss, "is_jump": True}
            yield _event(kind, *place, p.jump_s, at_s, **more)
        if inits.get(p.span.playlist, p.span.init) != p.span.init:
            yield _event("form", *place, 0.0, at_s, marked=is_marked)
        inits[p.span.playlist] = p.span.init


def _clock_events(seen: Sequence[SegmentSeen], closed: set[tuple[int, int]]) -> Iterator[Report]:
    """Of one playlist: pauses, overlaps, and clocks that go round."""
    before: SegmentSeen | None = None
    for entry in seen:
        place = (entry.playlist, entry.segment.sequence)
        if not entry.streams:
            before = None if entry.problem else before
            continue
        main = entry.streams[0]
        turns = [main.turn[0], main.turn[1]]
        if before is not None:
            last = before.streams[0]
            turns = [last.turn[1], *turns]
            step_s = main.begin_s - last.end_s
            is_steady = abs(step_s) <= 1.5 * max(last.step_s, main.step_s)
            if place not in closed and not entry.segment.discontinuity and not is_steady:
                kind = "pause" if step_s > 0 else "overlap"
                yield _event(kind, *place, step_s, None)
        if len(set(turns)) > 1 and place not in closed:
            yield _event("wrap", *place, 0.0, None)
        before = entry


def _describe_offsets(run: DryRun, seen: Sequence[SegmentSeen]) -> list[Report]:
    """Of each track of sound from the first one of pictures."""
    if run.assembly is None:
        return []
    keys = sorted({key for p in run.assembly.placed for key in lanes(p.span)})
    tracks = list(zip(keys, run.assembly.tracks, strict=True))
    pictures = next((track for key, track in tracks if not key.is_sound), None)
    if pictures is None:
        return []
    return [_describe_offset(key, track, pictures, seen) for key, track in tracks if key.is_sound]


def _describe_offset(
    key: LaneKey, sound: Track, pictures: Track, seen: Sequence[SegmentSeen]
) -> Report:
    begin_s = _seconds(sound.first_pts, sound) - _seconds(pictures.first_pts, pictures)
    end_s = _seconds(sound.end_pts, sound) - _seconds(pictures.end_pts, pictures)
    apart = [] if key.playlist else list(_apart(key.number, seen))
    return {
        "playlist": key.playlist,
        "track": key.number,
        "begins_later_s": round(begin_s, 6),
        "ends_later_s": round(end_s, 6),
        "drift_s": round(end_s - begin_s, 6),
        "per_segment_min_s": round(min(apart), 6) if apart else None,
        "per_segment_max_s": round(max(apart), 6) if apart else None,
    }


def _apart(number: int, seen: Sequence[SegmentSeen]) -> Iterator[float]:
    """Per segment with both: how much later than its pictures its sound begins."""
    for entry in seen:
        if entry.playlist == 0 and entry.streams and entry.streams[0].form.kind == "video":
            sounds = [s for s in entry.streams if s.form.kind == "audio"]
            if number < len(sounds):
                yield sounds[number].begin_s - entry.streams[0].begin_s


def _seconds(ticks: int, track: Track) -> float:
    return ticks / track.form.timescale
