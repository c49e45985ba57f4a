"""How much louder or softer sound is made on the way to a target loudness: a curve over time.

A recording is made in pieces, and nobody knows all of it. So the gain follows the loudness around
each moment; slowly, but for a limiter that keeps peaks below a ceiling. Where a piece goes on from
another one, both find the same gain for some time around the border, from the same measurements.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.media.loudness import (
    BLOCK_HOPS,
    HOPS_PER_S,
    Floats,
    Levels,
    gated_loudness,
    joined,
)

# Of true peaks, before encoding: AAC adds 0.5 to 2 dB.
CEILING_DBTP = -2.0
MOST_LOUDER_DB, MOST_SOFTER_DB = 12.0, 24.0
# What is below is background, which is not brought to the front where nobody speaks or plays.
BACKGROUND_LUFS = -50.0
# To each side of a moment.
AROUND_S = 7.5
_SMOOTH_S = 2.0
# Away from a border: what was heard there may have been much shorter.
_STEEPEST_DB_PER_S = 1.5
# Around a border the gain is the same in both pieces for so many hops to each side, which is more
# than the two frames that an encoder overlaps by; and peaks are for two more.
_HELD_HOPS = 3
_SHARED_HOPS = 5

_AROUND = int(AROUND_S * HOPS_PER_S)
_SMOOTH = int(_SMOOTH_S * HOPS_PER_S)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gain:
    """Linear in dB between nodes, constant before and behind them. ``at``: numbers of samples on
    the recording's count, growing; ``db``: there. Shape ``(n,)`` both."""

    at: npt.NDArray[np.int64]
    db: Floats

    def factors(self, first: int, count: int) -> npt.NDArray[np.float32]:
        """For the samples from number ``first`` on, shape ``(count,)``."""
        db = np.interp(np.arange(first, first + count), self.at, self.db)
        return (10.0 ** (db / 20.0)).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Agreed:
    """Where sound goes on from one piece to the next. ``hop``: the number of the hop that begins
    there; ``levels``: of both sides, as both pieces measured them."""

    hop: int
    levels: Levels

    def gain_db(self, target_lufs: float) -> float:
        """0 where nothing is heard on either side."""
        asked = _asked_db(self.levels, target_lufs)
        db = asked[np.clip(self.hop - self.levels.first, 0, len(asked) - 1)]
        return 0.0 if np.isnan(db) else float(db)


def gain_towards(
    target_lufs: float, own: Levels, before: Agreed | None = None, after: Agreed | None = None
) -> Gain:
    """Of a piece with these levels. ``before``, ``after``: where it goes on from something, and
    where something goes on from it."""
    borders = [border for border in (before, after) if border is not None]
    known = joined([own, *(border.levels for border in borders)])
    db = _smooth(_asked_db(known, target_lufs))
    if borders:
        db = _bound(db, known.first, target_lufs, before, after)
    nodes = known.first + np.arange(len(db))
    return Gain(at=nodes * known.hop, db=np.minimum(db, _highest_db(known, borders)))


def _asked_db(levels: Levels, target_lufs: float) -> Floats:
    """What would bring the sound around the begin of each hop, and around the end of the last one,
    to the target; nan where there is none."""
    nowhere = np.nan
    padded = np.pad(levels.power, (_AROUND - BLOCK_HOPS + 1, _AROUND), constant_values=nowhere)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * _AROUND - BLOCK_HOPS + 1)
    asked = target_lufs - gated_loudness(around, BACKGROUND_LUFS)
    return np.clip(asked, -MOST_SOFTER_DB, MOST_LOUDER_DB)


def _smooth(asked_db: Floats) -> Floats:
    """Where nothing is asked, from what was before to what comes."""
    is_asked = ~np.isnan(asked_db)
    if not is_asked.any():
        return np.zeros_like(asked_db)
    nodes = np.arange(len(asked_db))
    db = np.interp(nodes, nodes[is_asked], asked_db[is_asked])
    window = 2 * _SMOOTH + 1
    return np.convolve(np.pad(db, _SMOOTH, mode="edge"), np.full(window, 1 / window), "valid")


def _bound(
    db: Floats, first: int, target_lufs: float, before: Agreed | None, after: Agreed | None
) -> Floats:
    """Led to what is agreed on at the borders, from hop number ``first`` on."""
    nodes = first + np.arange(len(db))
    steepest, held = _STEEPEST_DB_PER_S / HOPS_PER_S, _HELD_HOPS
    if before is not None and after is not None:
        length = after.hop - before.hop
        held = max(0, min(held, length // 4))
        step_db = abs(after.gain_db(target_lufs) - before.gain_db(target_lufs))
        steepest = max(steepest, step_db / max(1, length - 2 * held))
    for border, inwards in ((before, 1), (after, -1)):
        if border is not None:
            agreed = border.gain_db(target_lufs)
            away = np.maximum(0, inwards * (nodes - border.hop) - held) * steepest
            db = np.clip(db, agreed - away, agreed + away)
    return db


def _highest_db(known: Levels, borders: Sequence[Agreed]) -> Floats:
    """That keeps the hops on both sides of each node below the ceiling."""
    peak = known.peak.copy()
    for border in borders:
        hops = np.arange(border.hop - _SHARED_HOPS, border.hop + _SHARED_HOPS)
        hops = hops[(hops >= border.levels.first) & (hops < border.levels.behind)]
        peak[hops - known.first] = border.levels.peak[hops - border.levels.first]
    beside = np.maximum(np.pad(peak, (0, 1)), np.pad(peak, (1, 0)))
    return CEILING_DBTP - 20.0 * np.log10(np.maximum(beside, 1e-9))
