"""Source playlists as typed values (RFC 8216): repaired, parsed by ``m3u8``, checked.

Decides what a playlist says; never fetches, never resolves addresses (``pipeline.source``).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import m3u8

from pipeline.errors import PlaylistInvalid
from pipeline.media.master import AudioRendition, MasterPlaylist, Variant, master_playlist
from pipeline.media.playlist_repair import repair
from pipeline.media.playlist_tags import Cipher, Init, Tags, parse_range
from pipeline.media.playlist_text import (
    MAX_PLAYLIST_BYTES,
    MAX_SEGMENTS,
    PlaylistLimits,
    read_lines,
)
from pipeline.model import ByteRange, Segment, SegmentKey

__all__ = [
    "MAX_PLAYLIST_BYTES",
    "MAX_SEGMENTS",
    "AudioRendition",
    "MasterPlaylist",
    "MediaPlaylist",
    "PlaylistLimits",
    "Variant",
    "dated",
    "parse",
    "repeats",
]
_DEFAULTS = PlaylistLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPlaylist:
    """One state of a Media Playlist; URIs as written. ``ended``: EXT-X-ENDLIST is there."""

    segments: tuple[Segment, ...]
    target_duration_s: float
    ended: bool


def parse(
    data: bytes, ref: str, limits: PlaylistLimits = _DEFAULTS
) -> MediaPlaylist | MasterPlaylist:
    """Parse a playlist. ``ref`` and the line are named in what it raises: ``PlaylistInvalid``
    for what is none or cannot be meant, ``Unsupported``."""
    repaired = repair(read_lines(data, ref, limits), ref, limits)
    try:
        found: Any = m3u8.parse(repaired.text, custom_tags_parser=Tags(repaired.values))
    except Exception as error:  # None is known, but m3u8 raises what its casts raise.
        raise PlaylistInvalid(f"{ref} is no valid playlist: {error}") from error
    for listed in (*found["segments"], *found["playlists"]):
        if "uri" in listed:
            listed["uri"] = repaired.values[int(listed["uri"])]
    names_others = found["media"] or found["iframe_playlists"]
    is_empty = not found["segments"] and "targetduration" not in found
    if found["is_variant"] or (names_others and is_empty):
        return master_playlist(found, ref)
    return _media(found)


def _media(found: Mapping[str, Any]) -> MediaPlaylist:
    # m3u8 makes a segment of the tags behind the last address.
    listed = [segment for segment in found["segments"] if "uri" in segment]
    longest_s = max((segment["duration"] for segment in listed), default=0.0)
    target_s = float(found.get("targetduration") or longest_s)
    segments: list[Segment] = []
    ranges = _Ranges()
    era = int(found.get("discontinuity_sequence") or 0)
    for sequence, one in enumerate(listed, found["media_sequence"]):
        era += bool(one["discontinuity"])
        segment = replace(_segment(one, sequence, target_s, ranges), era=era)
        if not (segments and repeats(segments[-1], segment)):
            segments.append(segment)
    return MediaPlaylist(
        segments=tuple(dated(segments)),
        ended=found["is_endlist"],
        target_duration_s=target_s,
    )


def _segment(
    found: Mapping[str, Any], sequence: int, target_s: float, ranges: "_Ranges"
) -> Segment:
    cipher: Cipher | None = found.get("key")
    init: Init = found.get("init_section", Init())
    byte_range, problem = ranges.next(found["uri"], found.get("byterange"), init)
    problem = (cipher.problem if cipher else "") or init.problem or problem
    is_marked = bool(found["gap_tag"])
    return Segment(
        sequence=sequence,
        uri=found["uri"],
        duration_s=found["duration"] or target_s,
        discontinuity=found["discontinuity"],
        byte_range=byte_range,
        init=init.section,
        key=_key(cipher, sequence),
        is_gap=is_marked or bool(problem),
        gap_reason="" if is_marked else problem,
        program_date_time=found.get("program_date_time"),
    )


def _key(cipher: Cipher | None, sequence: int) -> SegmentKey | None:
    """Without an IV it is the media sequence number (RFC 8216 5.2)."""
    if cipher is None or cipher.problem:
        return None
    return SegmentKey(uri=cipher.uri, iv=cipher.iv or f"{sequence:032x}")


class _Ranges:
    """Where the last byte range of each resource ended; None where that cannot be known."""

    def __init__(self) -> None:
        self._ends: dict[str, int | None] = {}

    def next(self, uri: str, written: str | None, init: Init) -> tuple[ByteRange | None, str]:
        """The range of the next segment, or what is wrong with it."""
        if written is None:
            return None, ""
        section = init.section
        if section is not None and section.byte_range is not None:
            self._ends.setdefault(section.uri, _end(section.byte_range))
        found = parse_range(written, self._ends.get(uri, 0))
        self._ends[uri] = _end(found) if found is not None else None
        return found, "" if found is not None else f"{written!r} is no byte range"


def _end(byte_range: ByteRange) -> int:
    return byte_range.offset + byte_range.length


def repeats(before: Segment, segment: Segment) -> bool:
    """A line that was written twice: the same bytes at once again, as the same piece of source.

    Pieces that are missing may well share one address.
    """
    same = (before.uri, before.byte_range) == (segment.uri, segment.byte_range)
    return same and not segment.discontinuity and not segment.is_gap


def dated(segments: Sequence[Segment]) -> Iterable[Segment]:
    """Dates hold on, and back, to the next discontinuity (RFC 8216 4.3.2.6, 6.3.3)."""
    dates = [segment.program_date_time for segment in segments]
    for at in range(1, len(segments)):
        if dates[at] is None and not segments[at].discontinuity:
            dates[at] = _moved(dates[at - 1], segments[at - 1].duration_s)
    for at in range(len(segments) - 2, -1, -1):
        if dates[at] is None and not segments[at + 1].discontinuity:
            dates[at] = _moved(dates[at + 1], -segments[at].duration_s)
    for segment, date in zip(segments, dates, strict=True):
        undated = segment.program_date_time is None and date is not None
        yield replace(segment, program_date_time=date) if undated else segment


def _moved(moment: datetime | None, seconds: float) -> datetime | None:
    try:
        return moment + timedelta(seconds=seconds) if moment is not None else None
    except OverflowError:
        return None
