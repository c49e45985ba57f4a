"""Which seeds are tried."""

from collections.abc import Sequence
from pathlib import Path

_FAILED_ONCE = Path(__file__).with_name("failed_once.txt")


def spread(names: Sequence[str], first: int, count: int) -> list[str]:
    """``count`` seeds over all bases by turns, their numbers from ``first`` on."""
    return [f"{names[n % len(names)]}:{first + n // len(names)}" for n in range(count)]


def failed_once(names: Sequence[str]) -> list[str]:
    """Those that found a fault once, whose bases are here."""
    lines = (line.partition("#")[0].strip() for line in _FAILED_ONCE.read_text().splitlines())
    return [seed for seed in lines if seed and seed.rpartition(":")[0] in names]
