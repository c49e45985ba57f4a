"""HLS playlists over the byte ranges of one hybrid MP4 (RFC 8216 4.3, version 7 for EXT-X-MAP)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from pipeline.media.stitch import Lane
from pipeline.media.timeline import PlacedSpan, lanes
from pipeline.model import Sound

SEGMENT_S = 6.0
_AUDIO_GROUP = "audio"
_UNQUOTABLE = re.compile(r'["\x00-\x1f\x7f]')
_ROUNDING_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSegment:
    """Consecutive fragments as one HLS segment. ``offset`` counts from the object's start;
    ``init`` numbers the init segments from 0."""

    duration_s: float
    offset: int
    length: int
    discontinuity: bool
    init: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPlaylist:
    """The segments of one rendition and the init segments that they need."""

    segments: tuple[MediaSegment, ...]
    inits: tuple[bytes, ...]

    def render(self, media_uri: str, init_uris: Sequence[str]) -> str:
        """The playlist's text. ``media_uri``: the MP4, relative to the playlist."""
        longest = max(segment.duration_s for segment in self.segments)
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:7",
            f"#EXT-X-TARGETDURATION:{ceil(longest)}",
            "#EXT-X-MEDIA-SEQUENCE:0",
            "#EXT-X-PLAYLIST-TYPE:VOD",
            "#EXT-X-INDEPENDENT-SEGMENTS",
        ]
        init: int | None = None
        for segment in self.segments:
            if segment.discontinuity:
                lines.append("#EXT-X-DISCONTINUITY")
            if segment.init != init:
                init = segment.init
                lines.append(f'#EXT-X-MAP:URI="{init_uris[init]}"')
            lines.append(f"#EXTINF:{segment.duration_s:.6f},")
            lines.append(f"#EXT-X-BYTERANGE:{segment.length}@{segment.offset}")
            lines.append(media_uri)
        return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def segment_ranges(placed: Sequence[PlacedSpan], chunk_offset: Mapping[int, int]) -> MediaPlaylist:
    """Fragments as segments of up to ``SEGMENT_S`` or one fragment; none spans two chunks or runs.

    ``chunk_offset``: where each chunk begins in the object.
    """
    inits: list[bytes] = []
    segments: list[MediaSegment] = []
    for number, p in enumerate(placed):
        if p.span.init not in inits:
            inits.append(p.span.init)
        last = number + 1 == len(placed)
        end_s = _leading_end_s(p) if last else _fragment_starts(placed[number + 1])[0]
        times = np.append(_fragment_starts(p), end_s)
        starts = p.span.fragment_offset + chunk_offset[p.chunk]
        ends = p.span.fragment_end + chunk_offset[p.chunk]
        new_run = p.new_run
        for first, behind in _groups(times, starts[1:] != ends[:-1]):
            segments.append(
                MediaSegment(
                    duration_s=float(times[behind] - times[first]),
                    offset=int(starts[first]),
                    length=int(ends[behind - 1] - starts[first]),
                    discontinuity=new_run,
                    init=inits.index(p.span.init),
                )
            )
            new_run = False
    return MediaPlaylist(segments=tuple(segments), inits=tuple(inits))


def _fragment_starts(p: PlacedSpan) -> np.ndarray:
    """When each fragment begins to be shown, in seconds; by the first track that tells."""
    track = next(iter(lanes(p.span).values()))
    fragment = np.searchsorted(p.span.fragment_offset, track.run_offset, side="right") - 1
    first_sample = np.cumsum(track.run_count) - track.run_count
    starts = np.full(len(p.span.fragment_offset), np.nan)
    shown = track.pts[first_sample] / track.timescale + float(p.shift_s)
    # A fragment holds one run per track; writing backwards keeps the first one.
    starts[fragment[::-1]] = shown[::-1]
    known = ~np.isnan(starts)
    starts = np.interp(np.arange(len(starts)), np.flatnonzero(known), starts[known])
    return np.maximum.accumulate(starts)


def _leading_end_s(p: PlacedSpan) -> float:
    return next(iter(lanes(p.span).values())).end_s + float(p.shift_s)


def _groups(times: np.ndarray, apart: np.ndarray) -> list[tuple[int, int]]:
    """``(first fragment, fragment behind the last)`` of each segment. ``apart``: whether other
    bytes lie between a fragment and the next."""
    groups, first = [], 0
    for behind in range(1, len(times)):
        is_last = behind == len(times) - 1
        is_full = is_last or times[behind + 1] - times[first] > SEGMENT_S + _ROUNDING_S
        if is_full or apart[behind - 1]:
            groups.append((first, behind))
            first = behind
    return groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What a master playlist says of one rendition (RFC 8216 4.3.4.2)."""

    uri: str
    bandwidth: int
    average_bandwidth: int
    codecs: str
    width: int
    height: int
    frame_rate: float
    audio_group: str = ""

    def render(self) -> list[str]:
        attributes = [
            f"BANDWIDTH={self.bandwidth}",
            f"AVERAGE-BANDWIDTH={self.average_bandwidth}",
            f'CODECS="{self.codecs}"',
        ]
        if self.height:
            attributes.append(f"RESOLUTION={self.width}x{self.height}")
        if self.frame_rate:
            attributes.append(f"FRAME-RATE={self.frame_rate:.3f}")
        if self.audio_group:
            attributes.append(f'AUDIO="{self.audio_group}"')
        return ["#EXT-X-STREAM-INF:" + ",".join(attributes), self.uri]


def describe_variant(
    uri: str, playlists: Sequence[MediaPlaylist], tracks: Sequence[Lane]
) -> Variant:
    """Bandwidths from the segments' real sizes, those of the largest sound included; the rest from
    the tracks. ``playlists``: the main one first."""
    peaks, averages = zip(*map(_bandwidths, playlists), strict=True)
    video = next((lane for lane in tracks if lane.form.kind == "video"), None)
    codecs = dict.fromkeys(lane.form.codecs for lane in tracks)
    return Variant(
        uri=uri,
        bandwidth=peaks[0] + max(peaks[1:], default=0),
        average_bandwidth=averages[0] + max(averages[1:], default=0),
        audio_group=_AUDIO_GROUP if len(playlists) > 1 else "",
        codecs=",".join(codecs),
        width=video.form.width if video else 0,
        height=video.form.height if video else 0,
        frame_rate=_frame_rate(video) if video else 0.0,
    )


def _frame_rate(video: Lane) -> float:
    return video.form.timescale / float(np.median(video.duration))


def _bandwidths(playlist: MediaPlaylist) -> tuple[int, int]:
    """Peak and average in bit/s."""
    bits = [(s.length * 8, s.duration_s) for s in playlist.segments if s.duration_s > 0]
    if not bits:
        return 1, 1
    total = sum(size for size, _ in bits) / sum(length for _, length in bits)
    return ceil(max(size / length for size, length in bits)), ceil(total)


def render_master(variants: Sequence[Variant], sounds: Sequence[tuple[str, Sound]] = ()) -> str:
    """``sounds``: ``(URI, what it is)``; the first is the default."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    taken: set[str] = set()
    for number, (uri, sound) in enumerate(sounds):
        # Names are unique in a group (RFC 8216 4.3.4.1.1).
        name = sound.name or sound.language or "audio"
        name = f"{name} {number + 1}" if name in taken else name
        taken.add(name)
        lines.append(_render_sound(uri, name, sound.language, is_default=not number))
    for variant in variants:
        lines += variant.render()
    return "\n".join([*lines, ""])


def _render_sound(uri: str, name: str, language: str, *, is_default: bool) -> str:
    attributes = ["TYPE=AUDIO", f'GROUP-ID="{_AUDIO_GROUP}"']
    attributes.append(f'NAME="{_UNQUOTABLE.sub("", name)}"')
    if language:
        attributes.append(f'LANGUAGE="{_UNQUOTABLE.sub("", language)}"')
    attributes += [f"DEFAULT={'YES' if is_default else 'NO'}", "AUTOSELECT=YES", f'URI="{uri}"']
    return "#EXT-X-MEDIA:" + ",".join(attributes)
