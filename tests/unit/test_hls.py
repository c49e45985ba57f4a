"""Playlists over byte ranges of the MP4."""

from itertools import pairwise

import m3u8
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.media import hls, stitch
from pipeline.media.timeline import place
from tests.indexes import audio, span, video


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


def test_a_master_playlist_says_what_players_ask() -> None:
    placed = place([(0, span([video(10.0, 250, gop=50, size=1000), audio(10.0, 468, at=10**6)]))])
    playlist = hls.segment_ranges(placed, {0: 0})
    variant = hls.describe_variant("source.m3u8", [playlist], stitch.merge(placed))
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
    text = "\n".join(hls.describe_variant("a.m3u8", [playlist], stitch.merge(placed)).render())
    assert "RESOLUTION" not in text
    assert "FRAME-RATE" not in text
    assert 'CODECS="mp4a.40.2"' in text
