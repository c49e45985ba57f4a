"""What MPEG-TS packets say about themselves: which programs and streams there are (ISO/IEC 13818-1
2.4.4). FFmpeg demuxes; this tells beforehand what it would pass over in silence."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.media.sniff import TS_PACKET_BYTES

_SYNC = 0x47
_PAT_PID = 0
_NULL_PID = 0x1FFF
_MAX_SECTION_BYTES = 1024 + 3
_USUAL_BYTES = 100 * TS_PACKET_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """PAT and PMTs of a segment. ``packets``: those that hold the first of each. ``streams``:
    ``(program, PID, stream type)`` of all. ``are_first``: whether they precede all media."""

    packets: bytes
    streams: frozenset[tuple[int, int, int]]
    are_first: bool


def read_tables(data: bytes) -> Tables | None:
    """None where a PAT or all its PMTs are missing. ``data``: whole packets from the first on."""
    # They are at the beginning, but for rare encoders.
    return _read_tables(data[:_USUAL_BYTES]) or _read_tables(data)


def first_counters(data: bytes) -> dict[int, int]:
    """The continuity counter (2.4.3.3) of each PID's first packet near the beginning."""
    counters: dict[int, int] = {}
    for row in _rows(data[:_USUAL_BYTES]):
        if row[3] & 0x10:
            counters.setdefault(int((row[1] & 0x1F) << 8 | row[2]), int(row[3] & 0xF))
    return counters


def _read_tables(data: bytes) -> Tables | None:
    rows = _rows(data)
    pids = (rows[:, 1].astype(np.int64) & 0x1F) << 8 | rows[:, 2]
    pat = _section(rows, pids, _PAT_PID)
    if pat is None:
        return None
    packets, last = [pat.packets], pat.last
    streams: set[tuple[int, int, int]] = set()
    maps = dict(_programs(pat.content))
    for program, pid in maps.items():
        pmt = _section(rows, pids, pid)
        if pmt is not None:
            packets.append(pmt.packets)
            last = max(last, pmt.last)
            streams.update((program, own, kind) for own, kind in _streams(pmt.content))
    if not streams:
        return None
    media = np.flatnonzero(np.isin(pids, [own for _, own, _ in streams]))
    return Tables(
        packets=b"".join(packets),
        streams=frozenset(streams),
        are_first=not len(media) or last < int(media[0]),
    )


@dataclass(frozen=True, slots=True)
class _Section:
    """``content`` between header and checksum; ``last``: number of its last packet."""

    content: bytes
    packets: bytes
    last: int


def _rows(data: bytes) -> npt.NDArray[np.uint8]:
    """Packets as shape ``(n, 188)``, those that lost their sync left out."""
    count = len(data) // TS_PACKET_BYTES
    rows = np.frombuffer(data, np.uint8, count * TS_PACKET_BYTES).reshape(count, TS_PACKET_BYTES)
    in_sync = rows[:, 0] == _SYNC
    return rows if in_sync.all() else rows[in_sync]


def _section(rows: npt.NDArray[np.uint8], pids: npt.NDArray[np.int64], pid: int) -> _Section | None:
    """The first whole section of a PID."""
    content, packets = b"", b""
    for number in np.flatnonzero(pids == pid):
        packet = rows[number].tobytes()
        starts = bool(packet[1] & 0x40)
        if not starts and not content:
            continue
        payload = _payload(packet)
        if starts:
            content, packets = payload[1 + payload[0] :] if payload else b"", b""
        else:
            content += payload
        packets += packet
        size = 3 + ((content[1] & 0x0F) << 8 | content[2]) if len(content) >= 3 else 0
        if size > _MAX_SECTION_BYTES:
            return None
        if size and len(content) >= size:
            return _Section(content[8 : size - 4], packets, int(number))
    return None


def _payload(packet: bytes) -> bytes:
    begin = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
    return packet[begin:] if packet[3] & 0x10 else b""


def _programs(pat: bytes) -> Iterator[tuple[int, int]]:
    """``(program number, PID of its map)``; number 0 is the network."""
    for at in range(0, len(pat) - 3, 4):
        number = pat[at] << 8 | pat[at + 1]
        pid = (pat[at + 2] & 0x1F) << 8 | pat[at + 3]
        if number and pid not in (_PAT_PID, _NULL_PID):
            yield number, pid


def _streams(pmt: bytes) -> Iterator[tuple[int, int]]:
    """``(PID, stream type)``."""
    if len(pmt) < 4:
        return
    at = 4 + ((pmt[2] & 0x0F) << 8 | pmt[3])
    while at + 5 <= len(pmt):
        yield (pmt[at + 1] & 0x1F) << 8 | pmt[at + 2], pmt[at]
        at += 5 + ((pmt[at + 3] & 0x0F) << 8 | pmt[at + 4])
