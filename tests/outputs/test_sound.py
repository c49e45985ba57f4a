"""Sound that is encoded in many chunks, against one encoder's single pass over the same: decoded
samples at the joins, and when they are heard."""

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from pipeline import plan
from pipeline.jobs import ChunkJob
from tests import media
from tests.local_pool import record
from tests.media_fixtures import shrink
from tests.outputs.own_profiles import with_profiles

Samples = npt.NDArray[np.float32]

RATE = 48_000
SEGMENT_S, SEGMENTS = 2.0, 60
_AROUND_S = 0.05
# Samples: less than half a period of the sine.
_STEADY = 20
SOUNDS = {
    "sine": "sine=frequency=997:sample_rate=48000:duration=120,volume=2",
    # Syllables of noise through two resonances.
    "speech": (
        "anoisesrc=color=pink:sample_rate=48000:duration=120:seed=7:amplitude=0.6,"
        "bandpass=f=500:width_type=h:w=700,tremolo=f=4.3:d=0.95,tremolo=f=1.1:d=0.6,volume=3"
    ),
}


def make_stream(folder: Path, sound: str, codec: str) -> Path:
    """``codec``: ``ac3`` could be copied, ``mp2`` could not."""
    folder.mkdir()
    playlist = folder / "stream.m3u8"
    media.ffmpeg(
        *("-f", "lavfi", "-i", sound, "-ac", "1", "-c:a", codec, "-b:a", "192k", "-f", "hls"),
        *("-hls_time", str(SEGMENT_S), "-hls_list_size", "0", playlist),
    )
    return playlist


def decoded(path: Path) -> tuple[Samples, float]:
    """All samples, and when the first is heard by the file's own times, in seconds."""
    with av.open(str(path)) as source:
        frames = list(source.decode(audio=0))
    samples = np.concatenate([_as_float(frame) for frame in frames])
    assert frames[0].time is not None
    return samples, frames[0].time


def _as_float(frame: av.AudioFrame) -> Samples:
    raw = frame.to_ndarray()[0]
    return (raw / 32_768 if raw.dtype == np.int16 else raw).astype(np.float32)


def lag(found: Samples, wanted: Samples, at: int, reach: int, length: int = RATE // 2) -> int:
    """By how many samples ``found`` is behind ``wanted`` there, at most ``reach``."""
    piece = wanted[at : at + length]
    around = found[at - reach : at + length + reach]
    spectrum = np.fft.rfft(around, 2**16) * np.conj(np.fft.rfft(piece, 2**16))
    return int(np.argmax(np.fft.irfft(spectrum)[: 2 * reach + 1])) - reach


def errors(
    found: Samples, wanted: Samples, middles: npt.NDArray[np.int64]
) -> tuple[Samples, Samples]:
    """In windows around these samples: signal to noise in dB, and the largest error of a sample."""
    half = int(_AROUND_S * RATE)
    ratios, worst = [], []
    for at in middles:
        signal = wanted[at - half : at + half]
        noise = found[at - half : at + half] - signal
        ratios.append(10 * np.log10((signal**2).sum() / (noise**2).sum()))
        worst.append(np.abs(noise).max())
    return np.array(ratios, np.float32), np.array(worst, np.float32)


@pytest.mark.parametrize(("sound", "codec"), [("sine", "ac3"), ("speech", "mp2")])
async def test_nothing_is_heard_at_joins(
    sound: str, codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_stream(tmp_path / "in", SOUNDS[sound], codec)
    shrink(monkeypatch, part_bytes=30_000, chunk_bytes=40_000)
    monkeypatch.setattr(plan, "MAX_CHUNK_S", 0.75 * SEGMENT_S)
    folder = tmp_path / "out"
    result = await record(source, folder, profile="voice", settings=with_profiles(folder))
    assert sum(isinstance(job, ChunkJob) for job in result.jobs) >= SEGMENTS
    single = tmp_path / "single.m4a"
    media.ffmpeg("-i", source, "-c:a", "aac", "-b:a", "96k", "-ac", "1", "-ar", "48000", single)
    wanted, _ = decoded(source)
    joins = (np.arange(1, SEGMENTS) * SEGMENT_S * RATE).astype(np.int64)[1:-1]
    everywhere = np.arange(2 * RATE, 116 * RATE, RATE // 10)
    ratios = []
    for path, middles in ((folder / "result.m4a", joins), (single, everywhere)):
        found, _ = decoded(path)
        late = lag(found, wanted, 5 * RATE, 3000)
        found = found[late:] if late >= 0 else np.concatenate([np.zeros(-late, np.float32), found])
        # From first to last: less than half a millisecond apart.
        assert lag(found, wanted, 5 * RATE, _STEADY) == 0
        assert lag(found, wanted, 114 * RATE, _STEADY) == 0
        ratios.append(errors(found, wanted, middles))
    (ours_at_joins, our_worst), (single_pass, its_worst) = ratios
    assert ours_at_joins.min() > single_pass.min() - 0.5
    assert our_worst.max() < 1.1 * its_worst.max()
