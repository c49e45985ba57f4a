"""Bending good streams into those that the world sends: surgery on playlists, TS and ISO boxes.

Nothing here decodes or encodes. MPEG-TS as ISO/IEC 13818-1 2.4.3 has it, times in ticks of 90 kHz
that wrap at 33 bits.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

TS_PACKET = 188
WRAP = 2**33
CLOCK_HZ = 90_000
PMT_PID, VIDEO_PID, AUDIO_PID = 0x1000, 256, 257
# FFmpeg's muxer lets MPEG-TS begin 1.4 s after zero.
FIRST_S = 1.4

Change = Callable[[bytes], bytes]

# --- playlists -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A segment line with all tag lines between it and the one before, its EXTINF among them."""

    tags: tuple[str, ...]
    uri: str

    def with_tags(self, *lines: str) -> "Entry":
        return replace(self, tags=(*lines, *self.tags))


def without_map(entry: Entry) -> Entry:
    return replace(entry, tags=tuple(t for t in entry.tags if not t.startswith("#EXT-X-MAP")))


def entries(playlist: Path) -> list[Entry]:
    """The segments of a media playlist; what stands in its head is left out but for EXT-X-MAP."""
    found: list[Entry] = []
    tags: list[str] = []
    for line in playlist.read_text().splitlines():
        if line.startswith(("#EXTINF", "#EXT-X-MAP", "#EXT-X-BYTERANGE", "#EXT-X-DISC")):
            tags.append(line)
        elif line and line[0] != "#":
            found.append(Entry(tags=tuple(tags), uri=line))
            tags = []
    return found


def paths(playlist: Path) -> list[Path]:
    """The segments' files."""
    return [playlist.parent / entry.uri for entry in entries(playlist)]


def write(playlist: Path, listed: Iterable[Entry], *head: str, sequence: int = 0) -> Path:
    """An ended playlist of these segments. ``head``: further lines for its head."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:10", *head]
    lines.append(f"#EXT-X-MEDIA-SEQUENCE:{sequence}")
    for entry in listed:
        lines += [*entry.tags, entry.uri]
    playlist.write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    return playlist


def edit(playlist: Path, number: int, *lines: str) -> Path:
    """Put tag lines before a segment's own."""
    listed = entries(playlist)
    listed[number] = listed[number].with_tags(*lines)
    return write(playlist, listed)


def join(parts: Sequence[Path], folder: Path, *, marked: bool) -> Path:
    """One playlist of several streams, each part's files in a folder of its own. ``marked``: with
    EXT-X-DISCONTINUITY between them."""
    listed: list[Entry] = []
    for number, part in enumerate(parts):
        shutil.copytree(part.parent, folder / f"part{number}")
        for place, entry in enumerate(entries(part)):
            inside = _in_folder(entry, f"part{number}")
            listed.append(
                inside.with_tags("#EXT-X-DISCONTINUITY")
                if marked and number and not place
                else inside
            )
    return write(folder / "stream.m3u8", listed)


def _in_folder(entry: Entry, folder: str) -> Entry:
    tags = tuple(tag.replace('URI="', f'URI="{folder}/') for tag in entry.tags)
    return Entry(tags=tags, uri=f"{folder}/{entry.uri}")


# --- MPEG-TS packets -------------------------------------------------------------------------


def ts_packets(data: bytes) -> list[bytes]:
    return [data[at : at + TS_PACKET] for at in range(0, len(data), TS_PACKET)]


def pid(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def starts_unit(packet: bytes) -> bool:
    return bool(packet[1] & 0x40)


def payload_at(packet: bytes) -> int:
    """Where the payload begins, behind the adaptation field."""
    return 5 + packet[4] if packet[3] & 0x20 else 4


def without_pids(data: bytes, *pids: int) -> bytes:
    return b"".join(packet for packet in ts_packets(data) if pid(packet) not in pids)


def as_m2ts(data: bytes) -> bytes:
    """Packets of 192 bytes, each behind a time code, as cameras and disc recorders write them."""
    return b"".join(
        number.to_bytes(4, "big") + packet for number, packet in enumerate(ts_packets(data))
    )


def with_parity(data: bytes) -> bytes:
    """Packets of 204 bytes, each with room for error correction, as receivers hand them out."""
    return b"".join(packet + bytes(16) for packet in ts_packets(data))


def lose_packets(data: bytes, of_pid: int, numbers: Iterable[int]) -> bytes:
    """Without these packets of a stream, counted from its first; the counters then jump."""
    lost, kept, count = set(numbers), [], 0
    for packet in ts_packets(data):
        if pid(packet) == of_pid:
            count += 1
            if count - 1 in lost:
                continue
        kept.append(packet)
    return b"".join(kept)


def shift_clock(data: bytes, ticks: int) -> bytes:
    """All PTS, DTS and PCR moved by ``ticks``, wrapping at 33 bits."""
    return b"".join(_shift_packet(packet, ticks) for packet in ts_packets(data))


def _shift_packet(packet: bytes, ticks: int) -> bytes:
    bent = bytearray(packet)
    if packet[3] & 0x20 and packet[4] >= 7 and packet[5] & 0x10:
        base = int.from_bytes(packet[6:11], "big") >> 7
        rest = int.from_bytes(packet[6:12], "big") & 0x7FFF
        bent[6:12] = ((base + ticks) % WRAP << 15 | rest).to_bytes(6, "big")
    if starts_unit(packet) and pid(packet) not in (0, PMT_PID):
        at = payload_at(packet)
        if packet[at : at + 3] == b"\0\0\1" and packet[at + 7] & 0x80:
            for field in range(at + 9, at + (19 if packet[at + 7] & 0x40 else 14), 5):
                stamp = read_stamp(packet, field)
                bent[field : field + 5] = write_stamp(stamp + ticks, packet[field] >> 4)
    return bytes(bent)


def without_pictures_before(data: bytes, ticks: int, of_pid: int = VIDEO_PID) -> bytes:
    """Without the PES packets of a stream whose PTS is below ``ticks``."""
    kept, goes = [], False
    for packet in ts_packets(data):
        if pid(packet) == of_pid:
            if starts_unit(packet):
                goes = read_stamp(packet, payload_at(packet) + 9) < ticks
            if goes:
                continue
        kept.append(packet)
    return b"".join(kept)


def read_stamp(data: bytes, at: int) -> int:
    """A PTS or DTS of five bytes (ISO/IEC 13818-1 2.4.3.6)."""
    high, middle, low = data[at] >> 1 & 7, data[at + 1 : at + 3], data[at + 3 : at + 5]
    parts = int.from_bytes(middle, "big") >> 1, int.from_bytes(low, "big") >> 1
    return high << 30 | parts[0] << 15 | parts[1]


def write_stamp(ticks: int, prefix: int) -> bytes:
    ticks %= WRAP
    return (
        (prefix << 4 | ticks >> 30 << 1 | 1).to_bytes(1, "big")
        + ((ticks >> 15 & 0x7FFF) << 1 | 1).to_bytes(2, "big")
        + ((ticks & 0x7FFF) << 1 | 1).to_bytes(2, "big")
    )


# --- what MPEG-TS carries ------------------------------------------------------------------------


def change_units(data: bytes, of_pid: int, change: Change) -> bytes:
    """Each PES packet's elementary bytes put through ``change`` and packed anew, where its first
    packet was. Its header and times stay."""
    out: list[bytes] = []
    place: int | None = None
    unit: list[bytes] = []
    counter = 0

    def flush() -> None:
        nonlocal counter
        if place is not None:
            packed = list(_pack_unit(unit, of_pid, change, counter))
            counter += len(packed)
            out[place] = b"".join(packed)

    for packet in ts_packets(data):
        if pid(packet) != of_pid:
            out.append(packet)
        elif starts_unit(packet):
            flush()
            place, unit = len(out), [packet]
            out.append(b"")
        else:
            unit.append(packet)
    flush()
    return b"".join(out)


def _pack_unit(unit: Sequence[bytes], of_pid: int, change: Change, counter: int) -> Iterator[bytes]:
    body = b"".join(packet[payload_at(packet) :] for packet in unit)
    header = 9 + body[8]
    body = bytearray(body[:header] + change(body[header:]))
    if body[4:6] != b"\0\0":
        body[4:6] = (len(body) - 6).to_bytes(2, "big")
    first = unit[0]
    field = first[4 : payload_at(first)] if first[3] & 0x20 else b""
    field = _trimmed(field)
    at, begins = 0, 0x40
    while at < len(body):
        room = TS_PACKET - 4 - len(field)
        piece = bytes(body[at : at + room])
        field = _stuffed(field, room - len(piece))
        head = bytes((0x47, begins | of_pid >> 8, of_pid & 255))
        flags = (0x30 if field else 0x10) | counter & 15
        yield head + bytes((flags,)) + field + piece
        at, begins, field, counter = at + len(piece), 0, b"", counter + 1


def _trimmed(field: bytes) -> bytes:
    """An adaptation field without its stuffing: flags and PCR."""
    if len(field) < 2:
        return b""
    length = 7 if field[1] & 0x10 else 1
    return bytes((length,)) + field[1 : 1 + length]


def _stuffed(field: bytes, more: int) -> bytes:
    """The adaptation field made ``more`` bytes longer (ISO/IEC 13818-1 2.4.3.5)."""
    if not more:
        return field
    if not field:
        return b"\0" if more == 1 else bytes((more - 1, 0)) + b"\xff" * (more - 2)
    return bytes((field[0] + more,)) + field[1:] + b"\xff" * more


DATA_PID = 300
# Stream type and descriptors of a PMT entry; what makes FFmpeg know it.
_DATA = {
    "timed-id3": (0x15, bytes.fromhex("260dffff49443320ff49443320000f")),
    "scte35": (0x86, bytes.fromhex("0504") + b"CUEI"),
    "dvbsub": (0x06, bytes.fromhex("5908") + b"eng\x10\0\1\0\1"),
}


def with_data(data: bytes, kind: str, number: int) -> bytes:
    """MPEG-TS with a data stream beside its pictures: named in each PMT, one packet of it."""
    stream_type, descriptors = _DATA[kind]
    entry = bytes((stream_type, 0xE0 | DATA_PID >> 8, DATA_PID & 255))
    entry += (0xF000 | len(descriptors)).to_bytes(2, "big") + descriptors
    out = [_with_entry(p, entry) if pid(p) == PMT_PID else p for p in ts_packets(data)]
    stamp = write_stamp((2 + 2 * number) * CLOCK_HZ, 2)
    body = id3_timestamp(0) if kind == "timed-id3" else b"\x20\x00\x0f\x10\0\1\0\0\xff"
    unit = b"\0\0\1\xbd" + (8 + len(body)).to_bytes(2, "big") + b"\x84\x80\x05" + stamp + body
    field = _stuffed(b"", TS_PACKET - 4 - len(unit))
    packet = bytes((0x47, 0x40 | DATA_PID >> 8, DATA_PID & 255, 0x30 | number & 15)) + field + unit
    out.insert(4, packet)
    return b"".join(out)


def _with_entry(packet: bytes, entry: bytes) -> bytes:
    """A PMT packet with one more elementary stream (ISO/IEC 13818-1 2.4.4.8)."""
    at = 5 + packet[4]
    length = int.from_bytes(packet[at + 1 : at + 3], "big") & 0xFFF
    table = packet[at : at + 3 + length - 4] + entry
    table = table[:1] + (0xB000 | length + len(entry)).to_bytes(2, "big") + table[3:]
    packed = packet[:at] + table + _crc32(table).to_bytes(4, "big")
    return packed.ljust(TS_PACKET, b"\xff")


def _crc32(data: bytes) -> int:
    """ISO/IEC 13818-1 annex A."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def nal_units(access_unit: bytes) -> list[bytes]:
    """Of an Annex B byte stream, without start codes (ISO/IEC 14496-10 B.1)."""
    pieces = access_unit.split(b"\0\0\1")[1:]
    return [piece[:-1] if piece.endswith(b"\0") else piece for piece in pieces]


def annex_b(units: Iterable[bytes]) -> bytes:
    return b"".join(b"\0\0\0\1" + unit for unit in units)


def without_h264(*kinds: int) -> Change:
    """Drops NAL units by ``nal_unit_type``: 6 SEI, 7 SPS, 8 PPS, 9 access unit delimiter."""
    return lambda unit: annex_b(nal for nal in nal_units(unit) if nal[0] & 31 not in kinds)


def id3_timestamp(ticks: int) -> bytes:
    """The ID3 tag with the time of a segment of packed audio (RFC 8216 3.4)."""
    owner = b"com.apple.streaming.transportStreamTimestamp\0"
    body = owner + (ticks % WRAP).to_bytes(8, "big")
    frame = b"PRIV" + len(body).to_bytes(4, "big") + b"\0\0" + body
    return b"ID3\x04\0\0" + bytes((0, 0, len(frame) >> 7, len(frame) & 127)) + frame


# --- ISO boxes -------------------------------------------------------------------------------


def boxes(data: bytes, begin: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """``(kind, start, end)`` of each box between two offsets (ISO/IEC 14496-12 4.2)."""
    at = begin
    while at < (len(data) if end is None else end):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], at, at + size
        at += size
