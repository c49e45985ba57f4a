"""Damage to MPEG-TS (ISO/IEC 13818-1) that a demuxer does not simply skip: by packets of 188 bytes,
with the CRC of changed tables put right."""

from collections.abc import Callable
from random import Random
from typing import TypeVar

from tests.fuzz.raw import Damage

T = TypeVar("T")

PACKET = 188
_SYNC = 0x47
_TABLE_PIDS = 0x20
_FIRST_STAMP, _STAMPS = 9, 10


def is_transport(data: bytes) -> bool:
    return len(data) >= 2 * PACKET and data[0] == data[PACKET] == _SYNC


def flip_headers(packets: list[bytearray], random: Random) -> None:
    for packet in _some(packets, random):
        packet[random.randrange(1, 6)] ^= 1 << random.randrange(8)


def drop(packets: list[bytearray], random: Random) -> None:
    for packet in _some(packets, random):
        packets.remove(packet)


def double(packets: list[bytearray], random: Random) -> None:
    for packet in _some(packets, random):
        packets.insert(random.randrange(len(packets)), bytearray(packet))


def reorder(packets: list[bytearray], random: Random) -> None:
    at = random.randrange(len(packets))
    moved = packets[at : at + random.choice((2, 10, 200))]
    random.shuffle(moved)
    packets[at : at + len(moved)] = moved


def change_pids(packets: list[bytearray], random: Random) -> None:
    """One PID becomes another, in some packets or in all."""
    pids = sorted({_pid(packet) for packet in packets})
    old, new = random.choice(pids), random.choice([*pids, 0, 1, 0x1FFF, random.randrange(0x2000)])
    always = random.random() < 0.5
    for packet in packets:
        if _pid(packet) == old and (always or random.random() < 0.1):
            packet[1] = packet[1] & 0xE0 | new >> 8
            packet[2] = new & 0xFF


def change_clocks(packets: list[bytearray], random: Random) -> None:
    """PCR: the six bytes behind the flags of an adaptation field that has one."""
    clocked = [p for p in packets if p[3] & 0x20 and p[4] >= 7 and p[5] & 0x10]
    for packet in _some(clocked, random):
        packet[6:12] = random.choice((bytes(6), b"\xff" * 6, random.randbytes(6)))


def change_stamps(packets: list[bytearray], random: Random) -> None:
    """PTS and DTS of some PES packets: flags, a bit or all of them."""
    starts = [(packet, at) for packet in packets if (at := _pes_at(packet)) is not None]
    for packet, at in _some(starts, random):
        choice = random.randrange(3)
        if choice == 0:
            packet[at + 7] = random.choice((0x00, 0x40, 0x80, 0xC0))
        elif choice == 1:
            packet[at + _FIRST_STAMP + random.randrange(_STAMPS)] ^= 1 << random.randrange(8)
        else:
            packet[at + _FIRST_STAMP : at + _FIRST_STAMP + _STAMPS] = random.randbytes(_STAMPS)


def change_lengths(packets: list[bytearray], random: Random) -> None:
    """The length that a PES packet claims for itself or for its header."""
    starts = [(packet, at) for packet in packets if (at := _pes_at(packet)) is not None]
    for packet, at in _some(starts, random):
        where = random.choice((at + 4, at + 5, at + 8))
        packet[where] = random.choice((0, 1, 0x7F, 0xFF))


def change_tables(packets: list[bytearray], random: Random) -> None:
    """Bytes in PAT and PMT: stream types, PIDs, lengths; mostly with a CRC that fits again."""
    tables = [
        packet for packet in packets if packet[1] & 0x40 and packet[4:8] and _is_table(packet)
    ]
    value = random.choice((0, 0xFF, 0x02, 0x03, 0x0F, 0x1B, 0x24, 0x81, random.randrange(256)))
    where = random.random()
    right = random.random() < 0.8
    for packet in tables if random.random() < 0.5 else _some(tables, random):
        size = min((packet[6] & 0x0F) << 8 | packet[7], PACKET - 8)
        if size < 9:
            continue
        packet[5 + int(where * (size - 1))] = value
        if right:
            size = min((packet[6] & 0x0F) << 8 | packet[7], PACKET - 8)
            end = max(5, 8 + size - 4)
            packet[end : end + 4] = _crc(packet[5:end]).to_bytes(4)[: PACKET - end]


def drop_tables(packets: list[bytearray], random: Random) -> None:
    kept = random.choice((0, 1))
    tables = [packet for packet in packets if _is_table(packet)]
    for packet in tables[kept:]:
        packets.remove(packet)


def misalign(packets: list[bytearray], random: Random) -> None:
    for packet in _some(packets, random):
        if random.random() < 0.5:
            packet += random.randbytes(random.choice((1, 4, 16, 500)))
        else:
            del packet[random.randrange(len(packet)) :]


_CHANGES: tuple[Callable[[list[bytearray], Random], None], ...] = (
    flip_headers,
    drop,
    double,
    reorder,
    change_pids,
    change_clocks,
    change_stamps,
    change_lengths,
    change_tables,
    drop_tables,
    misalign,
)


def _on_packets(change: Callable[[list[bytearray], Random], None]) -> Damage:
    def damage(data: bytes, random: Random) -> bytes:
        packets = [bytearray(data[at : at + PACKET]) for at in range(0, len(data), PACKET)]
        rest = packets.pop() if len(packets[-1]) < PACKET else bytearray()
        change(packets, random)
        return b"".join([*packets, rest])

    damage.__name__ = change.__name__
    return damage


DAMAGES: tuple[Damage, ...] = tuple(_on_packets(change) for change in _CHANGES)


def _some(things: list[T], random: Random) -> list[T]:
    return random.sample(things, min(len(things), random.choice((1, 2, 5, 50))))


def _pid(packet: bytearray) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def _is_table(packet: bytearray) -> bool:
    # FFmpeg, which made our clips, gives media PIDs from 256 on, and PMTs those from 4096 on.
    return _pid(packet) < _TABLE_PIDS or _pid(packet) >= 0x1000


def _pes_at(packet: bytearray) -> int | None:
    """Where a PES packet that has a header with room for stamps begins."""
    at = 5 + packet[4] if packet[3] & 0x20 else 4
    begins = packet[1] & 0x40 and packet[at : at + 3] == b"\0\0\1"
    return at if begins and at + _FIRST_STAMP + _STAMPS <= PACKET else None


def _crc(data: bytes | bytearray) -> int:
    """CRC-32 of PSI sections (ISO/IEC 13818-1 annex A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc
