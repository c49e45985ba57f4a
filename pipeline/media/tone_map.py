"""HDR pictures (PQ, HLG) as standard ones of BT.709, by a table over all their colours.

FFmpeg's ``tonemap`` takes linear light, which no filter of PyAV's build gives (it has no zscale);
its ``scale`` maps tones itself, and needs seconds before the first picture.
"""

from functools import cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pipeline.media.filters import Cube

Rows = NDArray[np.float64]

# ITU-T H.273 table 3.
PQ, HLG = 16, 18
HDR = frozenset({PQ, HLG})
# cd/m2. What is brighter than the peak becomes white; HLG's own white is there (BT.2100 table 5),
# PQ is mostly mastered up to there. White of standard pictures is that of graphics (BT.2408 2.2).
_PEAK, _WHITE = 1000.0, 203.0
_GAMMA = 2.4  # BT.1886.
# Points on each side of the table: with 65, dark greys are within a few steps of 8 bits.
_POINTS = 65
# SMPTE ST 2084 5.2.
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
# BT.2100 table 5, and luminance of BT.2020.
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
_HLG_GAMMA = 1.2
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593])
# BT.2087 annex 2 backwards.
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)


@cache
def table(transfer: int) -> Cube:
    """From R'G'B' of BT.2020 with one of the two transfers to R'G'B' of BT.709."""
    steps = np.linspace(0, 1, _POINTS)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    made = standard(np.stack([red, green, blue], axis=-1).reshape(-1, 3), transfer)
    rows = "%.5f %.5f %.5f\n" * len(made) % tuple(made.ravel())
    return Cube(f"LUT_3D_SIZE {_POINTS}\n{rows}")


def standard(signal: Rows, transfer: int) -> Rows:
    """The same for rows of colours from 0 to 1."""
    light = _pq_light(signal) if transfer == PQ else _hlg_light(signal)
    # By the brightest component: the hue stays.
    brightest = light.max(axis=-1, keepdims=True)
    mapped = light * _compressed(brightest) / np.maximum(brightest, 1e-6)
    inside = np.clip(mapped @ _BT2020_TO_BT709.T / _WHITE, 0, 1)
    return cast("Rows", inside ** (1 / _GAMMA))


def _compressed(light: Rows) -> Rows:
    """Up to the peak into up to white (BT.2390 5.4.1): what is dark stays, a curve above."""
    peak, white = _pq_signal(np.array([_PEAK, _WHITE]))
    top = white / peak
    knee = 1.5 * top - 0.5
    given = np.minimum(_pq_signal(light) / peak, 1)
    t = np.maximum(given - knee, 0) / (1 - knee)
    curve = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * top
    )
    return _pq_light(np.where(given < knee, given, curve) * peak)


def _pq_light(signal: Rows) -> Rows:
    power = signal ** (1 / _M2)
    return 10_000 * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1)


def _pq_signal(light: Rows) -> Rows:
    power = (light / 10_000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _hlg_light(signal: Rows) -> Rows:
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12)
    luminance = np.maximum(scene @ _LUMINANCE, 1e-9)[..., None]
    return cast("Rows", _PEAK * luminance ** (_HLG_GAMMA - 1) * scene)
