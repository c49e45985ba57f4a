"""Playlists over byte ranges of the MP4."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate, pairwise
from math import lcm

import m3u8
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.media import boxes, hls, stitch
from pipeline.media.entries import read_forms
from pipeline.media.languages import mdhd_language, tag_of
from pipeline.media.samples import Span
from pipeline.media.timeline import PlacedSpan, place
from pipeline.model import Sound
from tests.indexes import AUDIO_SCALE, audio, init, span, video


def rendered(playlist: hls.MediaPlaylist) -> m3u8.M3U8:
    inits = [f"source.init-{n}.mp4" for n in range(len(playlist.inits))]
    return m3u8.M3U8(playlist.render("../talk.mp4", inits))


@given(
    st.lists(
        st.tuples(st.integers(1, 800), st.integers(1, 100), st.booleans()), min_size=1, max_size=5
    )
)
def test_segments_tile_the_chunks_and_last_as_long_as_the_media(
    form: list[tuple[int, int, bool]],
) -> None:
    spans, start = [], 10.0
    for i, (frames, gop, marked) in enumerate(form):
        spans.append((i, span([video(start, frames, gop=gop)], discontinuity=marked)))
        start += frames / 25
    placed = place(spans)
    offset = {i: 1000 + i * 10**6 for i in range(len(form))}
    playlist = hls.segment_ranges(placed, offset)
    ranges = [(s.offset, s.offset + s.length) for s in playlist.segments]
    assert ranges == sorted(ranges)
    for p in placed:
        own = [r for r in ranges if offset[p.chunk] <= r[0] < offset[p.chunk] + 10**6]
        first = offset[p.chunk]
        assert (own[0][0], own[-1][1]) == (first, first + int(p.span.fragment_end[-1]))
        assert all(a[1] == b[0] for a, b in pairwise(own))
    total = sum(s.duration_s for s in playlist.segments)
    assert total == pytest.approx(sum(frames for frames, _, _ in form) / 25, abs=1e-6)
    assert sum(s.discontinuity for s in playlist.segments) == sum(m for _, _, m in form[1:])
    longest_gop = max(min(gop, frames) for frames, gop, _ in form) / 25
    assert all(s.duration_s <= max(hls.SEGMENT_S, longest_gop) + 0.05 for s in playlist.segments)
    found = rendered(playlist)
    assert found.target_duration >= max(s.duration_s for s in playlist.segments)
    assert (found.is_endlist, found.playlist_type, found.version) == (True, "vod", 7)
    assert len(found.segments) == len(playlist.segments)
    for mine, theirs in zip(playlist.segments, found.segments, strict=True):
        assert theirs.byterange == f"{mine.length}@{mine.offset}"
        assert theirs.duration == pytest.approx(mine.duration_s, abs=1e-6)
        assert theirs.uri == "../talk.mp4"
        assert bool(theirs.discontinuity) is mine.discontinuity


def test_segments_are_about_six_seconds() -> None:
    placed = place([(0, span([video(10.0, 1500, gop=50)]))])
    durations = [s.duration_s for s in hls.segment_ranges(placed, {0: 0}).segments]
    assert durations == pytest.approx([6.0] * 10)
    long_gops = place([(0, span([video(10.0, 1000, gop=250)]))])
    durations = [s.duration_s for s in hls.segment_ranges(long_gops, {0: 0}).segments]
    assert durations == pytest.approx([10.0] * 4)


def test_another_form_gets_its_own_map_and_back() -> None:
    placed = place(
        [
            (0, span([video(10.0, 25)])),
            (1, span([video(11.0, 25)], width=96)),
            (2, span([video(12.0, 25)])),
        ]
    )
    playlist = hls.segment_ranges(placed, {0: 0, 1: 10_000, 2: 20_000})
    assert len(playlist.inits) == 2
    found = rendered(playlist)
    assert [s.init_section.uri for s in found.segments] == [
        "source.init-0.mp4",
        "source.init-1.mp4",
        "source.init-0.mp4",
    ]
    assert [bool(s.discontinuity) for s in found.segments] == [False, True, True]


def test_a_fragment_without_pictures_has_its_place_between_its_neighbours() -> None:
    """Sound that goes on while the pictures pause: the fragment's start is not told by video."""
    pictures = video(10.0, 10, gop=5)
    made = span([pictures, audio(10.0, 20, at=5000)])
    playlist = hls.segment_ranges(place([(0, made)]), {0: 0})
    assert sum(s.length for s in playlist.segments) == made.fragment_end[-1]


def told(placed: list[PlacedSpan]) -> list[stitch.Track]:
    return [own.track for own in stitch.merge(placed)]


def test_a_master_playlist_says_what_players_ask() -> None:
    placed = place([(0, span([video(10.0, 250, gop=50, size=1000), audio(10.0, 468, at=10**6)]))])
    playlist = hls.segment_ranges(placed, {0: 0})
    variant = hls.describe_variant("source.m3u8", [playlist], told(placed))
    assert variant.bandwidth >= variant.average_bandwidth > 0
    master = m3u8.M3U8(hls.render_master([variant]))
    (stream,) = master.playlists
    assert stream.uri == "source.m3u8"
    assert stream.stream_info.resolution == (64, 64)
    assert stream.stream_info.frame_rate == 25.0
    assert stream.stream_info.codecs.split(",")[0].startswith("avc1.")
    assert stream.stream_info.codecs.split(",")[1] == "mp4a.40.2"


def test_sound_alone_has_no_resolution() -> None:
    placed = place([(0, span([audio(10.0, 470, at=50)]))])
    playlist = hls.segment_ranges(placed, {0: 0})
    text = "\n".join(hls.describe_variant("a.m3u8", [playlist], told(placed)).render())
    assert "RESOLUTION" not in text
    assert "FRAME-RATE" not in text
    assert 'CODECS="mp4a.40.2"' in text


def placed_at(made: Span, shift_s: Fraction = Fraction(0), *, new_run: bool = False) -> PlacedSpan:
    return PlacedSpan(chunk=0, span=made, shift_s=shift_s, jump_s=0.0, new_run=new_run)


def begins(playlist: hls.MediaPlaylist) -> list[float]:
    """When segments begin, from the first one on."""
    return [*accumulate((s.duration_s for s in playlist.segments[:-1]), initial=0.0)]


def sound_in_fragments(start_s: float, packets: int, per_fragment: int) -> Span:
    """Sound alone, a run of ``per_fragment`` packets behind each 50 bytes."""
    made = audio(start_s, packets, size=10)
    counts = [min(per_fragment, packets - n) for n in range(0, packets, per_fragment)]
    offsets = np.cumsum([0, *(50 + 10 * count for count in counts[:-1])]) + 50
    track = replace(made, run_offset=offsets, run_count=np.array(counts, np.int64))
    return replace(span([track]), sound=1)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 900), st.sampled_from([0, 30, -30]))
def test_segments_of_all_renditions_begin_at_common_keyframes(
    gop: int, other_gop: int, frames: int, off: int
) -> None:
    """``off``: ticks of 1/12800 s that one is off by, as rounding to its time scale may have it."""
    shifts = (Fraction(10), Fraction(10) + Fraction(off, 12_800))
    renditions = [
        [placed_at(span([video(0.0, frames, gop=g)]), shift)]
        for g, shift in zip((gop, other_gop), shifts, strict=True)
    ]
    cuts = hls.common_cuts(renditions)
    one, other = (hls.segment_ranges(placed, {0: 0}, cuts) for placed in renditions)
    assert begins(one) == pytest.approx(begins(other), abs=0.005)
    assert begins(one) == pytest.approx([cut - 10 for cut in cuts], abs=1e-6)
    common_s = lcm(gop, other_gop) / 25
    for at in begins(one):
        assert at / common_s == pytest.approx(round(at / common_s), abs=1e-6)
    longest = max(s.duration_s for s in one.segments)
    assert longest <= max(hls.SEGMENT_S, min(common_s, frames / 25)) + 0.06


def test_where_bytes_lie_apart_in_one_rendition_segments_begin_in_all() -> None:
    apart = span([video(0.0, 600, gop=50)])
    apart = apart.moved(np.where(np.arange(12) >= 4, 7777, 0))
    renditions = [[placed_at(span([video(0.0, 600, gop=50)]))], [placed_at(apart)]]
    cuts = hls.common_cuts(renditions)
    for placed in renditions:
        found = hls.segment_ranges(placed, {0: 0}, cuts)
        assert begins(found) == pytest.approx([0, 6, 8, 14, 20])


def test_renditions_without_common_keyframes_have_one_segment_per_span() -> None:
    shifts = (Fraction(0), Fraction(1, 50))
    renditions = [[placed_at(span([video(9.0, 600, gop=50)]), shift)] for shift in shifts]
    cuts = hls.common_cuts(renditions)
    assert len(cuts) == 0
    for placed in renditions:
        assert len(hls.segment_ranges(placed, {0: 0}, cuts).segments) == 1
    assert len(hls.common_cuts([renditions[0], []])) == 0


@pytest.mark.parametrize("per_fragment", [90, 94, 98])
def test_sound_is_cut_where_pictures_are_as_near_as_its_fragments_allow(per_fragment: int) -> None:
    pictures = [placed_at(span([video(10.0, 1500, gop=50)]))]
    cuts = hls.common_cuts([pictures])
    sound = [placed_at(sound_in_fragments(10.0, 2812, per_fragment))]
    found = hls.segment_ranges(sound, {0: 0}, cuts)
    own = np.arange(0, 2812, per_fragment) * 1024 / AUDIO_SCALE
    nearest = [own[np.abs(own - cut + 10).argmin()] for cut in cuts]
    assert begins(found) == pytest.approx(nearest)
    assert sum(s.length for s in found.segments) == sound[0].span.fragment_end[-1]


def test_sound_without_pictures_beside_it_has_segments_of_bounded_length() -> None:
    pictures = [placed_at(span([video(10.0, 250, gop=50)]))]
    cuts = hls.common_cuts([pictures])
    sound = [placed_at(sound_in_fragments(10.0, 2812, 94))]
    durations = [s.duration_s for s in hls.segment_ranges(sound, {0: 0}, cuts).segments]
    assert sum(durations) == pytest.approx(2812 * 1024 / AUDIO_SCALE)
    assert max(durations) <= 1.5 * hls.SEGMENT_S + 0.05


def test_cuts_leave_chunks_and_runs_apart() -> None:
    spans = [(0, span([video(10.0, 100, gop=25)])), (1, span([video(14.0, 100, gop=25)]))]
    spans.append((2, span([video(18.0, 100, gop=25)], discontinuity=True)))
    placed = place(spans)
    found = hls.segment_ranges(placed, {0: 0, 1: 20_000, 2: 40_000}, hls.common_cuts([placed]))
    assert [s.offset for s in found.segments] == [0, 20_000, 40_000]
    assert begins(found) == pytest.approx([0, 4, 8])


def test_keyframe_ranges_hold_moof_and_keyframe_and_last_until_the_next() -> None:
    first = span([video(10.0, 120, gop=50, size=1000)])
    placed = [placed_at(first), placed_at(span([video(16.0, 40, gop=50)], width=96), new_run=True)]
    found = hls.keyframe_ranges(placed, {0: 5000})
    assert [s.duration_s for s in found.segments] == pytest.approx([2.0, 2.0, 2.0, 1.6])
    assert [s.offset - 5000 for s in found.segments] == [0, 50_050, 100_100, 0]
    assert [s.length for s in found.segments] == [1050, 1050, 1050, 150]
    assert [s.discontinuity for s in found.segments] == [False, False, False, True]
    assert found.inits == hls.segment_ranges(placed, {0: 5000}).inits
    read = rendered(found)
    assert read.is_i_frames_only
    assert read.target_duration == 2
    assert read.segments[3].init_section.uri == "source.init-1.mp4"
    assert [s.byterange for s in read.segments][1] == "1050@55050"


def test_fragments_that_begin_without_a_keyframe_are_in_no_keyframe_playlist() -> None:
    damaged = video(10.0, 150, gop=50)
    damaged.key[:50] = False
    placed = [placed_at(span([video(8.0, 50, gop=50)])), placed_at(span([damaged]), new_run=True)]
    found = hls.keyframe_ranges(placed, {0: 0})
    assert [s.duration_s for s in found.segments] == pytest.approx([4.0, 2.0, 2.0])
    assert [s.discontinuity for s in found.segments] == [False, True, False]
    none = hls.keyframe_ranges([placed_at(sound_in_fragments(10.0, 500, 90))], {0: 0})
    assert none.segments == ()


def describe(
    uri: str, own: Sequence[PlacedSpan], sounds: Sequence[Sequence[PlacedSpan]]
) -> hls.Variant:
    playlists = [hls.segment_ranges(placed, {0: 0}) for placed in (own, *sounds)]
    tracks = [track for placed in (own, *sounds) for track in told(placed)]
    return hls.describe_variant(uri, playlists, tracks)


def test_renditions_name_the_sounds_of_another_object() -> None:
    high = [placed_at(span([video(10.0, 600, gop=50, size=5000)], width=128))]
    low = [placed_at(span([video(10.0, 600, gop=50, size=1000)]))]
    sounds = [[placed_at(sound_in_fragments(10.0, 1125, 282))] for _ in range(2)]
    variants = [describe("high.m3u8", high, sounds), describe("low.m3u8", low, sounds)]
    for placed, variant in ((high, variants[0]), (low, variants[1])):
        peaks = [
            max(8 * s.length / s.duration_s for s in hls.segment_ranges(own, {0: 0}).segments)
            for own in (placed, *sounds)
        ]
        assert variant.bandwidth == pytest.approx(peaks[0] + max(peaks[1:]), abs=2)
    keyframes = hls.keyframe_ranges(low, {0: 0})
    variants.append(hls.describe_keyframes("low.keys.m3u8", keyframes, told(low)[0]))
    members = [("a.m3u8", Sound(name="Main")), ("b.m3u8", Sound(language="de"))]
    text = hls.render_master(variants, members)
    master = m3u8.M3U8(text)
    assert [p.uri for p in master.playlists] == ["high.m3u8", "low.m3u8"]
    for stream, size in zip(master.playlists, [(128, 64), (64, 64)], strict=True):
        info = stream.stream_info
        assert (info.resolution, info.frame_rate, info.audio) == (size, 25.0, "audio")
        assert info.codecs.endswith(",mp4a.40.2")
    assert [(m.name, m.language, m.default) for m in master.media] == [
        ("Main", None, "YES"),
        ("de", "de", "NO"),
    ]
    (trick,) = master.iframe_playlists
    assert trick.uri == "low.keys.m3u8"
    info = trick.iframe_stream_info
    assert (info.resolution, info.codecs) == ((64, 64), variants[1].codecs.split(",")[0])
    assert info.bandwidth == info.average_bandwidth == 8 * 1050 / 2
    assert "FRAME-RATE" not in text.splitlines()[-1]


def listed(*segments: tuple[float, int]) -> hls.MediaPlaylist:
    """``(seconds, bytes)`` of each."""
    made = (
        hls.MediaSegment(duration_s=s, offset=0, length=n, discontinuity=False, init=0)
        for s, n in segments
    )
    return hls.MediaPlaylist(segments=tuple(made), inits=(b"",), keyframes_only=True)


@pytest.mark.parametrize(
    ("segments", "peak", "average"),
    [
        ([(6.0, 600)] * 3, 800, 800),
        # A last segment that is a keyframe and little else.
        ([(6.0, 600), (6.0, 600), (0.04, 300)], 1193, 997),
        ([(0.04, 300), (6.0, 600), (6.0, 600)], 1193, 997),
        # Short ones count together, up to one and a half target durations.
        ([(6.0, 60), (2.0, 400), (2.0, 800), (2.0, 400), (6.0, 60)], 2400, 765),
        ([(6.0, 60), (1.0, 800), (1.0, 800), (6.0, 60)], 1660, 983),
        # All of it is shorter than half of one.
        ([(0.3, 300)], 8000, 8000),
        ([(0.0, 300)], 1, 1),
    ],
)
def test_the_peak_is_of_what_a_player_loads_at_once(
    segments: list[tuple[float, int]], peak: int, average: int
) -> None:
    """RFC 8216 4.1."""
    picture = told([placed_at(span([video(10.0, 2)]))])[0]
    variant = hls.describe_keyframes("a", listed(*segments), picture)
    assert (variant.bandwidth, variant.average_bandwidth) == (peak, average)


def test_of_sound_without_pictures_only_one_is_heard() -> None:
    sounds = [[placed_at(sound_in_fragments(10.0, 1125, 282))] for _ in range(2)]
    alone, grouped = describe("a.m3u8", sounds[0], []), describe("a.m3u8", sounds[0], sounds)
    assert (alone.bandwidth, alone.audio_group) == (grouped.bandwidth, "")
    assert (grouped.width, grouped.audio_group) == (0, "audio")


def test_a_picture_of_wide_pixels_is_described_as_it_is_shown() -> None:
    placed = [placed_at(span([video(10.0, 50)]))]
    (pictures,) = told(placed)
    wide = boxes.make(b"pasp", (64).to_bytes(4, "big"), (45).to_bytes(4, "big"))
    entry = pictures.form.entry
    at = boxes.find(entry, "pasp", 86)
    if at is not None:
        entry = entry[: at.start] + entry[at.end :]
    anamorphic = replace(pictures, form=replace(pictures.form, entry=entry + wide))
    for track, size in ((pictures, (64, 64)), (anamorphic, (91, 64))):
        found = hls.describe_variant("a.m3u8", [hls.segment_ranges(placed, {0: 0})], [track])
        assert (found.width, found.height) == size


@pytest.mark.parametrize(
    ("code", "tag"),
    [("deu", "de"), ("ger", "de"), ("chi", "zh"), ("fil", "fil"), ("und", ""), ("zxx", "")],
)
def test_a_sound_has_the_language_of_its_init_unless_it_is_known(code: str, tag: str) -> None:
    packed = mdhd_language(code)
    assert tag_of(packed) == tag
    form = read_forms(init())[1]
    made = init().replace(form.mdhd_language, packed + form.mdhd_language[2:])
    assert hls.named_sound(made) == Sound(language=tag)
    assert hls.named_sound(made, Sound(name="Main")) == Sound(name="Main", language=tag)
    assert hls.named_sound(made, Sound(language="fr")) == Sound(language="fr")
    assert tag_of(bytes(4)) == tag_of(b"\xff\xff") == ""


def test_sounds_of_one_name_are_told_apart() -> None:
    text = hls.render_master([], [("a.m3u8", Sound()), ("b.m3u8", Sound())])
    assert [m.name for m in m3u8.M3U8(text).media] == ["audio", "audio 2"]
