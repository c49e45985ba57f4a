"""What the playlists say, and what their segments turned out to be, as JSON: docs/inspect.md."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from statistics import median
from typing import Any

from pipeline.inspection.dry_run import DryRun, SegmentSeen
from pipeline.media.master import AudioRendition, Variant
from pipeline.media.playlist import MediaPlaylist
from pipeline.media.probe import StreamForm, StreamSeen
from pipeline.model import Segment
from pipeline.source import Choice, Source
from pipeline.uris import shown_uri

Report = dict[str, Any]


def describe_choice(choice: Choice | None, run: DryRun) -> Report | None:
    """What the Master Playlist names; None without one."""
    if choice is None:
        return None
    reasons = {id(variant): reason for variant, reason in choice.passed_over}
    kept = {audio.uri for audio in choice.master.audio_of(choice.variant)}
    return {
        "why": _why(choice),
        "variants": [
            _describe_variant(variant, variant is choice.variant, reasons.get(id(variant)))
            for variant in choice.master.ranked()
        ],
        "sounds": [
            _describe_sound(sound, choice.variant, sound.uri in kept)
            for sound in choice.master.audios
        ],
        "dropped": list(run.presentation.dropped),
    }


def _why(choice: Choice) -> str:
    if len(choice.master.variants) == 1:
        return "the only variant"
    if choice.passed_over:
        return "the best that can be read"
    return "the highest picture, then the highest bandwidth"


def _describe_variant(variant: Variant, is_chosen: bool, problem: str | None) -> Report:
    return {
        "uri": shown_uri(variant.uri),
        "bandwidth": variant.bandwidth,
        "width": variant.width,
        "height": variant.height,
        "codecs": variant.codecs,
        "chosen": is_chosen,
        "problem": problem,
    }


def _describe_sound(sound: AudioRendition, variant: Variant, is_kept: bool) -> Report:
    return {
        "uri": shown_uri(sound.uri) if sound.uri else None,
        "group": sound.group,
        "name": sound.name,
        "language": sound.language,
        "channels": sound.channels,
        "default": sound.is_default,
        "kept": is_kept and sound.group == variant.audio_group,
    }


def describe_playlists(run: DryRun) -> list[Report]:
    """The one with the pictures first, then those of sound alone."""
    seen = [segment for chunk in run.chunks for segment in chunk.segments]
    main = run.presentation
    found = [_describe_playlist(0, main.source, main.playlist, seen) | {"name": "", "language": ""}]
    for number, sound in enumerate(main.sounds, 1):
        shift_s = run.sounds[number - 1].shift_s if run.sounds else 0.0
        described = _describe_playlist(number, sound.source, sound.playlist, seen)
        named = {"name": sound.sound.name, "language": sound.sound.language}
        found.append(described | named | {"clock_shift_s": shift_s, "problem": sound.problem})
    return found


def _describe_playlist(
    number: int, source: Source, playlist: MediaPlaylist | None, all_seen: Iterable[SegmentSeen]
) -> Report:
    seen = [entry for entry in all_seen if entry.playlist == number]
    segments = playlist.segments if playlist else ()
    return {
        "playlist": number,
        "ref": shown_uri(source.ref),
        "ended": playlist.ended if playlist else None,
        "target_duration_s": playlist.target_duration_s if playlist else None,
        "duration_s": round(sum(segment.duration_s for segment in segments), 6),
        "segments": _describe_segments(segments, seen),
        "program_date_time": _date_range(segments),
        "discontinuities": sum(segment.discontinuity for segment in segments),
        "init_sections": len({segment.init for segment in segments if segment.init}),
        "encryption": _describe_encryption(segments),
        "containers": dict(Counter(entry.kind.name for entry in seen if entry.kind)),
        "streams": _describe_streams(seen),
    }


def _describe_segments(segments: Sequence[Segment], seen: Sequence[SegmentSeen]) -> Report:
    lengths = [segment.duration_s for segment in segments]
    return {
        "count": len(segments),
        "first": segments[0].sequence if segments else None,
        "last": segments[-1].sequence if segments else None,
        "bytes": sum(entry.size_bytes for entry in seen),
        "min_s": min(lengths, default=None),
        "median_s": round(median(lengths), 6) if lengths else None,
        "max_s": max(lengths, default=None),
    }


def _date_range(segments: Sequence[Segment]) -> Report | None:
    dated = [segment for segment in segments if segment.program_date_time is not None]
    if not dated:
        return None
    first, last = dated[0].program_date_time, dated[-1].program_date_time
    assert first is not None
    assert last is not None
    try:
        end = last + timedelta(seconds=dated[-1].duration_s)
    except OverflowError:
        end = last
    return {"from": first.isoformat(), "to": end.isoformat()}


def _describe_encryption(segments: Sequence[Segment]) -> Report:
    locked = [(segment, segment.key) for segment in segments if segment.key is not None]
    # Without an IV of its own a segment has its number (RFC 8216 5.2).
    numbered = sum(key.iv == f"{segment.sequence:032x}" for segment, key in locked)
    ivs = [("sequence", numbered), ("explicit", len(locked) - numbered)]
    return {
        "method": "AES-128" if locked else None,
        "segments": len(locked),
        "keys": len({key.uri for _, key in locked}),
        "iv": [kind for kind, count in ivs if count],
        "init_encrypted": any(s.init.key is not None for s in segments if s.init is not None),
        # What cannot be decrypted is a gap, and its reason names the method.
        "unsupported": sorted({s.gap_reason for s in segments if "encrypted" in s.gap_reason}),
    }


def _describe_streams(seen: Sequence[SegmentSeen]) -> list[Report]:
    """Each form that pictures and sounds have, and from which segment on it is seen first."""
    forms: dict[StreamForm, list[tuple[int, StreamSeen]]] = {}
    for entry in seen:
        for stream in entry.streams:
            forms.setdefault(stream.form, []).append((entry.segment.sequence, stream))
    return [_describe_form(form, found) for form, found in forms.items()]


def _describe_form(form: StreamForm, found: Sequence[tuple[int, StreamSeen]]) -> Report:
    length_s = sum(stream.length_s for _, stream in found)
    packets = sum(stream.packets for _, stream in found)
    described: Report = {
        "kind": form.kind,
        "codec": form.codec,
        "profile": form.profile,
        "packets": packets,
        "first_segment": found[0][0],
        "segments": len({sequence for sequence, _ in found}),
    }
    if form.kind == "video":
        rate = round(packets / length_s, 3) if length_s > 0 else None
        return described | {"width": form.width, "height": form.height, "frame_rate": rate}
    return described | {"sample_rate": form.sample_rate, "channels": form.channels}
