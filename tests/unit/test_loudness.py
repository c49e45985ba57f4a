"""Loudness that is measured in pieces, against FFmpeg over all of it; and the gain that follows."""

import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.media.gain import (
    CEILING_DBTP,
    MOST_LOUDER_DB,
    MOST_SOFTER_DB,
    Agreed,
    Gain,
    gain_towards,
)
from pipeline.media.loudness import Levels, gated_loudness, joined, power_of
from pipeline.media.meter import Meter, measure
from pipeline.media.remux import Input
from pipeline.media.sniff import Kind
from pipeline.model import Form
from pipeline.timebase import LEAD_S
from tests import media

HOP, TARGET = 4_800, -16.0
SIGNALS = {
    "sine": ("sine=frequency=997:sample_rate=48000:duration=12", 48_000, 1),
    "high": (
        "sine=frequency=11025:sample_rate=44100:duration=9,volume=4,afade=d=1,afade=t=out:st=8:d=1",
        44_100,
        1,
    ),
    "noise": ("anoisesrc=c=pink:r=48000:d=12:a=0.4:seed=2,pan=stereo|c0=c0|c1=0.3*c0", 48_000, 2),
    "pauses": (
        "anoisesrc=c=pink:r=48000:d=20:a=0.4:seed=3,"
        "volume='if(lt(mod(t,5),2),1,0.001)':eval=frame,pan=stereo|c0=c0|c1=c0",
        48_000,
        2,
    ),
    "surround": (
        "anoisesrc=c=pink:r=48000:d=8:a=0.4:seed=4,"
        "pan=5.1|c0=c0|c1=.5*c0|c2=c0|c3=c0|c4=.7*c0|c5=.2*c0",
        48_000,
        6,
    ),
}


def judged(path: Path) -> tuple[float, float]:
    """Integrated loudness in LUFS, and the true peak in dBTP."""
    _, said = media.ffmpeg("-v", "info", "-i", path, "-af", "ebur128=peak=true", "-f", "null", "-")
    told = re.search(r"Summary:.*?I:\s+(\S+) LUFS.*?Peak:\s+(\S+) dBFS", said, re.DOTALL)
    assert told is not None, said
    return float(told[1]), float(told[2])


@pytest.mark.parametrize("name", SIGNALS)
def test_measured_as_ffmpeg_does(name: str, tmp_path: Path) -> None:
    signal, rate, channels = SIGNALS[name]
    path = tmp_path / "sound.mp4"
    flags = "empty_moov+default_base_moof+frag_keyframe"
    media.ffmpeg(*("-f", "lavfi", "-i", signal, "-c:a", "flac", "-movflags", flags, path))
    form = Form(audio="aac", audio_rate=rate, audio_channels=channels)
    given = Input(
        kind=Kind.MP4, segments=(path.read_bytes(),), anchor_s=LEAD_S, near_s=0.0, form=form
    )
    levels = measure(given)
    lufs, dbtp = judged(path)
    assert float(gated_loudness(levels.power)) == pytest.approx(lufs, abs=0.1)
    assert 20 * np.log10(levels.peak.max()) == pytest.approx(dbtp, abs=0.15)


@pytest.mark.parametrize("samples", [1, 4_799, 4_801, 19_199])
def test_what_is_shorter_than_a_block_has_no_loudness(samples: int) -> None:
    meter = Meter(48_000, "mono", 1, first=100)
    meter.take(np.full((1, samples), 0.5, np.float32))
    levels = meter.finish()
    assert np.isnan(gated_loudness(levels.power))
    assert (levels.first, levels.behind) == (0, -(-(samples + 100) // HOP))
    assert np.isfinite(gain_towards(TARGET, levels).db).all()


def levels_of(lufs: list[float], first: int = 0, crest_db: float = 10.0) -> Levels:
    power = np.array([power_of(each) for each in lufs])
    peak = 10 ** ((np.array(lufs) + crest_db) / 20)
    return Levels(hop=HOP, first=first, power=power, peak=peak)


def db_at(gain: Gain, hops: np.ndarray) -> np.ndarray:
    """Just behind where these hops begin."""
    return np.array([20 * np.log10(float(gain.factors(int(hop * HOP), 1)[0])) for hop in hops])


def test_pieces_that_are_joined_are_the_whole() -> None:
    whole = levels_of([-20.0, -30.0, -25.0, -40.0], first=7)
    parts = [levels_of([-20.0, -30.0], first=7), levels_of([-25.0, -40.0], first=9)]
    made = joined(parts[::-1])
    assert made.first == 7
    assert (made.power == whole.power).all()
    assert (made.peak == whole.peak).all()


def test_the_target_is_reached_within_the_limits() -> None:
    for lufs in (-24.0, -16.0, -8.0):
        assert gain_towards(TARGET, levels_of([lufs] * 100)).db == pytest.approx(TARGET - lufs)
    assert gain_towards(TARGET, levels_of([-45.0] * 100)).db == pytest.approx(MOST_LOUDER_DB)
    loud = levels_of([12.0] * 100, crest_db=-12.0)
    assert gain_towards(TARGET, loud).db == pytest.approx(-MOST_SOFTER_DB)


def test_background_is_not_brought_to_the_front() -> None:
    assert gain_towards(TARGET, levels_of([-60.0] * 300)).db == pytest.approx(0.0)
    # Between two speakers it keeps what they have.
    between = levels_of([-20.0] * 200 + [-60.0] * 300 + [-20.0] * 200)
    assert gain_towards(TARGET, between).db == pytest.approx(4.0)


def test_no_peak_is_above_the_ceiling_and_nothing_jumps() -> None:
    random = np.random.default_rng(5)
    lufs = np.repeat(random.uniform(-40, -5, 30), random.integers(5, 60, 30)[0])
    levels = levels_of(lufs.tolist(), crest_db=16.0)
    gain = gain_towards(TARGET, levels)
    louder = np.maximum(gain.db[:-1], gain.db[1:])
    assert (louder + 20 * np.log10(levels.peak) <= CEILING_DBTP + 1e-9).all()
    factors = gain.factors(0, len(lufs) * HOP)
    # Piecewise linear in dB: from one sample to the next a 4800th of a hop's step.
    steepest = np.abs(np.diff(gain.db)).max() / HOP
    assert np.abs(np.diff(20 * np.log10(factors.astype(np.float64)))).max() < steepest + 1e-5


@pytest.mark.parametrize("length", [2, 5, 12, 30, 200])
def test_both_sides_of_a_border_find_the_same_gain(length: int) -> None:
    """Of a piece of ``length`` hops between two others, of which neighbours know 20 hops."""
    random = np.random.default_rng(length)
    levels = [levels_of(random.uniform(-45, -5, n).tolist(), crest_db=14.0) for n in (300, 300)]
    left = levels[0]
    middle = levels_of(random.uniform(-45, -5, length).tolist(), first=300, crest_db=14.0)
    right = Levels(hop=HOP, first=300 + length, power=levels[1].power, peak=levels[1].peak)

    def border(before: Levels, after: Levels) -> Agreed:
        known = joined([_last(before, 20), _first(after, 20)])
        return Agreed(hop=after.first, levels=known)

    begin, end = border(left, middle), border(middle, right)
    gains = [
        gain_towards(TARGET, left, None, begin),
        gain_towards(TARGET, middle, begin, end),
        gain_towards(TARGET, right, end, None),
    ]
    # A short piece holds what is agreed on for less.
    near = min(2.5, length // 4)
    for at, one, other in ((300, *gains[:2]), (300 + length, *gains[1:])):
        hops = at + np.linspace(-near, near, 9)
        assert db_at(one, hops) == pytest.approx(db_at(other, hops), abs=1e-5)


def test_a_pause_at_a_border_is_not_filled_with_noise() -> None:
    """Chunks meet in a pause of 4 s, and know 7.5 s before and 2 s behind."""
    speech = levels_of([-20.0] * 55, crest_db=12.0)
    noise = levels_of([-45.0] * 40, first=55, crest_db=12.0)
    agreed = Agreed(hop=75, levels=joined([speech, noise]))
    assert agreed.gain_db(TARGET) == pytest.approx(4.0)
    only_noise = Agreed(hop=75, levels=noise)
    assert only_noise.gain_db(TARGET) == pytest.approx(MOST_LOUDER_DB)


def _last(levels: Levels, hops: int) -> Levels:
    hops = min(hops, len(levels.power))
    first = levels.behind - hops
    return Levels(hop=HOP, first=first, power=levels.power[-hops:], peak=levels.peak[-hops:])


def _first(levels: Levels, hops: int) -> Levels:
    return Levels(hop=HOP, first=levels.first, power=levels.power[:hops], peak=levels.peak[:hops])
