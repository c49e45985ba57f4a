"""Parameter sets that lie in the stream before a keyframe (Annex B of H.264 and HEVC)."""

from typing_extensions import Buffer

from pipeline.media.boxes import reading

_SEARCH_BYTES = 4096
# By NAL unit type: SPS, PPS; VPS, SPS, PPS (H.264 table 7-1, H.265 table 7-1).
_SETS = {"h264": frozenset({7, 8}), "hevc": frozenset({32, 33, 34})}
_LAST_PICTURE = {"h264": 5, "hevc": 31}


def parameter_sets(codec: str, packet: Buffer) -> bytes:
    """Those in front of the first picture, empty if there are none. ``codec``: h264 or hevc."""
    data = bytes(memoryview(packet)[:_SEARCH_BYTES])
    found = []
    at = data.find(b"\0\0\1")
    while 0 <= at < len(data) - 4:
        kind = data[at + 3] & 31 if codec == "h264" else data[at + 3] >> 1 & 63
        if 0 < kind <= _LAST_PICTURE[codec]:
            break
        following = data.find(b"\0\0\1", at + 3)
        if kind in _SETS[codec]:
            end = following if following >= 0 else len(data)
            found.append(data[at + 3 : end].rstrip(b"\0"))
        at = following
    return b"".join(found)


def annex_b(avcc: bytes) -> bytes:
    """The sets of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 5.3.3.1) with start codes.

    Raises ``MediaInvalid``.
    """
    with reading("avcC"):
        sets, at = [], 5
        for mask in (0x1F, 0xFF):
            count, at = avcc[at] & mask, at + 1
            for _ in range(count):
                size = avcc[at] << 8 | avcc[at + 1]
                sets.append(avcc[at + 2 : at + 2 + size])
                at += 2 + size
        return b"".join(b"\0\0\0\1" + one for one in sets)
