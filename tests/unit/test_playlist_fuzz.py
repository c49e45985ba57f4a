"""Playlists that nobody thought of: read or refused; a good one is read as it was meant.

A failing example is kept in ``.hypothesis`` and printed with the line that makes it again.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from time import monotonic

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import PlaylistInvalid, Unsupported
from pipeline.media.playlist import (
    MAX_PLAYLIST_BYTES,
    MediaPlaylist,
    PlaylistLimits,
    parse,
)
from pipeline.model import ByteRange, InitSection, Segment, SegmentKey

REF = "s3://live/key/stream.m3u8"
LIMITS = PlaylistLimits(max_bytes=2**17, max_segments=500)
_MAX_S = 5.0

GOOD = (
    b"#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n"
    b'#EXT-X-DEFINE:NAME="n",VALUE="v"\n'
    b'#EXT-X-KEY:METHOD=AES-128,URI="k?{$n}",IV=0x0123\n'
    b'#EXT-X-MAP:URI="all.mp4",BYTERANGE="720@0"\n'
    b"#EXT-X-PROGRAM-DATE-TIME:2025-10-05T18:00:00.000Z\n"
    b"#EXTINF:4.000,Title\n#EXT-X-BYTERANGE:100@720\nall.mp4\n"
    b"#EXTINF:4.000,\n#EXT-X-BYTERANGE:100\nall.mp4\n"
    b"#EXT-X-DISCONTINUITY\n#EXT-X-KEY:METHOD=NONE\n#EXT-X-GAP\n#EXTINF:4,\nb.mp4\n#EXT-X-ENDLIST\n",
    b'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="en",DEFAULT=YES,URI="en.m3u8"\n'
    b'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="English",URI="s.m3u8"\n'
    b'#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="i.m3u8"\n'
    b'#EXT-X-STREAM-INF:BANDWIDTH=2,RESOLUTION=1280x720,CODECS="avc1,mp4a",AUDIO="a"\nv.m3u8\n',
)
TAGS = [
    *sorted({tag for text in GOOD for tag in text.decode().split("\n") if tag}),
    "#EXT-X-I-FRAMES-ONLY",
    "#EXT-X-SKIP:SKIPPED-SEGMENTS=3",
    "#EXT-X-DATERANGE:ID=x",
    '#EXT-X-PART:DURATION=1,URI="p"',
    "#EXT-X-KEY:METHOD=SAMPLE-AES,KEYFORMAT=x",
    "#EXT-X-DEFINE:QUERYPARAM=n",
    "a.ts",
    "{$n}",
]
NAMES = sorted({tag.partition(":")[0] for tag in TAGS if tag.startswith("#")})
VALUES = st.one_of(
    st.sampled_from(
        [
            "",
            "nan",
            "inf",
            "-1",
            "1e999",
            "9" * 40,
            "\0",
            "1_0",
            "\u0661",
            "=",
            ",",
            '"',
            "URI=",
            "@",
        ]
    ),
    st.text(max_size=20),
    st.floats().map(str),
    st.integers().map(str),
)
SOUP = st.lists(
    st.one_of(
        st.sampled_from(TAGS),
        st.builds("{}:{}".format, st.sampled_from(NAMES), VALUES),
        st.builds("{}:{}={}".format, st.sampled_from(NAMES), VALUES, VALUES),
        st.text(max_size=30),
    ),
    max_size=20,
).map(lambda lines: "\n".join(["#EXTM3U", *lines]).encode("utf-8", "surrogatepass"))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good playlist with a few places cut out, doubled, or overwritten."""
    data = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 40))
        piece = bytes(data[at : at + length])
        data[at : at + length] = draw(
            st.one_of(
                st.just(b""),
                st.just(piece * 2),
                st.binary(max_size=8),
                st.sampled_from(
                    [b"\r", b"\n", b'"', b"'", b",", b"=", b":", b"\xff", b"{$n}", b"-"]
                ),
            )
        )
    return bytes(data)


def check_read_or_refused(data: bytes) -> None:
    began = monotonic()
    refusal = ""
    try:
        found = parse(data, REF, LIMITS)
    except (PlaylistInvalid, Unsupported) as error:
        refusal = str(error)
        refusal.encode()
    else:
        repr(found).encode()
        if isinstance(found, MediaPlaylist):
            check_sound(found)
        else:
            assert found.best() in found.variants
            assert len(found.audio_of(found.best())) <= len(found.audios)
    assert not refusal or REF in refusal
    assert "no valid playlist" not in refusal, "m3u8 was given what it chokes on"
    assert monotonic() - began < _MAX_S


def check_sound(found: MediaPlaylist) -> None:
    assert 0 <= found.target_duration_s <= LIMITS.max_segment_s
    assert len(found.segments) <= LIMITS.max_segments
    numbers = [segment.sequence for segment in found.segments]
    assert numbers == sorted(set(numbers))
    for segment in found.segments:
        assert 0 <= segment.duration_s <= LIMITS.max_segment_s
        assert segment.uri
        assert "\0" not in segment.uri + segment.gap_reason
        assert not segment.gap_reason or segment.is_gap
        if segment.key is not None:
            assert segment.key.uri
            assert len(segment.key.iv) == 32
            int(segment.key.iv, 16)
        if segment.byte_range is not None:
            assert segment.byte_range.offset >= 0 < segment.byte_range.length
        if segment.program_date_time is not None:
            assert segment.program_date_time.tzinfo is UTC


# --- a good playlist is read as it was meant ----------------------------------------------------

ADDRESSES = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters='"\ufeff\u00a0'), min_size=1
).map(lambda text: f"x{text}y".replace("#EXT", "").replace("{$", ""))


@st.composite
def segments(draw: st.DrawFn) -> tuple[Segment, ...]:
    """As a reader should find them: dates go on, ranges have offsets, keys an IV."""
    listed: list[Segment] = []
    key_uri = iv = init = moment = None
    first = draw(st.integers(0, 2**63 - 1))
    for sequence in range(first, first + draw(st.integers(0, 8))):
        is_first, breaks = not listed, draw(st.booleans())
        if draw(st.booleans()):
            key_uri = draw(st.none() | ADDRESSES)
            iv = draw(st.none() | st.integers(0, 2**128 - 1))
        if draw(st.booleans()):
            key = (
                SegmentKey(uri=key_uri, iv="" if iv is None else f"{iv:032x}") if key_uri else None
            )
            byte_range = draw(st.none() | ranges())
            init = InitSection(uri=draw(ADDRESSES), byte_range=byte_range, key=key)
        if is_first or breaks:
            moment = draw(st.none() | dates())
        elif moment is not None:
            moment += timedelta(seconds=listed[-1].duration_s)
        number = sequence if iv is None else iv
        listed.append(
            Segment(
                sequence=sequence,
                uri=f"{draw(ADDRESSES)}?{sequence}",
                duration_s=draw(st.integers(1, 10_000_000)) / 1000,
                discontinuity=breaks,
                byte_range=draw(st.none() | ranges()),
                init=init,
                key=SegmentKey(uri=key_uri, iv=f"{number:032x}") if key_uri else None,
                program_date_time=moment,
                is_gap=draw(st.booleans()),
            )
        )
    return tuple(listed)


def ranges() -> st.SearchStrategy[ByteRange]:
    return st.builds(ByteRange, offset=st.integers(0, 2**40), length=st.integers(1, 2**40))


def dates() -> st.SearchStrategy[datetime]:
    return st.datetimes(datetime(1970, 1, 2), datetime(2999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def written(listed: tuple[Segment, ...], *, ended: bool, end_of_line: str) -> bytes:
    """The playlist that says so: every key, init section and date only where it must be told."""
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:10000"]
    lines += [f"#EXT-X-MEDIA-SEQUENCE:{listed[0].sequence}"] if listed else []
    key: str | None = "METHOD=NONE"
    init: InitSection | None = None
    for number, segment in enumerate(listed):
        if segment.init != init and segment.init is not None:
            if _key(segment.init.key) != key:
                lines.append(f"#EXT-X-KEY:{(key := _key(segment.init.key))}")
            lines.append(_map(init := segment.init))
        if _key(segment.key, segment.sequence) != key:
            lines.append(f"#EXT-X-KEY:{(key := _key(segment.key, segment.sequence))}")
        if segment.discontinuity:
            lines.append("#EXT-X-DISCONTINUITY")
        if segment.program_date_time and (segment.discontinuity or number == 0):
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{segment.program_date_time.isoformat()}")
        lines += ["#EXT-X-GAP"] * segment.is_gap
        lines.append(f"#EXTINF:{segment.duration_s:.3f},")
        if segment.byte_range:
            lines.append(f"#EXT-X-BYTERANGE:{_range(segment.byte_range)}")
        lines.append(segment.uri)
    lines += ["#EXT-X-ENDLIST"] * ended
    return end_of_line.join([*lines, ""]).encode()


def _key(key: SegmentKey | None, sequence: int = -1) -> str:
    """Without an IV where the media sequence number is it."""
    if key is None:
        return "METHOD=NONE"
    says_iv = key.iv and int(key.iv, 16) != sequence
    return f'METHOD=AES-128,URI="{key.uri}"' + (f",IV=0x{key.iv}" if says_iv else "")


def _map(init: InitSection) -> str:
    byte_range = f',BYTERANGE="{_range(init.byte_range)}"' if init.byte_range else ""
    return f'#EXT-X-MAP:URI="{init.uri}"{byte_range}'


def _range(byte_range: ByteRange) -> str:
    return f"{byte_range.length}@{byte_range.offset}"


def check_round_trip(listed: tuple[Segment, ...], ended: bool, end_of_line: str) -> None:
    found = parse(written(listed, ended=ended, end_of_line=end_of_line), REF)
    eras = accumulate(segment.discontinuity for segment in listed)
    wanted = tuple(replace(s, era=era) for s, era in zip(listed, eras, strict=True))
    assert found == MediaPlaylist(segments=wanted, target_duration_s=10_000.0, ended=ended)


# --- texts that are made to take long -----------------------------------------------------------


def keys_of_their_own(count: int) -> bytes:
    lines = (f'#EXT-X-KEY:METHOD=AES-128,URI="k{n}"\n#EXTINF:4,\ns{n}\n' for n in range(count))
    return ("#EXTM3U\n" + "".join(lines)).encode()


def repeated(text: bytes) -> bytes:
    """Text as large as a playlist may be."""
    return b"#EXTM3U\n" + text * ((MAX_PLAYLIST_BYTES - 8) // len(text))


HOSTILE = {
    "a line": b"a",
    "blank lines": b"\n",
    "addresses": b"a\n",
    "unknown tags": b"#EXT-X-UNHEARD-OF\n",
    "tags without an end": b"#EXT-X-UNHEARD-OF",
    "gaps": b"#EXT-X-GAP\n",
    "keys": b"#EXT-X-KEY:A=1\n" * 3 + b"a" * 40 + b"\n",
    "equals": b"#EXT-X-MAP:" + b"=" * 65_000 + b"\na\n",
    "quotes": b"#EXT-X-MAP:" + b"a='\"'," * 9_000 + b"\na\n",
}


def test_time_does_not_grow_with_the_square_of_keys() -> None:
    began = monotonic()
    found = parse(keys_of_their_own(20_000), REF)
    assert isinstance(found, MediaPlaylist)
    assert len(found.segments) == 20_000
    assert monotonic() - began < 10


@pytest.mark.soak
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_the_largest_texts_take_seconds(text: bytes) -> None:
    began = monotonic()
    with suppress(PlaylistInvalid):
        parse(repeated(text), REF)
    assert monotonic() - began < 60


# --- for seconds in `make test`, for minutes in `make soak` -------------------------------------


def runs(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])


@runs(250)
@given(SOUP)
def test_tag_soup_is_read_or_refused(data: bytes) -> None:
    check_read_or_refused(data)


@runs(250)
@given(mutated())
def test_mutations_are_read_or_refused(data: bytes) -> None:
    check_read_or_refused(data)


@runs(150)
@given(segments(), st.booleans(), st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_was_written_is_read(listed: tuple[Segment, ...], ended: bool, line_end: str) -> None:
    check_round_trip(listed, ended, line_end)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@runs(20_000)
@given(SOUP | mutated())
def test_many_playlists_are_read_or_refused(data: bytes) -> None:
    check_read_or_refused(data)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@runs(5_000)
@given(segments(), st.booleans(), st.sampled_from(["\n", "\r\n", "\r"]))
def test_whatever_was_written_is_read(
    listed: tuple[Segment, ...], ended: bool, line_end: str
) -> None:
    check_round_trip(listed, ended, line_end)
