"""Source playlists as the world writes them."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.errors import PlaylistInvalid, Unsupported
from pipeline.media.playlist import (
    MAX_PLAYLIST_BYTES,
    MasterPlaylist,
    MediaPlaylist,
    PlaylistLimits,
    parse,
)
from pipeline.model import ByteRange, InitSection, SegmentKey

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


ODDITIES = {
    "bom": b"\xef\xbb\xbf" + PLAIN.encode(),
    "bom twice": b"\xef\xbb\xbf\xef\xbb\xbf" + PLAIN.encode(),
    "utf-16": PLAIN.encode("utf-16"),
    "crlf": PLAIN.replace("\n", "\r\n").encode(),
    "cr": PLAIN.replace("\n", "\r").encode(),
    "no end of line": PLAIN.rstrip("\n").encode(),
    "blank lines first": ("\n \t\n" + PLAIN).encode(),
    "comment first": ("# made by hand\n" + PLAIN).encode(),
    "header with attributes": PLAIN.replace("#EXTM3U", "#EXTM3U x-tvg-url=x").encode(),
    "header twice": PLAIN.replace("#EXTINF:3.5", "#EXTM3U\n#EXTINF:3.5").encode(),
    "white space": PLAIN.replace("\n", " \t\n   ").encode(),
    "NUL behind": PLAIN.encode() + bytes(4096),
    "unknown tag": PLAIN.replace("#EXT-X-VERSION:3", "#EXT-X-UNHEARD-OF:x=1").encode(),
    "tags that begin like others": PLAIN.replace(
        "#EXTINF:3.5",
        "#EXT-X-GAPLESS\n#EXT-X-DISCONTINUITY-X:1\n#EXT-X-KEYS:1\n#EXT-X-MAPS\n#EXTINF:3.5",
    ).encode(),
    "blank lines": PLAIN.replace("a.ts", "a.ts\n\n").encode(),
    "tag behind the end": PLAIN.encode() + b"#EXT-X-STRANGE\n#EXT-X-TARGETDURATION:9\n",
    "cut off behind a duration": PLAIN.encode() + b"#EXTINF:4.0,\n",
    "cut off in a tag": PLAIN.encode() + b"#EXT-X-BYTER",
    "unicode title": PLAIN.replace("Title", "T\u00eftel \U0001f600").encode(),
    "title with line separators": PLAIN.replace("Title", "T\u2028b.ts\x0bc\x85d").encode(),
    "latin-1 title": PLAIN.replace("Title", "Ti\xfftel").encode("latin-1"),
    "no comma": PLAIN.replace("4.000,", "4.000").encode(),
    "space for a colon": PLAIN.replace("EXTINF:4.000,", "EXTINF 4.000").encode(),
    "spaces around numbers": PLAIN.replace(":", ": ").encode(),
    "unit": PLAIN.replace("4.000,", "4.000s,").encode(),
    "small letters": PLAIN.replace("#EXT-X-", "#ext-x-").replace("#EXTINF", "#extinf").encode(),
    "duration twice": PLAIN.replace("#EXTINF:3.5", "#EXTINF:9,\n#EXTINF:3.5").encode(),
    "headers twice": PLAIN.replace(
        "b.ts", "#EXT-X-MEDIA-SEQUENCE:9\n#EXT-X-TARGETDURATION:9\nb.ts"
    ).encode(),
    "sequence behind": PLAIN.replace("#EXT-X-MEDIA-SEQUENCE:2680\n", "").encode()
    + b"#EXT-X-MEDIA-SEQUENCE:2680\n",
    "sequence as a float": PLAIN.replace(":2680", ":2680.0").encode(),
    "forgotten ends of lines": PLAIN.replace("a.ts\n", "a.ts")
    .replace("x=2\n", "x=2")
    .replace(":2680\n", ":2680")
    .encode(),
    "parts": PLAIN.replace(
        "#EXTINF:3.5",
        '#EXT-X-PART:DURATION=x,URI="p.ts"\n#EXT-X-PRELOAD-HINT:TYPE=PART\n#EXTINF:3.5',
    ).encode(),
    "parts at the end": PLAIN.encode() + b'#EXT-X-PART:DURATION=1,URI="p.ts"\n',
    "harmless tags": PLAIN.replace(
        "#EXTINF:3.5",
        "#EXT-X-DATERANGE:ID=x,DURATION=long\n#EXT-X-BITRATE:x\n#EXT-X-SERVER-CONTROL:A=x\n"
        "#EXT-X-DISCONTINUITY-SEQUENCE:x\n#EXT-X-VERSION:x\n#EXT-X-START:TIME-OFFSET=x\n"
        "#EXT-X-CUE-OUT:x\n#EXT-X-SESSION-KEY:x\n#EXT-X-ALLOW-CACHE\n#EXT-X-PLAYLIST-TYPE\n"
        "#EXT-X-PROGRAM-DATE-TIME:yesterday\n#EXT-X-MAP:URI\n#EXT-X-MEDIA:x\n#EXTINF:3.5",
    ).encode(),
}


@pytest.mark.parametrize("data", ODDITIES.values(), ids=ODDITIES.keys())
def test_oddities_do_not_matter(data: bytes) -> None:
    assert media(data) == media(PLAIN)


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
        (b"\n\n#EXTINF:2,\na.ts\n", "line 3 is '#EXTINF:2,' instead of #EXTM3U"),
        (b"# nothing else\n", "holds comments alone"),
        (b"\xef\xbb\xbf\0\0", "is empty"),
        (b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:seven\n", "line 2: 'seven' is no media sequence number"),
        (b"#EXTM3U\n\n#EXT-X-MEDIA-SEQUENCE:-7\n", "line 3: '-7' is no media sequence number"),
        (b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:9223372036854775808\n", "is no media sequence number"),
        (b"#EXTM3U\r\n\r\n#EXTINF:86401,\na.ts", "line 3: a segment of 86401 s cannot be"),
        (b"#EXTM3U\n#EXTINF:1e999,\na.ts", "line 2: a segment of inf s cannot be"),
        (b"#EXTM3U\na.ts\n#EXT-X-STREAM-INF:BANDWIDTH=1\nb.m3u8", "line 3: a variant in"),
        (b"#EXTM3U\n#EXT-X-STREAM-INF:A=1\nb.m3u8\n#EXTINF:2,\na.ts", "line 4: a segment in"),
        (b"#EXTM3U\n" + b"a" * 65_537, "line 2 is longer than 65536 characters"),
        (b"#EXTM3U\n" + b"#EXT-X-GAP\n" * 201, "line 202: 201 tags before a single address"),
        (b"#EXTM3U\n" + b"#EXT-X-MEDIA:A\n" * 10_001, "lists more than 10000 other playlists"),
        (b"#EXTM3U" + b"\r\n" * 1_000_001, "more than 1000000 lines"),
        (b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n", "is a master playlist without variants"),
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


@pytest.mark.parametrize("text", ["0@5", "-1@5", "5@-1", "x", "5@x", "@", "9e9@0", "", "\u2028b"])
def test_impossible_byte_ranges_cost_their_segments_alone(text: str) -> None:
    found = media(
        f"#EXTM3U\n#EXTINF:2,\n#EXT-X-BYTERANGE:{text}\na.ts\n"
        "#EXTINF:2,\n#EXT-X-BYTERANGE:10\na.ts\n"
        "#EXTINF:2,\n#EXT-X-BYTERANGE:10@90\na.ts\n"
        "#EXTINF:2,\n#EXT-X-BYTERANGE:10\na.ts\n"
    )
    assert [s.is_gap for s in found.segments] == [True, True, False, False]
    assert all("is no byte range" in s.gap_reason for s in found.segments[:2])
    assert found.segments[3].byte_range == ByteRange(offset=100, length=10)


def test_a_first_range_without_an_offset_follows_its_init_section() -> None:
    found = media(
        '#EXTM3U\n#EXT-X-MAP:URI="all.mp4",BYTERANGE=720@0\n'
        '#EXTINF:2,\n#EXT-X-BYTERANGE:"100"\nall.mp4\n'
    )
    assert found.segments[0].byte_range == ByteRange(offset=720, length=100)


@pytest.mark.parametrize(
    ("written", "uri"),
    [
        ("\u00fc \u65e5\u672c.ts", "\u00fc \u65e5\u672c.ts"),
        ("a%20b%C3%BC.ts?x=%2F", "a%20b%C3%BC.ts?x=%2F"),
        ("../up/./a.ts#x", "../up/./a.ts#x"),
        ("https://h/a,b'c\".ts", "https://h/a,b'c\".ts"),
        ("a\u2028\x85b.ts", "a\u2028\x85b.ts"),
        ("a\x0b\x1c\0b.ts", "a%0B%1C%00b.ts"),
        ("#EXTINF:1,\n12", "12"),
        ("{$x}.ts", "{$x}.ts"),
    ],
)
def test_addresses_come_through_as_they_are(written: str, uri: str) -> None:
    assert [s.uri for s in media(f"#EXTM3U\n#EXTINF:1,\n{written}\n").segments] == [uri]


def test_bytes_that_are_no_unicode_reach_the_server_as_they_are() -> None:
    found = media(b'#EXTM3U\n#EXT-X-MAP:URI="\xe9.mp4"\n#EXTINF:1,\n\xe9.ts\n').segments[0]
    assert (found.uri, found.init) == ("%E9.ts", InitSection(uri="%E9.mp4"))


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


@pytest.mark.parametrize(
    ("written", "first"),
    [("7", 7), (" 7 ", 7), ("0", 0), ("", 0), ("-1", 0), ("seven", 0), ("9" * 30, 0)],
)
def test_runs_are_counted_from_the_discontinuity_sequence(written: str, first: int) -> None:
    found = media(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-DISCONTINUITY-SEQUENCE:{written}\n"
        "#EXTINF:2,\na.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:2,\nb.ts\n#EXTINF:2,\nc.ts\n"
    )
    assert [segment.era for segment in found.segments] == [first, first + 1, first + 1]


def test_a_line_written_twice_is_one_segment() -> None:
    text = PLAIN.replace("a.ts\n", "a.ts\n#EXTINF:4.000,\na.ts\n")
    assert [(s.sequence, s.uri) for s in media(text).segments] == [
        (2680, "a.ts"),
        (2682, "b.ts?token=1&x=2"),
    ]
    loop = PLAIN.replace("a.ts\n", "a.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:4.000,\na.ts\n")
    assert len(media(loop).segments) == 3


def test_missing_pieces_may_share_an_address() -> None:
    gap = "#EXT-X-GAP\n#EXTINF:4,\ngap.ts\n"
    found = media(PLAIN.replace("#EXT-X-ENDLIST", gap * 3 + "#EXT-X-ENDLIST"))
    assert [s.sequence for s in found.segments if s.is_gap] == [2682, 2683, 2684]
    assert {s.gap_reason for s in found.segments} == {""}


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("4", 4.0),
        ("4.75", 5.0),
        ("4,75", 4.0),
        ('"6"', 6.0),
        ("nan", 3.5),
        ("-1", 3.5),
        ("0", 3.5),
        ("", 3.5),
        ("1e99", 3.5),
        ("9" * 5000, 3.5),
    ],
)
def test_target_durations_may_be_odd(written: str, seconds: float) -> None:
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:{written}\n#EXTINF:3.5,\na.ts\n"
    assert media(text).target_duration_s == seconds


def test_without_a_target_duration_the_longest_segment_counts() -> None:
    assert media(PLAIN.replace("#EXT-X-TARGETDURATION:4\n", "")).target_duration_s == 4.0


@pytest.mark.parametrize(
    "line",
    ["", "#EXTINF", "#EXTINF:,", "#EXTINF:long,", "#EXTINF:nan,", "#EXTINF:-1,", "#EXTINF:0,"],
)
def test_a_segment_that_names_no_duration_lasts_the_target_duration(line: str) -> None:
    found = media(f"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:4,\na.ts\n{line}\nb.ts\n")
    assert [(s.uri, s.duration_s) for s in found.segments] == [("a.ts", 4.0), ("b.ts", 6.0)]


def test_limits_are_an_argument() -> None:
    for limits in (
        PlaylistLimits(max_bytes=len(PLAIN) - 1),
        PlaylistLimits(max_segments=1),
        PlaylistLimits(max_segment_s=3.9),
    ):
        with pytest.raises(PlaylistInvalid):
            parse(PLAIN.encode(), REF, limits)
    exact = PlaylistLimits(max_bytes=len(PLAIN), max_segments=2, max_segment_s=4.0)
    assert parse(PLAIN.encode(), REF, exact) == media(PLAIN)


def test_an_empty_live_playlist_is_one() -> None:
    assert media("#EXTM3U\n#EXT-X-TARGETDURATION:4\n").segments == ()


SEQUENCE_IV = f"{2680:032x}"


@pytest.mark.parametrize(
    ("written", "uri", "iv"),
    [
        ('METHOD=AES-128,URI="k"', "k", SEQUENCE_IV),
        ('METHOD=AES-128,URI="k",IV=', "k", SEQUENCE_IV),
        ('METHOD=AES-128,URI="k",IV=0x' + "9C" * 16, "k", "9c" * 16),
        ('METHOD=AES-128,URI="k",IV=0X1', "k", "0" * 31 + "1"),
        ('METHOD=AES-128,URI="k",IV=' + "ab" * 16, "k", "ab" * 16),
        ('METHOD=AES-128,URI="k",IV="0x000' + "ab" * 16 + '"', "k", "ab" * 16),
        (' method = aes-128 , uri = "k" , iv = 0x2 ', "k", "0" * 31 + "2"),
        ('METHOD=AES-128,URI="k"IV=0x2', "k", "0" * 31 + "2"),
        ("METHOD=AES-128,URI=k?a=b", "k?a=b", SEQUENCE_IV),
        ("METHOD=AES-128,URI='k'", "k", SEQUENCE_IV),
        ('METHOD=AES-128,URI="it\'s,1=2"', "it's,1=2", SEQUENCE_IV),
        ('METHOD=AES-128,URI="k', "k", SEQUENCE_IV),
        ('METHOD=AES-128,,ODD,URI="k"', "k", SEQUENCE_IV),
        ('METHOD=AES-128,URI="k",KEYFORMAT="identity",KEYFORMATVERSIONS="1"', "k", SEQUENCE_IV),
    ],
)
def test_keys(written: str, uri: str, iv: str) -> None:
    found = media(PLAIN.replace("#EXTINF:4", f"#EXT-X-KEY:{written}\n#EXTINF:4")).segments
    assert found[0].key == SegmentKey(uri=uri, iv=iv)
    assert not any(s.is_gap for s in found)
    assert found[1].key == SegmentKey(uri=uri, iv=f"{2681:032x}" if iv == SEQUENCE_IV else iv)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ('METHOD=SAMPLE-AES,URI="k"', "encrypted with SAMPLE-AES, which is not supported"),
        ('METHOD=SAMPLE-AES-CTR,URI="k"', "encrypted with SAMPLE-AES-CTR, which is not supported"),
        ('METHOD=AES-256,URI="k"', "encrypted with AES-256, which is not supported"),
        ('METHOD=ROT13,URI="k"', "encrypted with ROT13, which is not supported"),
        ('METHOD=AES-128,URI="k",KEYFORMAT="com.apple"', "a key of the format com.apple"),
        ('URI="k"', "names no method"),
        ("METHOD=AES-128", "names no key"),
        ('METHOD=AES-128,URI=""', "names no key"),
        ('METHOD=AES-128,URI="k",IV=0xg', "IV '0xg' is no 128-bit number"),
        ('METHOD=AES-128,URI="k",IV=0x1' + "0" * 32, "is no 128-bit number"),
        ("", "names no method"),
    ],
)
def test_what_cannot_be_decrypted_is_a_gap_with_its_reason(written: str, reason: str) -> None:
    text = PLAIN.replace("#EXTINF:4", f"#EXT-X-KEY:{written}\n#EXTINF:4")
    found = media(text.replace("#EXTINF:3.5", "#EXT-X-KEY:METHOD=NONE\n#EXTINF:3.5")).segments
    assert [(s.is_gap, s.key) for s in found] == [(True, None), (False, None)]
    assert reason in found[0].gap_reason


def test_keys_change_and_end() -> None:
    found = media(
        '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="1",IV=0x1\n#EXTINF:1,\na\n#EXTINF:1,\nb\n'
        '#EXT-X-KEY:METHOD=AES-128,URI="2"\n#EXTINF:1,\nc\n#EXT-X-DISCONTINUITY\n#EXTINF:1,\nd\n'
        "#EXT-X-KEY:METHOD=NONE\n#EXTINF:1,\ne\n"
    )
    assert [(s.key.uri, int(s.key.iv, 16)) if s.key else None for s in found.segments] == [
        ("1", 1),
        ("1", 1),
        ("2", 2),
        ("2", 3),
        None,
    ]


def test_of_several_keys_the_identity_one_is_taken() -> None:
    drm = '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x",KEYFORMAT="com.apple.streamingkeydelivery"\n'
    clear = '#EXT-X-KEY:METHOD=AES-128,URI="k"\n'
    for keys in (drm + clear, clear + drm):
        assert media(PLAIN.replace("#EXTINF:4", keys + "#EXTINF:4")).segments[0].key is not None
    ended = media(PLAIN.replace("#EXTINF:4", f"{clear}#EXT-X-KEY:METHOD=NONE\n{drm}#EXTINF:4"))
    assert all("SAMPLE-AES" in s.gap_reason for s in ended.segments)


def test_init_sections_have_the_key_in_force_where_they_are_named() -> None:
    clear, encrypted = '#EXT-X-MAP:URI="i",A=1\n', '#EXT-X-KEY:METHOD=AES-128,URI="k"'
    segment = "#EXTINF:1,\na\n"
    for lines, init in {
        f"{clear}{encrypted}\n": InitSection(uri="i"),
        f"{encrypted}\n{clear}": InitSection(uri="i", key=SegmentKey(uri="k", iv="")),
        f"{encrypted},IV=0xA\n{clear}#EXT-X-KEY:METHOD=NONE\n": InitSection(
            uri="i", key=SegmentKey(uri="k", iv="0" * 31 + "a")
        ),
        f"#EXT-X-KEY:METHOD=SAMPLE-AES\n{clear}#EXT-X-KEY:METHOD=NONE\n": InitSection(uri="i"),
        f"{clear}#EXT-X-DISCONTINUITY\n#EXT-X-MAP:\n": InitSection(uri="i"),
    }.items():
        found = media(f"#EXTM3U\n{lines}{segment}").segments[0]
        assert (found.init, found.is_gap) == (init, False)


def test_segments_whose_init_section_cannot_be_read_are_gaps() -> None:
    found = media(
        '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128\n#EXT-X-MAP:URI="i"\n'
        "#EXT-X-KEY:METHOD=NONE\n#EXTINF:1,\na\n"
        '#EXT-X-MAP:URI="i",BYTERANGE="x"\n#EXTINF:1,\nb\n#EXT-X-MAP:URI="i"\n#EXTINF:1,\nc\n'
    )
    assert [s.is_gap for s in found.segments] == [True, True, False]
    assert "initialization section cannot be read" in found.segments[0].gap_reason
    assert "no byte range of an initialization section" in found.segments[1].gap_reason


NOON = datetime(2025, 10, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        "2025-10-05T12:00:00Z",
        "2025-10-05T12:00:00.000+00:00",
        "2025-10-05T14:00:00.000+0200",
        "2025-10-05t12:00:00z",
        "2025-10-05 12:00:00",
        '"2025-10-05T12:00:00,000000000Z"',
        "20251005T120000Z",
    ],
)
def test_dates_are_utc_and_read_leniently(written: str) -> None:
    found = media(PLAIN.replace("#EXTINF:4", f"#EXT-X-PROGRAM-DATE-TIME:{written}\n#EXTINF:4"))
    assert [s.program_date_time for s in found.segments] == [NOON, NOON + timedelta(seconds=4)]
    assert found.segments[0].program_date_time.utcoffset() == timedelta()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "written",
    ["", "never", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "2025-13-01T00:00Z"],
)
def test_dates_that_no_camera_has_seen_are_none(written: str) -> None:
    found = media(PLAIN.replace("#EXTINF:4", f"#EXT-X-PROGRAM-DATE-TIME:{written}\n#EXTINF:4"))
    assert [s.program_date_time for s in found.segments] == [None, None]


def test_dates_go_on_and_back_to_a_discontinuity_and_not_over_it() -> None:
    date = "#EXT-X-PROGRAM-DATE-TIME:2025-10-05T12:00:"
    found = media(
        f"#EXTM3U\n#EXTINF:2,\na\n{date}10Z\n#EXTINF:2,\nb\n#EXTINF:2,\nb\n#EXTINF:3,\nc\n"
        f"#EXTINF:2,\nd\n{date}30Z\n#EXTINF:2,\ne\n"
        f"#EXT-X-DISCONTINUITY\n#EXTINF:2,\nf\n{date}50Z\n#EXT-X-DISCONTINUITY\n#EXTINF:2,\ng\n"
    )
    seconds = [
        (s.program_date_time - NOON).seconds if s.program_date_time else None
        for s in found.segments
    ]
    assert [s.uri for s in found.segments] == list("abcdefg")
    assert seconds == [8, 10, 12, 15, 30, None, 50]


def test_variables_are_filled_in() -> None:
    found = media(
        '#EXTM3U\n#EXT-X-DEFINE:NAME="host",VALUE="https://h"\n#EXT-X-DEFINE:NAME="s",VALUE="a=b"\n'
        '#EXT-X-KEY:METHOD=AES-128,URI="{$host}/k?{$s}"\n#EXTINF:1,\n{$host}/a.ts?{$s}\n'
    )
    assert found.segments[0].uri == "https://h/a.ts?a=b"
    assert found.segments[0].key == SegmentKey(uri="https://h/k?a=b", iv="0" * 32)


def test_variables_from_elsewhere_are_named_where_they_matter() -> None:
    elsewhere = '#EXTM3U\n#EXT-X-DEFINE:QUERYPARAM="token"\n#EXTINF:1,\n'
    assert media(elsewhere + "a.ts").segments[0].uri == "a.ts"
    with pytest.raises(Unsupported, match="line 4: the variable token comes from outside"):
        media(elsewhere + "a.ts?{$token}")
    with pytest.raises(PlaylistInvalid, match="line 4: no variable is called other"):
        media(elsewhere + "a.ts?{$other}")


def test_variables_cannot_grow_without_end() -> None:
    bomb = '#EXTM3U\n#EXT-X-DEFINE:NAME="a",VALUE="' + "x" * 60_000 + '"\n'
    with pytest.raises(PlaylistInvalid, match="line 3: its variables never end"):
        media(bomb + "{$a}" * 16_000)
    with pytest.raises(PlaylistInvalid, match="its variables never end"):
        media(bomb + ("{$a}" * 1_000 + "\n") * 9)


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("#EXT-X-I-FRAMES-ONLY", "holds only I-frames"),
        ("#EXT-X-IMAGES-ONLY", "holds only images"),
        ("#EXT-X-SKIP:SKIPPED-SEGMENTS=3", "is a delta update"),
    ],
)
def test_kinds_of_playlists_that_cannot_be_recorded_are_named(tag: str, message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        media(PLAIN.replace("#EXT-X-VERSION:3", tag))


def master(*lines: str) -> MasterPlaylist:
    found = parse("\n".join(["#EXTM3U", *lines]).encode(), REF)
    assert isinstance(found, MasterPlaylist)
    return found


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


def test_variants_are_read_as_they_are() -> None:
    found = master(
        '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="English",URI="en.m3u8"',
        '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s2",NAME="English",URI="en2.m3u8"',
        '#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="c",NAME="CC1",INSTREAM-ID="CC1"',
        '#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID="v",NAME="Goal",URI="goal.m3u8"',
        '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=x,URI="i.m3u8"',
        "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1",
        "#EXT-X-STREAM-INF:BANDWIDTH=1e6,AVERAGE-BANDWIDTH=x,RESOLUTION=1280X720,FRAME-RATE=n,"
        'CODECS="avc1.64001f,mp4a.40.2",AUDIO="it\'s, a"',
        "",
        "# a comment",
        "v.m3u8 ",
        "#EXT-X-STREAM-INF:BANDWIDTH=2,RESOLUTION=large",
        "#EXT-X-STREAM-INF:BANDWIDTH=3",
        "w.m3u8",
        "stray.m3u8",
        "#EXT-X-STREAM-INF",
        "x.m3u8",
    )
    first, second, third = found.variants
    assert (first.uri, first.bandwidth, first.width, first.height) == (
        "v.m3u8",
        1_000_000,
        1280,
        720,
    )
    assert (first.codecs, first.audio_group) == ("avc1.64001f,mp4a.40.2", "it's, a")
    assert (second.uri, second.bandwidth, second.height, second.audio_group) == ("w.m3u8", 3, 0, "")
    assert (third.uri, third.bandwidth) == ("x.m3u8", 0)
    assert found.dropped == (
        "subtitles 'English'",
        "closed captions 'CC1'",
        "another video 'Goal'",
        "I-frame playlist",
    )


@pytest.mark.parametrize(
    ("variants", "best"),
    [
        (["BANDWIDTH=9,CODECS=mp4a.40.2", 'BANDWIDTH=1,CODECS="avc1.42c00a,mp4a.40.2"'], 1),
        (["BANDWIDTH=9", "BANDWIDTH=1,RESOLUTION=16x9"], 1),
        (["BANDWIDTH=9,RESOLUTION=16x9", "BANDWIDTH=1,RESOLUTION=32x18"], 1),
        (["BANDWIDTH=1,RESOLUTION=16x9", "BANDWIDTH=9,RESOLUTION=16x9"], 1),
        (["BANDWIDTH=9,CODECS=mp4a.40.5", "BANDWIDTH=1"], 1),
        (["BANDWIDTH=9,CODECS=mp4a.40.5", "BANDWIDTH=1,CODECS=mp4a.40.5"], 0),
        (["BANDWIDTH=1", "BANDWIDTH=1"], 0),
    ],
)
def test_the_best_variant(variants: list[str], best: int) -> None:
    lines = (f"#EXT-X-STREAM-INF:{text}\n{number}.m3u8" for number, text in enumerate(variants))
    assert master(*lines).best().uri == f"{best}.m3u8"


def test_the_sounds_of_a_variant() -> None:
    found = master(
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="fr",LANGUAGE="fr",URI="fr.m3u8",CHANNELS="2"',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="en",DEFAULT=YES,URI="en.m3u8"',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="fr again",URI="fr.m3u8"',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="inside"',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="inside too",URI="v.m3u8"',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="other",NAME="x",URI="x.m3u8"',
        '#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"\nv.m3u8',
        '#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="none"\nw.m3u8',
        "#EXT-X-STREAM-INF:BANDWIDTH=1\nx.m3u8",
    )
    sounds = [[(a.name, a.uri) for a in found.audio_of(v)] for v in found.variants]
    assert sounds == [[("en", "en.m3u8"), ("fr", "fr.m3u8"), ("inside", None)], [], []]
    french = found.audio_of(found.variants[0])[1]
    assert (french.language, french.channels, french.is_default) == ("fr", "2", False)


def test_a_master_of_sound_alone() -> None:
    found = master('#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS="mp4a.40.2"\nradio.m3u8')
    assert found.best().is_sound_only
    bare = master(
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="fr",URI="fr.m3u8"',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="en",DEFAULT=YES,URI="en.m3u8"',
    )
    assert bare.best().uri == "en.m3u8"
    assert [a.uri for a in bare.audio_of(bare.best())] == [None, "fr.m3u8"]


def test_a_master_of_i_frames_alone_is_named() -> None:
    with pytest.raises(Unsupported, match="only I-frame playlists"):
        master('#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="i.m3u8"')
