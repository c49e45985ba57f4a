"""What was captured of a live stream, from its start, as HLS playlists (RFC 8216).

Names of files are relative to the playlist at the top: ``live/{playlist}/{number}.{extension}``.
"""

from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from pipeline.model import Segment, Sound

_EXTENSIONS = frozenset({"ts", "m4s", "mp4", "aac", "mp3", "ac3", "ec3"})
_UNKNOWN_BITS_PER_S = 5_000_000


def render(segments: Sequence[Segment], *, folder: str, ended: bool) -> str:
    """An EVENT playlist. ``folder``: where its files are, seen from it."""
    longest_s = max((segment.duration_s for segment in segments), default=1.0)
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:8",
        f"#EXT-X-TARGETDURATION:{max(1, ceil(longest_s))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
    ]
    before: Segment | None = None
    for number, segment in enumerate(segments):
        lines += _describe(segment, before, f"{folder}{number}")
        before = segment
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else []), ""])


def render_master(playlists: Sequence[Sequence[Segment]], sounds: Sequence[Sound]) -> str:
    """The pictures with their playlists of sound. ``playlists``: the main one first."""
    lines = ["#EXTM3U"]
    for number, sound in enumerate(sounds, 1):
        language = f',LANGUAGE="{_quoted(sound.language)}"' if sound.language else ""
        first = "YES" if number == 1 else "NO"
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="{_quoted(sound.name) or number}"'
            f'{language},DEFAULT={first},AUTOSELECT=YES,URI="live/{number}.m3u8"'
        )
    bandwidth = sum(map(_peak_bits_per_s, playlists))
    return "\n".join(
        [*lines, f'#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},AUDIO="audio"', "live/0.m3u8", ""]
    )


def extension(segment: Segment) -> str:
    """As players expect it, by what the segment's own name says."""
    suffix = PurePosixPath(urlsplit(segment.uri).path).suffix.removeprefix(".").lower()
    if suffix in _EXTENSIONS:
        return suffix
    return "ts" if segment.init is None else "m4s"


def _describe(segment: Segment, before: Segment | None, name: str) -> Iterator[str]:
    if segment.discontinuity and before is not None:
        yield "#EXT-X-DISCONTINUITY"
    if segment.key != (before and before.key):
        key = segment.key
        yield (
            "#EXT-X-KEY:METHOD=NONE"
            if key is None
            else f'#EXT-X-KEY:METHOD=AES-128,URI="{name}/key"' + (f",IV=0x{key.iv}" * bool(key.iv))
        )
    if segment.init is not None and segment.init != (before and before.init):
        yield f'#EXT-X-MAP:URI="{name}/init.mp4"{_range_of_init(segment)}'
    if segment.program_date_time is not None:
        yield f"#EXT-X-PROGRAM-DATE-TIME:{segment.program_date_time.isoformat()}"
    if segment.is_gap:
        yield "#EXT-X-GAP"
    if segment.byte_range is not None:
        yield f"#EXT-X-BYTERANGE:{segment.byte_range.length}@{segment.byte_range.offset}"
    yield f"#EXTINF:{segment.duration_s:.6f},"
    yield f"{name}.{extension(segment)}"


def _range_of_init(segment: Segment) -> str:
    found = segment.init and segment.init.byte_range
    return f',BYTERANGE="{found.length}@{found.offset}"' if found else ""


def _peak_bits_per_s(segments: Sequence[Segment]) -> int:
    sized = [s for s in segments if s.size_bytes and s.duration_s > 0]
    rates = [8 * (s.size_bytes or 0) / s.duration_s for s in sized]
    return ceil(max(rates, default=_UNKNOWN_BITS_PER_S))


def _quoted(text: str) -> str:
    return "".join(c for c in text if c.isprintable() and c != '"')
