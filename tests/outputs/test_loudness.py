"""Sound that many chunks bring to a loudness, each by itself: FFmpeg says how loud it becomes, and
a tone whether its loudness ever jumps."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import plan, sounds
from pipeline.jobs import ChunkJob
from pipeline.media.gain import Gain
from tests import media
from tests.local_pool import Result, record
from tests.media_fixtures import shrink
from tests.outputs.own_profiles import with_profiles
from tests.outputs.test_sound import RATE, Samples, decoded

SEGMENT_S, LENGTH_S, TARGET = 2.0, 24, -16.0
_SPEECH = (
    f"anoisesrc=color=pink:sample_rate=48000:duration={LENGTH_S}:seed=7:amplitude=0.6,"
    "bandpass=f=500:width_type=h:w=700,tremolo=f=4.3:d=0.95,tremolo=f=1.1:d=0.6,"
)
_FRAMES_S = 0.04


def make_stream(folder: Path, sound: str, codec: str = "aac") -> Path:
    folder.mkdir()
    playlist = folder / "stream.m3u8"
    media.ffmpeg(
        *("-f", "lavfi", "-i", sound, "-ac", "1", "-c:a", codec, "-b:a", "192k", "-f", "hls"),
        *("-hls_time", str(SEGMENT_S), "-hls_list_size", "0", playlist),
    )
    return playlist


@pytest.fixture
def one_segment_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, part_bytes=30_000, chunk_bytes=40_000)
    monkeypatch.setattr(plan, "MAX_CHUNK_S", 0.75 * SEGMENT_S)


async def made_even(source: Path, folder: Path, **options: Any) -> Result:
    return await record(source, folder, profile="even", settings=with_profiles(folder), **options)


def heard(path: Path) -> tuple[float, float, float]:
    """Integrated loudness in LUFS, loudness range in LU, true peak in dBTP."""
    _, said = media.ffmpeg("-v", "info", "-i", path, "-af", "ebur128=peak=true", "-f", "null", "-")
    summary = said[said.rindex("Summary:") :]
    found = [re.search(rf"{name}:\s+(\S+)", summary) for name in ("I", "LRA", "Peak")]
    lufs, range_lu, dbtp = (float(each[1]) for each in found if each is not None)
    return lufs, range_lu, dbtp


@pytest.mark.parametrize(
    ("sound", "before_lufs"),
    [
        (f"{_SPEECH}volume=2.8", -24.7),
        (f"{_SPEECH}volume=6", -18.1),
        (f"anoisesrc=c=pink:r=48000:d={LENGTH_S}:a=0.9:seed=3,volume=3.5,tremolo=f=2:d=0.8", -12),
    ],
    ids=["quiet", "speech", "loud"],
)
@pytest.mark.usefixtures("one_segment_chunks")
async def test_it_becomes_as_loud_as_asked(sound: str, before_lufs: float, tmp_path: Path) -> None:
    source = make_stream(tmp_path / "in", sound)
    assert heard(source)[0] == pytest.approx(before_lufs, abs=0.5)
    result = await made_even(source, tmp_path / "out")
    assert sum(isinstance(job, ChunkJob) for job in result.jobs) >= LENGTH_S / SEGMENT_S
    lufs, _, dbtp = heard(tmp_path / "out" / "result.m4a")
    # Speech of 18 dB between loudness and peaks meets the limiter.
    assert lufs == pytest.approx(TARGET, abs=1.6)
    assert dbtp < 0


async def test_what_mp4_does_not_take_becomes_so_as_well(tmp_path: Path) -> None:
    source = make_stream(tmp_path / "in", f"{_SPEECH}volume=2.8", "mp2")
    assert heard(source)[0] == pytest.approx(-24.7, abs=0.5)
    await made_even(source, tmp_path / "out")
    lufs, _, dbtp = heard(tmp_path / "out" / "result.m4a")
    assert lufs == pytest.approx(TARGET, abs=1.6)
    assert dbtp < 0


@pytest.mark.usefixtures("one_segment_chunks")
async def test_what_is_quieter_for_a_while_comes_nearer(tmp_path: Path) -> None:
    louder = "volume='if(lt(t,12),1.2,6)':eval=frame"
    source = make_stream(tmp_path / "in", _SPEECH + louder)
    await made_even(source, tmp_path / "out")
    before, after = heard(source), heard(tmp_path / "out" / "result.m4a")
    assert before[1] > 10
    assert after[1] < 6


@pytest.mark.usefixtures("one_segment_chunks")
async def test_any_number_of_workers_makes_the_same(tmp_path: Path) -> None:
    source = make_stream(tmp_path / "in", f"{_SPEECH}volume=2")
    for workers in (1, 4):
        await made_even(source, tmp_path / f"out{workers}", workers=workers)
    one, four = (tmp_path / f"out{workers}" / "result.m4a" for workers in (1, 4))
    assert one.read_bytes() == four.read_bytes()


@pytest.mark.usefixtures("one_segment_chunks")
async def test_neighbours_agree_on_the_gain_and_nothing_jumps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gains: dict[int, Gain] = {}

    def noted(target: float, own: Any, *borders: Any) -> Gain:
        made = gain_towards(target, own, *borders)
        gains[own.first] = made
        return made

    gain_towards = sounds.gain_towards
    monkeypatch.setattr(sounds, "gain_towards", noted)
    # From -33 to -13 LUFS and back within seconds.
    swell = "volume='0.08*pow(10,0.5+0.5*sin(2*PI*t/9))':eval=frame"
    source = make_stream(tmp_path / "in", f"sine=f=997:r=48000:d={LENGTH_S},volume=8,{swell}")
    await made_even(source, tmp_path / "out")
    pieces = sorted(gains.items())
    assert len(pieces) >= LENGTH_S / SEGMENT_S
    for (_, left), (first, right) in pairwise(pieces):
        # The border lies in the piece's first hop; an encoder overlaps by two frames of 1024.
        around = (first * RATE // 10 - 2048, 4096 + RATE // 10)
        assert np.array_equal(left.factors(*around), right.factors(*around))
    assert max(np.ptp(gain.db) for gain in gains.values()) > 1
    ours, _ = decoded(tmp_path / "out" / "result.m4a")
    source_itself, _ = decoded(source)
    assert _roughness(ours) < 1.5 * _roughness(source_itself)


def _roughness(samples: Samples) -> float:
    """The worst that a tone of 997 Hz deviates, in 40 ms, from one whose amplitude changes evenly:
    a part of its amplitude."""
    length = int(_FRAMES_S * RATE)
    t = np.arange(length) / RATE
    tone = np.stack([np.sin(2 * np.pi * 997 * t), np.cos(2 * np.pi * 997 * t)])
    basis = np.concatenate([tone, tone * t]).T
    worst = 0.0
    for first in range(RATE, len(samples) - RATE, length // 2):
        own = samples[first : first + length].astype(np.float64)
        found, *_ = np.linalg.lstsq(basis, own, rcond=None)
        worst = max(worst, float(np.abs(own - basis @ found).max() / np.abs(own).max()))
    return worst


@pytest.mark.usefixtures("one_segment_chunks")
async def test_silence_stays_silent(tmp_path: Path) -> None:
    source = make_stream(tmp_path / "in", "anullsrc=r=48000:cl=mono:d=12")
    await made_even(source, tmp_path / "out")
    samples, _ = decoded(tmp_path / "out" / "result.m4a")
    assert np.abs(samples).max() == 0
