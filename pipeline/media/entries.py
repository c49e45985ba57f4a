"""Sample entries (``stsd``, ISO/IEC 14496-12 8.5.2): normalised, compared and named for HLS."""

import struct
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from pipeline.errors import MediaInvalid
from pipeline.media import boxes

_MATRIX_BYTES = 36
# What lies before the boxes inside a sample entry (ISO/IEC 14496-12 12.1.3, 12.2.3).
_PICTURE_FIELDS_BYTES, _SOUND_FIELDS_BYTES = 78, 28


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackForm:
    """The parts of a ``trak`` that do not depend on its samples, verbatim from the muxer.

    ``entry``: its one sample entry. ``media_header``: ``vmhd`` or ``smhd``. ``codecs``: RFC 6381.
    """

    track_id: int
    timescale: int
    kind: str
    tkhd: bytes
    mdhd_language: bytes
    hdlr: bytes
    media_header: bytes
    dinf: bytes
    entry: bytes
    codecs: str
    width: int
    height: int


def without_bit_rates(init: bytes) -> bytes:
    """The init with the bit rates of ``esds`` set to 0 (unknown): they are those of the chunk,
    and would make equal streams look different (ISO/IEC 14496-1 7.2.6.6)."""
    patched = bytearray(init)
    at = patched.find(b"esds")
    while at >= 0:
        config = _decoder_config(patched, at + 8)
        if config is not None:
            patched[config + 5 : config + 13] = bytes(8)
        at = patched.find(b"esds", at + 4)
    return bytes(patched)


@lru_cache(maxsize=64)  # Most chunks of a recording have equal ones.
@boxes.reading("an init segment")
def read_forms(init: bytes) -> tuple[TrackForm, ...]:
    """Each ``trak`` of an init segment that FFmpeg's muxer wrote."""
    moov = boxes.need(init, "moov")
    return tuple(
        _read_form(init, box)
        for box in boxes.walk(init, moov.body, moov.end)
        if box.kind == b"trak"
    )


def _read_form(init: bytes, trak: boxes.Box) -> TrackForm:
    def part(path: str) -> boxes.Box:
        return boxes.need(init, path, trak.body, trak.end)

    def whole(box: boxes.Box) -> bytes:
        return init[box.start : box.end]

    tkhd, mdhd, hdlr = part("tkhd"), part("mdia/mdhd"), part("mdia/hdlr")
    stsd = part("mdia/minf/stbl/stsd")
    entry = next(boxes.walk(init, stsd.body + 8, stsd.end))
    kind = {b"vide": "video", b"soun": "audio"}.get(init[hdlr.body + 8 : hdlr.body + 12], "other")
    header = part("mdia/minf/vmhd" if kind == "video" else "mdia/minf/smhd")
    width, height = struct.unpack_from(">HH", init, entry.body + 24) if kind == "video" else (0, 0)
    return TrackForm(
        track_id=struct.unpack_from(">I", init, tkhd.body + (20 if init[tkhd.body] else 12))[0],
        timescale=struct.unpack_from(">I", init, mdhd.body + (20 if init[mdhd.body] else 12))[0],
        kind=kind,
        tkhd=whole(tkhd),
        hdlr=whole(hdlr),
        media_header=whole(header),
        mdhd_language=init[mdhd.end - 4 : mdhd.end],
        dinf=whole(part("mdia/minf/dinf")),
        entry=whole(entry),
        codecs=_codecs(init, entry, kind),
        width=width,
        height=height,
    )


def find_in_picture_entry(entry: bytes, kind: str) -> boxes.Box | None:
    """The box of that kind inside a sample entry of pictures."""
    body = boxes.read_header(entry, 0, len(entry)).body
    return boxes.find(entry, kind, body + _PICTURE_FIELDS_BYTES)


def pixel_aspect(entry: bytes) -> Fraction:
    """How wide a pixel is, as ``pasp`` of a sample entry (ISO/IEC 14496-12 12.1.4) says."""
    pasp = find_in_picture_entry(entry, "pasp")
    if pasp is None:
        return Fraction(1)
    horizontal, vertical = struct.unpack_from(">II", entry, pasp.body)
    return Fraction(horizontal, vertical) if horizontal and vertical else Fraction(1)


def _codecs(init: bytes, entry: boxes.Box, kind: str) -> str:
    """The RFC 6381 name of a sample entry, as HLS' CODECS wants it."""
    fourcc = entry.kind.decode("latin-1")
    inner = entry.body + (_PICTURE_FIELDS_BYTES if kind == "video" else _SOUND_FIELDS_BYTES)
    if fourcc in ("avc1", "avc3"):
        avcc = boxes.need(init, "avcC", inner, entry.end)
        return f"{fourcc}.{init[avcc.body + 1 : avcc.body + 4].hex()}"
    if fourcc in ("hvc1", "hev1"):
        return _hevc_codecs(init, fourcc, boxes.need(init, "hvcC", inner, entry.end).body)
    if fourcc == "av01":
        return _av1_codecs(init, boxes.need(init, "av1C", inner, entry.end).body)
    if fourcc == "mp4a":
        esds = boxes.need(init, "esds", inner, entry.end)
        return _mpeg4_audio_codecs(init, esds)
    return {"Opus": "opus", "fLaC": "fLaC"}.get(fourcc, fourcc)


def _hevc_codecs(init: bytes, fourcc: str, at: int) -> str:
    """ISO/IEC 14496-15 E.3."""
    profile, compat = init[at + 1], struct.unpack_from(">I", init, at + 2)[0]
    constraints = init[at + 6 : at + 12].rstrip(b"\0")
    space = ("", "A", "B", "C")[profile >> 6]
    reversed_compat = int(f"{compat:032b}"[::-1], 2)
    tier = "H" if profile & 0x20 else "L"
    parts = [fourcc, f"{space}{profile & 0x1F}", f"{reversed_compat:X}", f"{tier}{init[at + 12]}"]
    return ".".join(parts + [f"{byte:X}" for byte in constraints])


def _av1_codecs(init: bytes, at: int) -> str:
    level, flags = init[at + 1], init[at + 2]
    depth = (12 if flags & 0x20 else 10) if flags & 0x40 else 8
    return f"av01.{level >> 5}.{level & 31:02d}{'H' if flags & 0x80 else 'M'}.{depth:02d}"


def _mpeg4_audio_codecs(init: bytes, esds: boxes.Box) -> str:
    config = _decoder_config(init, esds.body + 4)
    if config is None:
        raise MediaInvalid("esds without a decoder configuration")
    object_type = init[config]
    if object_type != 0x40:
        return f"mp4a.{object_type:02x}"
    specific = _descriptor(init, config + 13)
    audio_type = init[specific[1]] >> 3 if specific and specific[0] == 0x05 else 2
    return f"mp4a.40.{audio_type}"


def _decoder_config(data: bytes | bytearray, at: int) -> int | None:
    """Where the DecoderConfigDescriptor's content begins inside ``esds`` at its ES_Descriptor."""
    outer = _descriptor(data, at)
    if outer is None or outer[0] != 0x03:
        return None
    flags = data[outer[1] + 2]
    inner = outer[1] + 3 + (2 if flags & 0x80 else 0) + (2 if flags & 0x20 else 0)
    config = _descriptor(data, inner)
    return config[1] if config is not None and config[0] == 0x04 else None


def _descriptor(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """``(tag, start of content)``; sizes take up to four bytes (ISO/IEC 14496-1 8.3.3)."""
    if at >= len(data):
        return None
    tag, at = data[at], at + 1
    for _ in range(4):
        if at >= len(data):
            return None
        more, at = data[at] & 0x80, at + 1
        if not more:
            return tag, at
    return None


def with_matrix(init: bytes, source: bytes) -> bytes:
    """``init`` with the matrix (ISO/IEC 14496-12 8.3.2) of the first track of ``source``: how its
    pictures are turned where they are shown."""
    at, found = _matrix_at(init), _matrix_at(source)
    return init[:at] + source[found : found + _MATRIX_BYTES] + init[at + _MATRIX_BYTES :]


def _matrix_at(init: bytes) -> int:
    tkhd = boxes.need(init, "moov/trak/tkhd")
    # Behind times, layer and volume.
    return tkhd.body + (52 if init[tkhd.body] else 40)
