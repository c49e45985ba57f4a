"""Damage to playlists (RFC 8216): lines, numbers, attributes, addresses, tags from elsewhere."""

import re
from random import Random

from tests.fuzz.raw import Damage

_NUMBERS = ("0", "-1", "1", "1e400", "1e-300", "nan", "inf", "99999999999999999999", "", "0x10")
_NUMBERS += ("4294967296", "9223372036854775808", "-0.0", "1.", ".5", "1,5", "٣")
_URIS = ("../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:9/x.ts")
_URIS += ("", ".", "..", "stream.m3u8", "%00", "%ff%fe", "//host/x", "data:,x", "a" * 5000, "\x00")
_URIS += (
    "/dev/zero",
    "/dev/stdin",
    "http://[::1",
    "?",
    "#",
    "a?b#c",
    "\ud7ff.ts",
    "http://:99999/",
)
_TAGS = (
    "#EXT-X-DISCONTINUITY",
    "#EXT-X-GAP",
    "#EXT-X-ENDLIST",
    "#EXT-X-I-FRAMES-ONLY",
    "#EXT-X-BYTERANGE:100",
    "#EXT-X-BYTERANGE:100@0",
    "#EXT-X-BYTERANGE:99999999999@99999999999",
    "#EXT-X-BYTERANGE:0@0",
    '#EXT-X-MAP:URI="init.mp4"',
    '#EXT-X-MAP:URI="stream.m3u8",BYTERANGE="10@5"',
    "#EXT-X-MAP:",
    '#EXT-X-KEY:METHOD=AES-128,URI="stream.m3u8"',
    '#EXT-X-KEY:METHOD=AES-128,URI="key.bin",IV=0x1',
    "#EXT-X-KEY:METHOD=AES-128",
    "#EXT-X-KEY:METHOD=NONE",
    '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="key.bin"',
    "#EXT-X-MEDIA-SEQUENCE:18446744073709551616",
    "#EXT-X-PROGRAM-DATE-TIME:9999-12-31T23:59:59Z",
    "#EXT-X-PROGRAM-DATE-TIME:0000-00-00T99:99:99",
    "#EXT-X-PROGRAM-DATE-TIME:2024-03-04T23:02:17.684+99:99",
    "#EXT-X-DATERANGE:ID=1,START-DATE=x,DURATION=-1",
    "#EXT-X-STREAM-INF:BANDWIDTH=1",
    "#EXT-X-STREAM-INF:BANDWIDTH=-1,RESOLUTION=0x0,CODECS=",
    '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="b",URI="stream.m3u8"',
    "#EXTINF:",
    "#EXTINF:2,",
    "#EXTINF:1e9,",
    "#EXT-X-PART:DURATION=1,URI=x",
    "#EXT-X-SKIP:SKIPPED-SEGMENTS=10",
    "#EXT-X-DEFINE:NAME=a,VALUE=b",
    "#EXT-X-START:TIME-OFFSET=-1e99",
    "garbage \x01\x02",
)


def change_lines(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\n")
    for _ in range(random.choice((1, 1, 3))):
        at, other = random.randrange(len(lines)), random.randrange(len(lines))
        match random.randrange(4):
            case 0 if len(lines) > 1:
                del lines[at]
            case 1:
                lines.insert(at, lines[other])
            case 2:
                lines[at], lines[other] = lines[other], lines[at]
            case _:
                lines[at] = lines[at][: random.randrange(len(lines[at]) + 1)]
    return b"\n".join(lines)


def change_numbers(data: bytes, random: Random) -> bytes:
    numbers = list(re.finditer(rb"\d+(\.\d+)?", data))
    if not numbers:
        return data
    found = random.choice(numbers)
    return data[: found.start()] + random.choice(_NUMBERS).encode() + data[found.end() :]


def change_attributes(data: bytes, random: Random) -> bytes:
    """A mark between attributes goes, comes twice or becomes another."""
    marks = [found.start() for found in re.finditer(rb'[:,="@#]', data)]
    if not marks:
        return data
    at = random.choice(marks)
    new = random.choice((b"", data[at : at + 1] * 2, b'"', b",", b"=", b"\r", b" ", b"\xff"))
    return data[:at] + new + data[at + 1 :]


def change_uris(data: bytes, random: Random) -> bytes:
    uris = list(re.finditer(rb'(?m)^[^#\s].*$|(?<=URI=")[^"]*', data))
    if not uris:
        return data
    found = random.choice(uris)
    uri = random.choice(_URIS).encode(errors="surrogatepass")
    return data[: found.start()] + uri + data[found.end() :]


def add_tags(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\n")
    for _ in range(random.choice((1, 2, 5))):
        tag = random.choice(_TAGS).encode(errors="surrogatepass")
        lines.insert(random.randrange(len(lines) + 1), tag)
    return b"\n".join(lines)


def change_form(data: bytes, random: Random) -> bytes:
    match random.randrange(6):
        case 0:
            return b"\xef\xbb\xbf" + data
        case 1:
            return data.replace(b"\n", random.choice((b"\r\n", b"\r", b"\n\n", b" \n")))
        case 2:
            return data.decode(errors="replace").encode("utf-16")
        case 3:
            return data.lower()
        case 4:
            return data + b"#" + b"x" * 100_000
        case _:
            return data * random.choice((2, 20))


DAMAGES: tuple[Damage, ...] = (
    change_lines,
    change_numbers,
    change_attributes,
    change_uris,
    add_tags,
    change_form,
)
