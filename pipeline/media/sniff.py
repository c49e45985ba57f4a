"""What a segment's bytes are, whatever its name says: so that an error page is never muxed.

FFmpeg's TS demuxer looks for the next sync byte and silently skips what is in between: a bad
segment among good ones would vanish without a word. And FFmpeg is told what to read, never asked to
guess: among what it would guess are formats that open further files.
"""

import struct
from dataclasses import dataclass
from enum import StrEnum

from pipeline.errors import MediaInvalid, Unsupported

TS_PACKET_BYTES = 188
_PACKET_SIZES = (188, 192, 204)  # plain, with time codes (M2TS), with error correction
_SYNC = 0x47
_SEARCH_BYTES = 64 * 1024
_SYNCS_WANTED = 4
_MAX_TAGS = 100
_MP4_BOXES = frozenset(
    {
        b"ftyp",
        b"styp",
        b"moof",
        b"moov",
        b"sidx",
        b"emsg",
        b"prft",
        b"free",
        b"skip",
        b"mdat",
        b"uuid",
        b"ssix",
        b"wide",
    }
)
_EXTENSIONS = {"mpegts": "ts", "mp4": "m4s", "eac3": "ec3"}
_ID3_OWNER = b"com.apple.streaming.transportStreamTimestamp\0"


class Kind(StrEnum):
    """The values are the names of FFmpeg's demuxers."""

    TS = "mpegts"
    MP4 = "mp4"
    AAC = "aac"
    MPEG_AUDIO = "mp3"
    AC3 = "ac3"
    EAC3 = "eac3"

    @property
    def is_packed(self) -> bool:
        """Packed audio (RFC 8216 3.4): frames without timestamps of their own."""
        return self not in (Kind.TS, Kind.MP4)


@dataclass(frozen=True, slots=True)
class Media:
    """Bytes that begin with the first packet, box or frame. ``stamp``: where packed audio begins,
    in ticks of 90 kHz, if an ID3 tag says so."""

    kind: Kind
    data: bytes
    stamp: int | None = None


def extension_of(data: bytes) -> str:
    """Of a file that holds it, as HLS players expect it; that of MPEG-TS for what is encrypted."""
    try:
        kind = identify(data[:_SEARCH_BYTES]).kind
    except (MediaInvalid, Unsupported):
        kind = Kind.TS
    return _EXTENSIONS.get(kind, kind.value)


def identify(data: bytes) -> Media:
    """MPEG-TS, MP4 or packed audio (RFC 8216 3), without what lies before it.

    TS packets come out with 188 bytes each. Raises ``MediaInvalid``, and ``Unsupported`` for what
    is known not to be media.
    """
    if is_mp4(data):
        return Media(Kind.MP4, data)
    if data[0:1] == b"G" and (packets := _ts_packets(data)):
        return Media(Kind.TS, packets)
    stamp, begin = _read_id3(data)
    packed = _packed_kind(data, begin)
    if packed is not None:
        return Media(packed, data[begin:] if begin else data, stamp)
    packets = _ts_packets(data)
    if packets:
        return Media(Kind.TS, packets)
    shown = data[:40].decode("ascii", "replace").strip()
    if shown.lstrip("\ufeff\ufffd").startswith("WEBVTT"):
        raise Unsupported("it holds subtitles (WebVTT)")
    if shown.startswith(("<", "{")) or data[:5].lower() == b"http/":
        raise MediaInvalid(f"it is text, no media: {shown!r}")
    raise MediaInvalid("it is neither MPEG-TS nor MP4 nor packed audio")


def is_mp4(data: bytes) -> bool:
    """Whether a box that a segment may begin with is at its beginning."""
    return data[4:8] in _MP4_BOXES


def _ts_packets(data: bytes) -> bytes:
    """The packets (ISO/IEC 13818-1 2.4.3.2) from the first on, found by sync bytes at equal
    distances near the beginning; nothing if there are none."""
    limit = min(len(data), _SEARCH_BYTES)
    at = data.find(_SYNC, 0, limit)
    while at >= 0:
        for size in _PACKET_SIZES:
            syncs = range(at, min(len(data), at + _SYNCS_WANTED * size), size)
            is_whole = at + size * (len(syncs) - 1) + TS_PACKET_BYTES <= len(data)
            # A lone sync byte is one only where nothing else is there.
            is_enough = len(syncs) >= _SYNCS_WANTED - 1 or at == 0
            if is_whole and is_enough and all(data[i] == _SYNC for i in syncs):
                return _plain_packets(data, at, size)
        at = data.find(_SYNC, at + 1, limit)
    return b""


def _plain_packets(data: bytes, at: int, size: int) -> bytes:
    if size == TS_PACKET_BYTES:
        return data[at:] if at else data
    return b"".join(data[i : i + TS_PACKET_BYTES] for i in range(at, len(data), size))


def _read_id3(data: bytes) -> tuple[int | None, int]:
    """The timestamp that ID3 tags hold (RFC 8216 3.4), and where they end."""
    stamp, at = None, 0
    for _ in range(_MAX_TAGS):
        if data[at : at + 3] != b"ID3" or len(data) < at + 10:
            break
        a, b, c, d = data[at + 6 : at + 10]
        end = at + 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if data[at + 5] & 0x10 else 0)
        owner = data.find(_ID3_OWNER, at, min(end, len(data)))
        value = owner + len(_ID3_OWNER)
        if owner >= 0 and value + 8 <= min(end, len(data)):
            stamp = struct.unpack_from(">Q", data, value)[0] & (2**33 - 1)
        at = end
    return stamp, at


def _packed_kind(data: bytes, at: int) -> Kind | None:
    """By the first frame's header, and the second's where the first tells how long it is."""
    if data[at : at + 2] == b"\x0b\x77" and len(data) >= at + 6:
        return Kind.EAC3 if data[at + 5] >> 3 > 10 else Kind.AC3  # bsid, ETSI TS 102 366 E.1.3.1.6
    if len(data) < at + 7 or data[at] != 0xFF:
        return None
    if data[at + 1] & 0xF6 == 0xF0:
        length = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        following = data[at + length : at + length + 2]
        is_next = not following or (following[0] == 0xFF and following[1:2] in (b"", *_ADTS))
        return Kind.AAC if length >= 7 and is_next else None
    is_header = data[at + 1] & 0xE6 in (0xE2, 0xE4, 0xE6) and data[at + 2] >> 4 not in (0, 15)
    return Kind.MPEG_AUDIO if is_header and data[at + 2] & 0x0C != 0x0C else None


_ADTS = (b"\xf0", b"\xf1", b"\xf8", b"\xf9")
