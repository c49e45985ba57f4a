"""Loudness as ITU-R BS.1770-4 has it, of sound that is measured in pieces.

Everything is counted in hops of a tenth of a second from the recording's first sample on, so that
what is measured of neighbouring pieces fits together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

HOPS_PER_S = 10
# A block has 400 ms, and the next one begins a quarter of it later (annex 1).
BLOCK_HOPS = 4
# What is below is silence.
SILENCE_LUFS = -70.0
# Blocks that are so much below the mean of the others do not count.
_RELATIVE_GATE = 10.0 ** (-10.0 / 10.0)
_OFFSET_LU = -0.691


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Levels:
    """Of the hops from number ``first`` on, each ``hop`` samples long, shape ``(n,)`` both.

    ``power``: K-weighted mean square of the block that ends with the hop, all channels, 1.0 is
    -0.691 LUFS; nan where it is not known. ``peak``: the largest amplitude between samples too
    (annex 2), 1.0 is full scale; 0 where nothing is known.
    """

    hop: int
    first: int
    power: Floats
    peak: Floats

    @property
    def behind(self) -> int:
        """Number of the hop behind the last one."""
        return self.first + len(self.power)


def joined(parts: Sequence[Levels]) -> Levels:
    """Over all of them. Where several know a hop: the power of the first part, the largest peak."""
    first = min(part.first for part in parts)
    length = max(part.behind for part in parts) - first
    power, peak = np.full(length, np.nan), np.zeros(length)
    for part in parts:
        own = slice(part.first - first, part.behind - first)
        power[own] = np.where(np.isnan(power[own]), part.power, power[own])
        peak[own] = np.maximum(peak[own], part.peak)
    return Levels(hop=parts[0].hop, first=first, power=power, peak=peak)


def gated_loudness(power: Floats, gate_lufs: float = SILENCE_LUFS) -> Floats:
    """In LUFS, over the last axis of blocks of this power (annex 1, equations 4 to 7); nan where no
    block is louder than ``gate_lufs``."""
    loud = power > power_of(gate_lufs)
    loud &= power > _RELATIVE_GATE * _mean(power, loud)[..., np.newaxis]
    return loudness_of(_mean(power, loud))


def loudness_of(power: Floats) -> Floats:
    """In LUFS; nan for nan."""
    lufs: Floats = _OFFSET_LU + 10.0 * np.log10(power)
    return lufs


def power_of(lufs: float) -> float:
    return float(10.0 ** ((lufs - _OFFSET_LU) / 10.0))


def _mean(power: Floats, counted: npt.NDArray[np.bool_]) -> Floats:
    count = counted.sum(axis=-1)
    total = np.where(counted, power, 0.0).sum(axis=-1)
    mean: Floats = np.where(count > 0, total, np.nan) / np.maximum(count, 1)
    return mean
