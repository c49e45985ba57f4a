"""H.264 with a sample for each field (PAFF), which no encoder here makes: grey, uncompressed."""

import numpy as np

WIDTH = HEIGHT = 32
_IDR, _OTHER, _SPS, _PPS, _DELIMITER = 0x65, 0x61, 0x67, 0x68, 0x09


class _Bits:
    def __init__(self) -> None:
        self._bits: list[int] = []

    def put(self, count: int, value: int) -> "_Bits":
        self._bits += [(value >> bit) & 1 for bit in range(count - 1, -1, -1)]
        return self

    def golomb(self, *values: int) -> "_Bits":
        """Exp-Golomb codes (ITU-T H.264 9.1)."""
        for value in values:
            self.put(2 * (value + 1).bit_length() - 1, value + 1)
        return self

    def raw(self, data: bytes) -> "_Bits":
        """Behind zeros up to the next byte."""
        self._bits += [0] * (-len(self._bits) % 8)
        self._bits += np.unpackbits(np.frombuffer(data, np.uint8)).tolist()
        return self

    def nal(self, head: int) -> bytes:
        payload = np.packbits(np.array([*self._bits, 1], np.uint8)).tobytes()
        escaped = bytearray()
        for byte in payload:
            if byte <= 3 and escaped[-2:] == b"\0\0":
                escaped.append(3)
            escaped.append(byte)
        return bytes([0, 0, 0, 1, head, *escaped])


def field_pairs(count: int) -> bytes:
    """Pictures whose upper fields are darker than the lower ones."""
    delimiter = _Bits().put(3, 0).nal(_DELIMITER)
    sps = _Bits().put(8, 77).put(16, 30).golomb(0, 0, 2, 1).put(1, 0)
    sps = sps.golomb(WIDTH // 16 - 1, HEIGHT // 32 - 1).put(5, 0b00100)
    pps = _Bits().golomb(0, 0).put(2, 0).golomb(0, 0, 0).put(3, 0).golomb(0, 0, 0).put(3, 0b100)
    headers = sps.nal(_SPS) + pps.nal(_PPS)
    fields = [(n, is_lower) for n in range(count) for is_lower in (False, True)]
    return b"".join(
        delimiter + (b"" if is_lower else headers) + _field(n, is_lower=is_lower)
        for n, is_lower in fields
    )


def _field(number: int, *, is_lower: bool) -> bytes:
    made = _Bits().golomb(0, 7, 0).put(4, 0).put(2, 0b11 if is_lower else 0b10)
    made = made.put(1, 0) if is_lower else made.golomb(number % 2).put(2, 0)
    made.golomb(0, 1)
    sample = bytes([number + (140 if is_lower else 40)]) * 256 + bytes([128]) * 128
    for _ in range(WIDTH // 16 * HEIGHT // 32):
        made.golomb(25).raw(sample)
    return made.nal(_OTHER if is_lower else _IDR)
