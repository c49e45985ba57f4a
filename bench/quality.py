"""What came out of an encoder: how many pictures, how much they look like the source's, whether a
decoder's buffer holds them, and whether it shows where chunks were joined."""

import json
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import psutil

from bench import vbv
from bench.media import ffmpeg
from pipeline.model import EncodedPictures

Scores = npt.NDArray[np.float64]
# Seconds on each side of a join.
_AROUND_S = 1.0
_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """``vmaf``: the mean over two seconds in whose middle ``at_s`` lies."""

    at_s: float
    vmaf: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """``pictures``: samples in the file, ``decoded``: pictures that a decoder makes of them;
    ``vmaf``, ``vmaf_p5``: mean and 5th percentile over them; ``window_p5``: 5th percentile of all
    windows; ``joins``: the windows around joins."""

    pictures: int
    decoded: int
    size_bytes: int
    pictures_bytes: int
    vmaf: float
    vmaf_p5: float
    window_p5: float
    joins: tuple[Window, ...]
    buffer: vbv.Fullness

    @property
    def worst_join(self) -> Window | None:
        return min(self.joins, key=lambda window: window.vmaf, default=None)

    def as_json(self) -> dict[str, Any]:
        worst = self.worst_join
        return {**asdict(self), "worst_join": asdict(worst) if worst else None}


@dataclass(frozen=True, slots=True)
class Sample:
    """``offset`` in the file; times in seconds."""

    offset: int
    size_bytes: int
    decoded_s: float
    shown_s: float


def read_samples(path: Path) -> list[Sample]:
    """Of the pictures, in decoding order."""
    with av.open(str(path)) as container:
        tick_s = float(container.streams.video[0].time_base or 0)
        return [
            Sample(packet.pos or 0, packet.size, packet.dts * tick_s, packet.pts * tick_s)
            for packet in container.demux(video=0)
            if packet.size and packet.dts is not None and packet.pts is not None
        ]


def count_pictures(path: Path) -> int:
    """That a decoder makes of a file or a playlist."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        return sum(1 for _ in container.decode(video=0))


def join_times_s(samples: Sequence[Sample], offsets: Iterable[int]) -> list[float]:
    """When the first picture behind each of these places of the file is shown; not of the first
    place, where nothing is joined."""
    _, *later = sorted(offsets)
    return [
        next(sample.shown_s for sample in samples if sample.offset >= offset) for offset in later
    ]


def compare(path: Path, playlist: Path, spec: EncodedPictures, joins_s: Sequence[float]) -> Quality:
    """``path`` against the source ``playlist``, scaled to its size (Lanczos)."""
    samples = read_samples(path)
    scores = _vmaf(path, playlist, spec)
    begin_s = min(sample.shown_s for sample in samples)
    rate = (len(samples) - 1) / (samples[-1].decoded_s - samples[0].decoded_s)
    around = round(_AROUND_S * rate)
    windows = np.convolve(scores, np.ones(2 * around) / (2 * around), "valid")
    return Quality(
        pictures=len(samples),
        decoded=count_pictures(path),
        size_bytes=path.stat().st_size,
        pictures_bytes=sum(sample.size_bytes for sample in samples),
        vmaf=float(scores.mean()),
        vmaf_p5=float(np.percentile(scores, 5)),
        window_p5=float(np.percentile(windows, 5)),
        joins=tuple(
            _window(scores, at_s, round((at_s - begin_s) * rate), around) for at_s in joins_s
        ),
        buffer=vbv.fill(
            ((sample.decoded_s, sample.size_bytes) for sample in samples),
            max_rate=spec.max_rate,
            size=spec.buffer_size,
        ),
    )


def _window(scores: Scores, at_s: float, picture: int, around: int) -> Window:
    window = scores[max(0, picture - around) : picture + around]
    return Window(at_s=round(at_s, 3), vmaf=float(window.mean()))


def _vmaf(path: Path, playlist: Path, spec: EncodedPictures) -> Scores:
    """Of each picture, in the order in which they are shown."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "vmaf.json"
        # Both begin at 0: what is left out at the begin moves everything, and it shows.
        graph = (
            f"[0:v]setpts=PTS-STARTPTS[made];"
            f"[1:v]setpts=PTS-STARTPTS,scale={spec.width}:{spec.height}:flags=lanczos,"
            f"format={spec.pixel_format}[source];"
            f"[made][source]libvmaf=shortest=1:log_fmt=json:log_path={log}:"
            f"n_threads={psutil.cpu_count() or 1}"
        )
        subprocess.run(
            [ffmpeg(), "-hide_banner", "-nostdin", "-loglevel", "error", "-i", str(path),
             "-i", str(playlist), "-filter_complex", graph, "-f", "null", "-"],
            check=True, timeout=_TIMEOUT_S,
        )  # fmt: skip
        frames = json.loads(log.read_text())["frames"]
    return np.array([frame["metrics"]["vmaf"] for frame in frames])
