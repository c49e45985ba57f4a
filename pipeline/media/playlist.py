"""Source playlists as typed values: parsed by ``m3u8``, checked and completed on top (RFC 8216).

Decides what a playlist says; never fetches, never resolves addresses (``pipeline.source``).
"""

import re
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any

import m3u8

from pipeline.errors import PlaylistInvalid, Unsupported
from pipeline.media.master import AudioRendition, MasterPlaylist, Variant, master_playlist
from pipeline.model import ByteRange, InitSection, Segment

MAX_PLAYLIST_BYTES = 16 * 2**20
MAX_SEGMENTS = 200_000
MAX_SEGMENT_S = 24 * 3600.0
__all__ = [
    "AudioRendition",
    "MasterPlaylist",
    "MediaPlaylist",
    "PlaylistLimits",
    "Variant",
    "parse",
]
_DECIMAL_TARGET = re.compile(r"^(#EXT-X-TARGETDURATION:)\s*(\d{1,9}\.\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaylistLimits:
    """What a playlist may ask of us; above it, it is refused."""

    max_bytes: int = MAX_PLAYLIST_BYTES
    max_segments: int = MAX_SEGMENTS
    max_segment_s: float = MAX_SEGMENT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPlaylist:
    """One state of a Media Playlist; URIs as written. ``ended``: EXT-X-ENDLIST is there."""

    segments: tuple[Segment, ...]
    target_duration_s: float
    ended: bool


def parse(
    data: bytes, ref: str, limits: PlaylistLimits = PlaylistLimits()
) -> MediaPlaylist | MasterPlaylist:
    """Parse a playlist. Raises ``PlaylistInvalid`` naming ``ref`` and the line."""
    text = _decode(data, ref, limits.max_bytes)
    try:
        playlist: Any = m3u8.M3U8(text)
    except Exception as error:  # m3u8 raises whatever its int() and float() calls raise.
        raise PlaylistInvalid(f"{ref} is no valid playlist: {error}") from error
    if playlist.is_variant:
        return master_playlist(playlist.data, ref)
    if playlist.is_i_frames_only:
        raise Unsupported(f"{ref} holds only I-frames (EXT-X-I-FRAMES-ONLY)")
    return _media(playlist, ref, limits)


def _decode(data: bytes, ref: str, max_bytes: int) -> str:
    if not data.strip():
        raise PlaylistInvalid(f"{ref} is empty")
    if len(data) > max_bytes:
        raise PlaylistInvalid(f"{ref} is larger than {max_bytes} bytes")
    text = data.decode("utf-8-sig", errors="replace")
    first = text.lstrip().split("\n", 1)[0].strip()
    if not first.startswith("#EXTM3U"):
        shown = first[:60]
        if shown.lower().startswith(("<!doctype", "<html", "<?xml", "<")):
            raise PlaylistInvalid(f"{ref} is a web page or XML, no playlist: line 1 is {shown!r}")
        raise PlaylistInvalid(f"{ref} is no playlist: line 1 is {shown!r} instead of #EXTM3U")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    # m3u8 takes whole seconds only, as RFC 8216 4.3.3.1 has it; encoders write fractions.
    return _DECIMAL_TARGET.sub(lambda found: f"{found[1]}{ceil(float(found[2]))}", text)


def _media(playlist: Any, ref: str, limits: PlaylistLimits) -> MediaPlaylist:
    if len(playlist.segments) > limits.max_segments:
        raise PlaylistInvalid(f"{ref} lists more than {limits.max_segments} segments")
    if (playlist.media_sequence or 0) < 0:
        raise PlaylistInvalid(f"{ref}: its media sequence number is negative")
    segments: list[Segment] = []
    range_end: dict[str, int] = {}
    for number, found in enumerate(playlist.segments):
        if found.uri is None:
            raise PlaylistInvalid(f"{ref}: segment {number + 1} has no URI")
        if found.key is not None and found.key.method not in (None, "NONE"):
            raise Unsupported(f"{ref}: encryption {found.key.method} is not supported yet")
        byte_range = _byte_range(found.byterange, range_end.get(found.uri, 0), ref)
        if byte_range is not None:
            range_end[found.uri] = byte_range.offset + byte_range.length
        segment = Segment(
            sequence=(playlist.media_sequence or 0) + number,
            uri=found.uri,
            duration_s=_duration_s(found.duration, ref, limits),
            discontinuity=bool(found.discontinuity),
            byte_range=byte_range,
            init=_init(found.init_section, ref),
            is_gap=bool(found.gap_tag),
            program_date_time=_aware(found.current_program_date_time),
        )
        if not (segments and _repeats(segments[-1], segment)):
            segments.append(segment)
    return MediaPlaylist(
        segments=tuple(segments),
        ended=bool(playlist.is_endlist),
        target_duration_s=float(playlist.target_duration or 0)
        or max((s.duration_s for s in segments), default=0.0),
    )


def _duration_s(claimed: float | None, ref: str, limits: PlaylistLimits) -> float:
    seconds = float(claimed or 0.0)
    if not seconds <= limits.max_segment_s:
        raise PlaylistInvalid(f"{ref}: a segment of {seconds} s cannot be")
    return max(0.0, seconds)


def _repeats(before: Segment, segment: Segment) -> bool:
    """A line that was written twice: the same bytes at once again, as the same piece of source."""
    same = (before.uri, before.byte_range) == (segment.uri, segment.byte_range)
    return same and not segment.discontinuity


def _init(section: Any, ref: str) -> InitSection | None:
    if section is None or not section.uri:
        return None
    return InitSection(uri=section.uri, byte_range=_byte_range(section.byterange, 0, ref))


def _byte_range(text: str | None, follows: int, ref: str) -> ByteRange | None:
    """``length[@offset]``; without an offset it follows the range before (RFC 8216 4.3.2.2)."""
    if not text:
        return None
    length, _, offset = text.partition("@")
    try:
        found = ByteRange(offset=int(offset) if offset else follows, length=int(length))
    except ValueError as error:
        raise PlaylistInvalid(f"{ref}: {text!r} is no byte range") from error
    if found.offset < 0 or found.length <= 0:
        raise PlaylistInvalid(f"{ref}: {text!r} is no byte range")
    return found


def _aware(moment: datetime | None) -> datetime | None:
    return moment if moment is not None and moment.tzinfo is not None else None
