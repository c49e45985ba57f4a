"""What a segment's bytes are, whatever its name says: so that an error page is never muxed.

FFmpeg's TS demuxer looks for the next sync byte and silently skips what is in between: a bad
segment among good ones would vanish without a word.
"""

from pipeline.errors import MediaInvalid

_PACKET_SIZES = (188, 192, 204)  # plain, with time codes (M2TS), with error correction
_SEARCH_BYTES = 64 * 1024
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
    }
)


def check_is_media(data: bytes) -> None:
    """Raise ``MediaInvalid`` unless this looks like MPEG-TS, MP4 or packed audio (RFC 8216 3)."""
    if is_mp4(data) or _is_packed_audio(data) or _has_ts_packets(data):
        return
    shown = data[:40].decode("ascii", "replace").strip()
    if shown.startswith(("<", "{")) or data[:5].lower() == b"http/":
        raise MediaInvalid(f"it is text, no media: {shown!r}")
    raise MediaInvalid("it is neither MPEG-TS nor MP4 nor packed audio")


def is_mp4(data: bytes) -> bool:
    """Whether a box that a segment may begin with is at its beginning."""
    return data[4:8] in _MP4_BOXES


def _is_packed_audio(data: bytes) -> bool:
    """ID3 tag, ADTS or MPEG audio sync word, AC-3 or E-AC-3 sync word."""
    return (
        data[:3] == b"ID3"
        or data[:2] == b"\x0b\x77"
        or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0)
    )


def _has_ts_packets(data: bytes) -> bool:
    """Sync bytes at equal distances near the beginning (ISO/IEC 13818-1 2.4.3.2)."""
    limit = min(len(data), _SEARCH_BYTES)
    at = data.find(b"\x47", 0, limit)
    while at >= 0:
        for size in _PACKET_SIZES:
            following = range(at, min(len(data), at + 4 * size), size)
            if len(data) >= at + size and all(data[i] == 0x47 for i in following):
                return True
        at = data.find(b"\x47", at + 1, limit)
    return False
