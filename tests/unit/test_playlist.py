"""Source playlists as the world writes them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PlaylistInvalid, SourceError, Unsupported
from pipeline.media.playlist import (
    MAX_PLAYLIST_BYTES,
    MasterPlaylist,
    MediaPlaylist,
    parse,
)
from pipeline.model import ByteRange, InitSection

REF = "s3://live/key/stream.m3u8"
PLAIN = """#EXTM3U
#EXT-X-VERSION:3
#EXT-X-TARGETDURATION:4
#EXT-X-MEDIA-SEQUENCE:2680
#EXTINF:4.000,
a.ts
#EXTINF:3.5,Title, with a comma
b.ts?token=1&x=2
#EXT-X-ENDLIST
"""


def media(text: str | bytes) -> MediaPlaylist:
    found = parse(text if isinstance(text, bytes) else text.encode(), REF)
    assert isinstance(found, MediaPlaylist)
    return found


def test_a_plain_playlist() -> None:
    found = media(PLAIN)
    assert [(s.sequence, s.uri, s.duration_s) for s in found.segments] == [
        (2680, "a.ts", 4.0),
        (2681, "b.ts?token=1&x=2", 3.5),
    ]
    assert (found.ended, found.target_duration_s) == (True, 4.0)
    assert not any(s.discontinuity or s.is_gap or s.init or s.byte_range for s in found.segments)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        ("\n\n" + PLAIN).encode(),
        PLAIN.replace("#EXT-X-VERSION:3", "#EXT-X-UNHEARD-OF:x=1\n# a comment").encode(),
        PLAIN.replace("a.ts", "a.ts\n\n").encode(),
        PLAIN.replace("#EXT-X-ENDLIST", "#EXT-X-ENDLIST\n#EXT-X-STRANGE").encode(),
        PLAIN.replace("Title", "T\u00eftel \U0001f600").encode(),
        PLAIN.replace("Title", "Ti\xfftel").encode("latin-1"),
    ],
    ids=["bom", "crlf", "cr", "blank-first", "odd", "blanks", "behind-end", "unicode", "latin-1"],
)
def test_oddities_do_not_matter(data: bytes) -> None:
    assert media(data).segments == media(PLAIN).segments


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \r\n\t", "is empty"),
        (
            b"<!DOCTYPE html><html>",
            "web page or XML, no playlist: line 1 is '<!DOCTYPE html><html>'",
        ),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "web page or XML"),
        (b"not a playlist", "line 1 is 'not a playlist' instead of #EXTM3U"),
        (b"\x47\x40\x00\x10" * 50, "instead of #EXTM3U"),
        (b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:seven\n#EXTINF:2,\na.ts\n", "no valid playlist"),
        (b"#EXTM3U\n#EXTINF:long,\na.ts\n", "no valid playlist"),
        (b"#EXTM3U" + b"\n" * MAX_PLAYLIST_BYTES, "larger than"),
    ],
)
def test_what_is_no_playlist_is_refused_with_its_name_and_line(data: bytes, message: str) -> None:
    with pytest.raises(PlaylistInvalid) as caught:
        parse(data, REF)
    assert message in str(caught.value)
    assert REF in str(caught.value)


def test_byte_ranges_with_and_without_an_offset() -> None:
    found = media(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n"
        '#EXT-X-MAP:URI="all.mp4",BYTERANGE="720@0"\n'
        "#EXTINF:2,\n#EXT-X-BYTERANGE:100@720\nall.mp4\n"
        "#EXTINF:2,\n#EXT-X-BYTERANGE:50\nall.mp4\n"
        "#EXTINF:2,\n#EXT-X-BYTERANGE:60\nother.mp4\n"
        "#EXTINF:2,\n#EXT-X-BYTERANGE:70\nall.mp4\n"
    )
    assert [s.byte_range for s in found.segments] == [
        ByteRange(offset=720, length=100),
        ByteRange(offset=820, length=50),
        ByteRange(offset=0, length=60),
        ByteRange(offset=870, length=70),
    ]
    init = InitSection(uri="all.mp4", byte_range=ByteRange(offset=0, length=720))
    assert {s.init for s in found.segments} == {init}


@pytest.mark.parametrize("text", ["0@5", "-1@5", "5@-1", "x", "5@x", "@", "9e9@0"])
def test_impossible_byte_ranges_are_refused(text: str) -> None:
    with pytest.raises(PlaylistInvalid, match="byte range"):
        media(f"#EXTM3U\n#EXTINF:2,\n#EXT-X-BYTERANGE:{text}\na.ts\n")


def test_maps_gaps_discontinuities_and_wall_clock() -> None:
    found = media(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n"
        '#EXT-X-MAP:URI="one.mp4"\n'
        "#EXT-X-PROGRAM-DATE-TIME:2025-10-05T18:00:00.000Z\n#EXTINF:2,\n1.m4s\n"
        "#EXT-X-GAP\n#EXTINF:2,\n2.m4s\n"
        '#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI="two.mp4"\n#EXTINF:2,\n3.m4s\n'
    )
    assert [s.init.uri for s in found.segments if s.init] == ["one.mp4", "one.mp4", "two.mp4"]
    assert [s.is_gap for s in found.segments] == [False, True, False]
    assert [s.discontinuity for s in found.segments] == [False, False, True]
    assert found.segments[1].program_date_time == datetime(2025, 10, 5, 18, 0, 2, tzinfo=UTC)
    assert found.ended is False


def test_a_line_written_twice_is_one_segment() -> None:
    text = PLAIN.replace("a.ts\n", "a.ts\n#EXTINF:4.000,\na.ts\n")
    assert [(s.sequence, s.uri) for s in media(text).segments] == [
        (2680, "a.ts"),
        (2682, "b.ts?token=1&x=2"),
    ]
    loop = PLAIN.replace("a.ts\n", "a.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:4.000,\na.ts\n")
    assert len(media(loop).segments) == 3


def test_target_durations_may_be_decimal_or_absent() -> None:
    assert media(PLAIN.replace("DURATION:4", "DURATION:4.75")).target_duration_s == 5.0
    without = PLAIN.replace("#EXT-X-TARGETDURATION:4\n", "")
    assert media(without).target_duration_s == 4.0


def test_an_empty_live_playlist_is_one() -> None:
    assert media("#EXTM3U\n#EXT-X-TARGETDURATION:4\n").segments == ()


def test_encryption_is_named_and_none_is_none() -> None:
    keyed = PLAIN.replace("#EXTINF:4", '#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXTINF:4')
    with pytest.raises(Unsupported, match="AES-128"):
        media(keyed)
    assert len(media(keyed.replace('AES-128,URI="k"', "NONE")).segments) == 2


def test_a_master_playlist_and_its_best_variant() -> None:
    found = parse(
        b"#EXTM3U\n"
        b'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="far",NAME="en",URI="en.m3u8"\n'
        b'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="in",NAME="en"\n'
        b"#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=640x360\nlow.m3u8\n"
        b'#EXT-X-STREAM-INF:BANDWIDTH=2000000,RESOLUTION=1280x720,AUDIO="in"\nmid.m3u8\n'
        b'#EXT-X-STREAM-INF:BANDWIDTH=3000000,RESOLUTION=1280x720,AUDIO="far"\nhigh.m3u8\n'
        b"#EXT-X-STREAM-INF:BANDWIDTH=9000000\nsound.m3u8\n",
        REF,
    )
    assert isinstance(found, MasterPlaylist)
    assert found.best().uri == "high.m3u8"
    assert [[a.uri for a in found.audio_of(v)] for v in found.variants] == [
        [],
        [None],
        ["en.m3u8"],
        [],
    ]


def test_i_frames_only_is_named() -> None:
    with pytest.raises(Unsupported, match="I-FRAMES-ONLY"):
        media(PLAIN.replace("#EXT-X-VERSION:3", "#EXT-X-VERSION:4\n#EXT-X-I-FRAMES-ONLY"))


LINES = st.one_of(
    st.sampled_from(
        [
            "#EXTM3U",
            "#EXTINF:",
            "#EXTINF:2",
            "#EXTINF:2,",
            "#EXTINF:nan,",
            "#EXTINF:-1,",
            "#EXTINF:inf,",
            "#EXT-X-BYTERANGE:1",
            "#EXT-X-KEY:METHOD=NONE",
            "#EXT-X-MAP:",
            '#EXT-X-MAP:URI=""',
            "#EXT-X-STREAM-INF:",
            "#EXT-X-STREAM-INF:BANDWIDTH=x",
            "#EXT-X-PROGRAM-DATE-TIME:never",
            "#EXT-X-DISCONTINUITY",
            "#EXT-X-ENDLIST",
            "a.ts",
            "#EXT-X-TARGETDURATION:nan",
            "#EXT-X-MEDIA-SEQUENCE:-5",
            "#EXT-X-DATERANGE:ID=x",
            "#EXT-X-PART:DURATION=1",
            "#EXT-X-SERVER-CONTROL:",
            "#EXT-X-SKIP:SKIPPED-SEGMENTS=3",
            "#EXT-X-MEDIA:TYPE=AUDIO",
            "#EXT-X-I-FRAME-STREAM-INF:",
            "#EXT-X-START:",
        ]
    ),
    st.text(max_size=30),
)


@given(st.lists(LINES, max_size=12))
def test_any_text_is_parsed_or_refused(lines: list[str]) -> None:
    try:
        found = parse("\n".join(["#EXTM3U", *lines]).encode(errors="replace"), REF)
    except SourceError:
        return
    if isinstance(found, MediaPlaylist):
        for segment in found.segments:
            assert 0 <= segment.duration_s < 10**9
            assert segment.sequence >= 0
        assert 0 <= found.target_duration_s < 10**9
