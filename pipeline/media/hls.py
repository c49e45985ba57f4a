"""HLS playlists over the byte ranges of one hybrid MP4 (RFC 8216 4.3, version 7 for EXT-X-MAP)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf

import numpy as np

from pipeline.media.entries import TrackForm, pixel_aspect, read_forms
from pipeline.media.languages import tag_of
from pipeline.media.samples import TrackSamples
from pipeline.media.stitch import Track
from pipeline.media.timeline import PlacedSpan, lanes
from pipeline.model import Sound

SEGMENT_S = 6.0
# Sound is cut where pictures are, as near as its fragments allow.
_SOUND_SEGMENT_S = 1.5 * SEGMENT_S
# Renditions count time in scales of their own, and round to them.
_SAME_TIME_S = 0.005
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
    """The segments of one rendition and the init segments that they need. ``keyframes_only``: each
    is one keyframe, and lasts until the next (RFC 8216 4.3.3.6)."""

    segments: tuple[MediaSegment, ...]
    inits: tuple[bytes, ...]
    keyframes_only: bool = False

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
        if self.keyframes_only:
            lines.append("#EXT-X-I-FRAMES-ONLY")
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


def segment_ranges(
    placed: Sequence[PlacedSpan],
    chunk_offset: Mapping[int, int],
    cuts: np.ndarray | None = None,
) -> MediaPlaylist:
    """Fragments as segments of up to ``SEGMENT_S`` or one fragment; none spans two chunks or runs.

    ``chunk_offset``: where each chunk begins in the object. ``cuts``: of ``common_cuts``; then
    segments of pictures begin there whatever their length, and sound at its nearest fragments.
    """
    inits = _inits(placed)
    segments: list[MediaSegment] = []
    for p, times in _timed(placed):
        starts = p.span.fragment_offset + chunk_offset[p.chunk]
        ends = p.span.fragment_end + chunk_offset[p.chunk]
        begins, longest_s = _apart(p), SEGMENT_S
        if cuts is not None:
            longest_s = _SOUND_SEGMENT_S if _is_sound(p) else inf
            begins = begins | _at_cuts(times, cuts, is_exact=not _is_sound(p))
        new_run = p.new_run
        for first, behind in _groups(times, begins, longest_s):
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
    return MediaPlaylist(segments=tuple(segments), inits=inits)


def common_cuts(playlists: Sequence[Sequence[PlacedSpan]]) -> np.ndarray:
    """When segments begin in all renditions of the same pictures, in seconds, sorted: where all of
    them have a keyframe, about ``SEGMENT_S`` apart, and where one of them has to begin a segment.
    """
    known = [_keyframe_starts(placed) for placed in playlists]
    times, forced = known[0]
    for other, is_forced in known[1:]:
        if not len(other):
            return other
        at = _nearest(other, times)
        is_common = np.abs(other[at] - times) <= _SAME_TIME_S
        times, forced = times[is_common], (forced | is_forced[at])[is_common]
    if not len(times):
        return times
    # A segment ends where pictures do.
    ends = np.append(times, max(map(_leading_end_s, playlists[0])))
    firsts = [first for first, _ in _groups(ends, forced, SEGMENT_S)]
    return times[firsts]


def keyframe_ranges(placed: Sequence[PlacedSpan], chunk_offset: Mapping[int, int]) -> MediaPlaylist:
    """Each keyframe that a fragment begins with: the ``moof``, and of ``mdat`` what goes up to the
    end of that picture. The inits are those of ``segment_ranges``. May have no segments."""
    inits = _inits(placed)
    found: list[tuple[float, MediaSegment]] = []
    end_s, new_run = 0.0, False
    for p in placed:
        new_run |= p.new_run
        end_s = _leading_end_s(p)
        track = next((t for t in p.span.tracks if t.kind == "video"), None)
        if track is None:
            continue
        for fragment, sample, offset in zip(*_leading_keyframes(p, track), strict=True):
            begin = int(p.span.fragment_offset[fragment])
            segment = MediaSegment(
                duration_s=0.0,
                offset=chunk_offset[p.chunk] + begin,
                length=int(offset + track.size[sample]) - begin,
                discontinuity=new_run and bool(found),
                init=inits.index(p.span.init),
            )
            shown_s = float(track.pts[sample] / track.timescale + float(p.shift_s))
            found.append((shown_s, segment))
            new_run = False
    ends = [shown_s for shown_s, _ in found[1:]] + [end_s]
    return MediaPlaylist(
        segments=tuple(
            replace(segment, duration_s=max(0.0, behind_s - shown_s))
            for (shown_s, segment), behind_s in zip(found, ends, strict=False)
        ),
        inits=inits,
        keyframes_only=True,
    )


def _inits(placed: Sequence[PlacedSpan]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(p.span.init for p in placed))


def _timed(placed: Sequence[PlacedSpan]) -> Iterator[tuple[PlacedSpan, np.ndarray]]:
    """Each with when its fragments begin to be shown, and when the last one is over."""
    starts = [_fragment_starts(p) for p in placed]
    for number, p in enumerate(placed):
        is_last = number + 1 == len(placed)
        end_s = _leading_end_s(p) if is_last else starts[number + 1][0]
        yield p, np.append(starts[number], end_s)


def _is_sound(p: PlacedSpan) -> bool:
    return min(lanes(p.span)).is_sound


def _apart(p: PlacedSpan) -> np.ndarray:
    """Of each fragment: whether it is the first, or other bytes lie before it."""
    joined = p.span.fragment_offset[1:] == p.span.fragment_end[:-1]
    return np.concatenate(([True], ~joined))


def _at_cuts(times: np.ndarray, cuts: np.ndarray, *, is_exact: bool) -> np.ndarray:
    """Of each fragment: whether it is the nearest one to a cut, and there if it ``is_exact``."""
    at = _nearest(times, cuts)
    if is_exact:
        at = at[np.abs(times[at] - cuts) <= _SAME_TIME_S]
    begins = np.zeros(len(times), bool)
    begins[at] = True
    return begins[:-1]


def _nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which of the sorted ``times`` each is nearest to."""
    middles = (times[1:] + times[:-1]) / 2
    return np.searchsorted(middles, wanted)


def _keyframe_starts(placed: Sequence[PlacedSpan]) -> tuple[np.ndarray, np.ndarray]:
    """When fragments that begin with a keyframe are shown, in seconds, and whether a segment has to
    begin there."""
    times, forced = [np.zeros(0)], [np.zeros(0, bool)]
    for p in placed:
        track = next((t for t in p.span.tracks if t.kind == "video"), None)
        if track is not None:
            fragments, _, _ = _leading_keyframes(p, track)
            times.append(_fragment_starts(p)[fragments])
            forced.append(_apart(p)[fragments])
    return np.maximum.accumulate(np.concatenate(times)), np.concatenate(forced)


def _leading_keyframes(
    p: PlacedSpan, track: TrackSamples
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each fragment in which the track begins with a keyframe: its number, that of the sample,
    and where that lies in the chunk."""
    fragment, run = np.unique(_owners(p, track), return_index=True)
    first_sample = (np.cumsum(track.run_count) - track.run_count)[run]
    is_key = track.key[first_sample]
    return fragment[is_key], first_sample[is_key], track.run_offset[run][is_key]


def _owners(p: PlacedSpan, track: TrackSamples) -> np.ndarray:
    """In which fragment each run lies."""
    return np.searchsorted(p.span.fragment_offset, track.run_offset, side="right") - 1


def _fragment_starts(p: PlacedSpan) -> np.ndarray:
    """When each fragment begins to be shown, in seconds; by the first track that tells."""
    track = next(iter(lanes(p.span).values()))
    fragment = _owners(p, track)
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


def _groups(times: np.ndarray, begins: np.ndarray, longest_s: float) -> list[tuple[int, int]]:
    """``(first fragment, fragment behind the last)`` of each segment. ``begins``: of each fragment,
    whether a segment has to begin with it."""
    groups, first = [], 0
    for behind in range(1, len(times)):
        is_last = behind == len(times) - 1
        is_full = is_last or times[behind + 1] - times[first] > longest_s + _ROUNDING_S
        if is_full or begins[behind]:
            groups.append((first, behind))
            first = behind
    return groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What a master playlist says of one rendition (RFC 8216 4.3.4.2), or of its keyframes
    (4.3.4.3). ``width`` x ``height``: as shown, in square pixels."""

    uri: str
    bandwidth: int
    average_bandwidth: int
    codecs: str
    width: int
    height: int
    frame_rate: float
    audio_group: str = ""
    keyframes_only: bool = False

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
        if self.keyframes_only:
            attributes.append(f'URI="{self.uri}"')
            return ["#EXT-X-I-FRAME-STREAM-INF:" + ",".join(attributes)]
        return ["#EXT-X-STREAM-INF:" + ",".join(attributes), self.uri]


def describe_variant(
    uri: str, playlists: Sequence[MediaPlaylist], tracks: Sequence[Track]
) -> Variant:
    """Bandwidths from the segments' real sizes, those of the largest sound included; the rest from
    the tracks.

    ``playlists``: its own, then all sounds of its group, whichever object they lie in; ``tracks``:
    of all of these. Sound without pictures may be in its group itself: one of them is heard.
    """
    peaks, averages = zip(*map(_bandwidths, playlists), strict=True)
    video = next((track for track in tracks if track.form.kind == "video"), None)
    codecs = dict.fromkeys(track.form.codecs for track in tracks)
    width, height = _shown_size(video.form) if video else (0, 0)
    return Variant(
        uri=uri,
        bandwidth=peaks[0] + max(peaks[1:], default=0) if video else max(peaks),
        average_bandwidth=averages[0] + max(averages[1:], default=0) if video else max(averages),
        audio_group=_AUDIO_GROUP if len(playlists) > 1 else "",
        codecs=",".join(codecs),
        width=width,
        height=height,
        frame_rate=_frame_rate(video) if video else 0.0,
    )


def describe_keyframes(uri: str, keyframes: MediaPlaylist, pictures: Track) -> Variant:
    """``keyframes``: of ``keyframe_ranges``, not empty."""
    peak, average = _bandwidths(keyframes)
    width, height = _shown_size(pictures.form)
    return Variant(
        uri=uri,
        bandwidth=peak,
        average_bandwidth=average,
        codecs=pictures.form.codecs,
        width=width,
        height=height,
        frame_rate=0.0,
        keyframes_only=True,
    )


def _shown_size(form: TrackForm) -> tuple[int, int]:
    """In square pixels."""
    return round(form.width * pixel_aspect(form.entry)), form.height


def _frame_rate(video: Track) -> float:
    return video.form.timescale / video.usual_duration


def _bandwidths(playlist: MediaPlaylist) -> tuple[int, int]:
    """Peak and average in bit/s. The peak is that of consecutive segments that last half a target
    duration together, up to one and a half (RFC 8216 4.1): a last segment that is a keyframe and
    little else is none."""
    timed = [s for s in playlist.segments if s.duration_s > 0]
    if not timed:
        return 1, 1
    bits = np.cumsum([0, *(8 * s.length for s in timed)])
    until_s = np.cumsum([0.0, *(s.duration_s for s in timed)])
    target_s = ceil(max(s.duration_s for s in timed))
    peak = average = bits[-1] / until_s[-1]
    for count in range(1, len(timed) + 1):
        length_s = until_s[count:] - until_s[:-count]
        if length_s.min() > 1.5 * target_s:
            break
        is_meant = (length_s >= target_s / 2) & (length_s <= 1.5 * target_s)
        rates = (bits[count:] - bits[:-count])[is_meant] / length_s[is_meant]
        peak = max(peak, rates.max(initial=0.0))
    return ceil(peak), ceil(average)


def render_master(variants: Sequence[Variant], sounds: Sequence[tuple[str, Sound]] = ()) -> str:
    """``variants``: as they are to be listed, those of keyframes behind the others. ``sounds``:
    ``(URI, what it is)``; the first is the default."""
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


def named_sound(init: bytes, known: Sound | None = None) -> Sound:
    """With the language that its init tells, unless it is ``known``."""
    sound = known or Sound()
    if sound.language:
        return sound
    tags = [tag_of(form.mdhd_language) for form in read_forms(init) if form.kind == "audio"]
    return replace(sound, language=next(iter(tags), ""))


def _render_sound(uri: str, name: str, language: str, *, is_default: bool) -> str:
    attributes = ["TYPE=AUDIO", f'GROUP-ID="{_AUDIO_GROUP}"']
    attributes.append(f'NAME="{_UNQUOTABLE.sub("", name)}"')
    if language:
        attributes.append(f'LANGUAGE="{_UNQUOTABLE.sub("", language)}"')
    attributes += [f"DEFAULT={'YES' if is_default else 'NO'}", "AUTOSELECT=YES", f'URI="{uri}"']
    return "#EXT-X-MEDIA:" + ",".join(attributes)
