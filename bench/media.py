"""Inputs, made once and cached: half a minute is encoded, and hours are that again and again."""

import math
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg

# A whole number of 4 s segments, of 2 s GOPs and of AAC frames of 1024 samples.
_BASE_S = 32
SEGMENT_S = 4
_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An ended HLS stream in a folder: ``stream.m3u8`` and its segments beside it."""

    folder: Path
    seconds: int
    title: str

    @property
    def playlist(self) -> Path:
        return self.folder / "stream.m3u8"

    @property
    def segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.ts"))

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.segments)


def ffmpeg() -> str:
    """The FFmpeg binary of the ``bench`` extra."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def plain_stream(seconds: int, cache: Path) -> Stream:
    """720p25 H.264 with B-frames and stereo AAC in MPEG-TS, 3 Mbit/s, segments of 4 s."""
    folder = cache / f"h264-720p25-3m-{seconds}s"
    if not folder.exists():
        base = _encoded_base(cache)
        draft = folder.with_name(f"{folder.name}.draft-{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        _run(
            "-stream_loop", str(math.ceil(seconds / _BASE_S)), "-i", str(base),
            "-t", str(seconds), "-c", "copy", "-f", "hls", "-hls_time", str(SEGMENT_S),
            "-hls_list_size", "0", "-hls_playlist_type", "vod",
            "-hls_segment_filename", str(draft / "segment-%05d.ts"), str(draft / "stream.m3u8"),
        )  # fmt: skip
        draft.rename(folder)
    title = "720p25 H.264 (3 Mbit/s with sound), AAC 48 kHz stereo, MPEG-TS, 4 s segments"
    return Stream(folder=folder, seconds=seconds, title=title)


def _encoded_base(cache: Path) -> Path:
    base = cache / f"h264-720p25-3m-base-{_BASE_S}s.nut"
    if not base.exists():
        cache.mkdir(parents=True, exist_ok=True)
        draft = base.with_name(f"{base.name}.draft-{os.getpid()}")
        _run(
            # Noise makes every picture cost its share of the bit rate, as a camera's would.
            "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25,noise=alls=8:allf=t",
            "-f", "lavfi", "-i", "sine=frequency=440:beep_factor=4:sample_rate=48000",
            "-t", str(_BASE_S), "-c:v", "libx264", "-preset", "superfast", "-pix_fmt", "yuv420p",
            "-b:v", "2850k", "-maxrate", "3000k", "-bufsize", "3000k", "-bf", "2",
            "-g", "50", "-keyint_min", "50", "-sc_threshold", "0",
            "-c:a", "aac", "-b:a", "128k", "-ac", "2", "-f", "nut", str(draft),
        )  # fmt: skip
        draft.rename(base)
    return base


def _run(*arguments: str) -> None:
    subprocess.run(
        [ffmpeg(), "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *arguments],
        check=True,
        timeout=_TIMEOUT_S,
    )
