"""How long a segment is that was cut off: by its own timestamps (ISO/IEC 13818-1 2.4.3.7)."""

from collections.abc import Iterator

_PACKET_BYTES = 188
_SYNC = 0x47
_HZ = 90_000
_WRAP = 1 << 33
_USUAL_FRAME_S = 0.04


def duration_s(data: bytes) -> float | None:
    """From the first time of its longest stream to the end of the last; None without any time."""
    times: dict[int, list[int]] = {}
    for pid, pts in _times(data):
        times.setdefault(pid, []).append(pts)
    return max(map(_length_s, times.values()), default=None)


def _length_s(times: list[int]) -> float:
    # A clock that wraps meanwhile: what is half a round away is behind it.
    ahead = [(pts - times[0] + _WRAP // 2) % _WRAP - _WRAP // 2 for pts in times]
    length = (max(ahead) - min(ahead)) / _HZ
    frame_s = length / (len(ahead) - 1) if len(ahead) > 1 else _USUAL_FRAME_S
    return length + frame_s


def _times(data: bytes) -> Iterator[tuple[int, int]]:
    for at in range(0, len(data) - _PACKET_BYTES + 1, _PACKET_BYTES):
        if data[at] != _SYNC or not data[at + 1] & 0x40:
            continue
        begin = at + 4 + (1 + data[at + 4] if data[at + 3] & 0x20 else 0)
        pes = data[begin : min(begin + 14, at + _PACKET_BYTES)]
        if len(pes) == 14 and pes[:3] == b"\0\0\1" and pes[7] & 0x80:
            pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
            high, middle, low = (
                pes[9] >> 1 & 7,
                int.from_bytes(pes[10:12], "big") >> 1,
                (int.from_bytes(pes[12:14], "big") >> 1),
            )
            yield pid, high << 30 | middle << 15 | low
