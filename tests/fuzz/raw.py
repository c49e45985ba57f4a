"""Damage that needs no idea of what the bytes are."""

from collections.abc import Callable
from random import Random

Damage = Callable[[bytes, Random], bytes]

_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0"
_HTML = b"<!DOCTYPE html><html><head><title>403 Forbidden</title></head></html>\n"


def flip_bits(data: bytes, random: Random) -> bytes:
    out = bytearray(data)
    for _ in range(random.choice((1, 3, 30, 300)) if out else 0):
        out[random.randrange(len(out))] ^= 1 << random.randrange(8)
    return bytes(out)


def overwrite(data: bytes, random: Random) -> bytes:
    at, length = piece(data, random)
    fill = random.choice((random.randbytes(length), bytes(length), b"\xff" * length))
    return data[:at] + fill + data[at + length :]


def cut_out(data: bytes, random: Random) -> bytes:
    at, length = piece(data, random)
    return data[:at] + data[at + length :]


def repeat(data: bytes, random: Random) -> bytes:
    at, length = piece(data, random)
    return data[: at + length] + data[at : at + length] * random.randint(1, 3) + data[at + length :]


def insert(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.choice((1, 7, 188, 4096))) + data[at:]


def truncate(data: bytes, random: Random) -> bytes:
    return data[: random.choice((0, 1, 7, 8, 187, 188, random.randrange(len(data) + 1)))]


def behind_something(data: bytes, random: Random) -> bytes:
    return random.choice((_PNG, _HTML, b"\0" * 100, b"ID3\4\0\0\x7f\x7f\x7f\x7f")) + data


def something_else(data: bytes, random: Random) -> bytes:
    return random.choice((b"", _HTML, _PNG, random.randbytes(min(len(data), 20_000)), b"G" * 5000))


def piece(data: bytes, random: Random) -> tuple[int, int]:
    """``(offset, length)`` of a random run of bytes, most often a short one."""
    at = random.randrange(len(data) + 1)
    length = random.choice((1, 4, 188, 1000, len(data) // 3))
    return at, min(length, len(data) - at)


DAMAGES: tuple[Damage, ...] = (
    flip_bits,
    overwrite,
    cut_out,
    repeat,
    insert,
    truncate,
    behind_something,
    something_else,
)
