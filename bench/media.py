"""Inputs, made once and cached: half a minute is encoded, and hours are that again and again."""

import math
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio_ffmpeg

from bench import natural

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

    def facts(self) -> dict[str, Any]:
        """For ``Result.input``."""
        return {
            "title": self.title,
            "seconds": self.seconds,
            "segments": len(self.segments),
            "bytes": self.size_bytes,
        }


def ffmpeg() -> str:
    """The FFmpeg binary of the ``bench`` extra."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is in a stream. ``name``: of what is cached of it; ``pictures``: FFmpeg's filters that
    make ``[pictures]``; ``rate``: of a decoder's buffer of one second, bit/s, that ``preset`` has
    to keep to; ``sound_rate``: bit/s."""

    name: str
    title: str
    width: int
    height: int
    rate: int
    pictures: str
    sound: str
    sound_rate: int
    preset: tuple[str, ...]


# Noise makes every picture cost its share of the bit rate, as a camera's would.
_PATTERN = "testsrc2=size={0}x{1}:rate=25,noise=alls=8:allf=t"
_BEEPS = "sine=frequency=440:beep_factor=4:sample_rate=48000"
# As many bits as it may have, and a source's rate that no profile takes for its own: all encode it.
# It begins with the pictures, not with an encoder's delay before them.
_ROOM = (
    "anoisesrc=color=pink:amplitude=0.2:sample_rate=48000:seed=1,pan=stereo|c0=c0|c1=c0,"
    "asetpts=PTS+1024"
)


def high_rate(kind: str, height: int) -> Content:
    """``natural`` or ``synthetic`` pictures to encode, 8 Mbit/s with 720 lines, 14 with 1080."""
    # Finer pictures need fewer bits for each pixel.
    rate = round(8 * (height / 720) ** 1.4) * 10**6
    width = height * 16 // 9
    return Content(
        name=f"{kind}-{height}p25-{rate // 10**6}m",
        title=f"{kind}, {height}p25 H.264 ({rate / 1e6:g} Mbit/s), AAC 192 kbit/s 48 kHz stereo, "
        f"MPEG-TS, {SEGMENT_S} s segments",
        width=width,
        height=height,
        rate=rate,
        pictures=natural.graph(width, height)
        if kind == "natural"
        else f"{_PATTERN.format(width, height)}[pictures]",
        sound=_ROOM,
        sound_rate=192_000,
        preset=("-preset", "superfast", "-crf", "16"),
    )


PLAIN = Content(
    name="h264-720p25-3m",
    title="720p25 H.264 (3 Mbit/s with sound), AAC 48 kHz stereo, MPEG-TS, 4 s segments",
    width=1280,
    height=720,
    rate=3_000_000,
    pictures=f"{_PATTERN.format(1280, 720)}[pictures]",
    sound=_BEEPS,
    sound_rate=128_000,
    preset=("-preset", "superfast", "-b:v", "2850k"),
)


LOW = Content(
    name="h264-360p25-500k",
    title="360p25 H.264 (500 kbit/s with sound), AAC 48 kHz stereo, MPEG-TS, 4 s segments",
    width=640,
    height=360,
    rate=450_000,
    pictures=f"{_PATTERN.format(640, 360)}[pictures]",
    sound=_BEEPS,
    sound_rate=64_000,
    preset=("-preset", "superfast", "-b:v", "400k"),
)


def make_stream(content: Content, seconds: int, cache: Path) -> Stream:
    """Keyframes every 2 s and no others, B-frames, segments of 4 s."""
    folder = cache / f"{content.name}-{seconds}s"
    if not folder.exists():
        base = _encoded_base(content, cache)
        draft = folder.with_name(f"{folder.name}.draft-{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        _run(
            "-stream_loop", str(math.ceil(seconds / _BASE_S)), "-i", str(base),
            # Whole GOPs: a part of one would have pictures missing between others.
            "-t", str(seconds), "-frames:v", str(seconds * 25), "-c", "copy",
            "-f", "hls", "-hls_time", str(SEGMENT_S), "-hls_list_size", "0",
            "-hls_playlist_type", "vod",
            "-hls_segment_filename", str(draft / "segment-%05d.ts"), str(draft / "stream.m3u8"),
        )  # fmt: skip
        draft.rename(folder)
    return Stream(folder=folder, seconds=seconds, title=content.title)


def _encoded_base(content: Content, cache: Path) -> Path:
    base = cache / f"{content.name}-base-{_BASE_S}s.nut"
    if not base.exists():
        cache.mkdir(parents=True, exist_ok=True)
        draft = base.with_name(f"{base.name}.draft-{os.getpid()}")
        _run(
            "-filter_complex", f"{content.pictures};{content.sound}[sound]",
            "-map", "[pictures]", "-map", "[sound]", "-t", str(_BASE_S),
            "-c:v", "libx264", *content.preset, "-pix_fmt", "yuv420p",
            "-maxrate", str(content.rate), "-bufsize", str(content.rate), "-bf", "2",
            "-g", "50", "-keyint_min", "50", "-sc_threshold", "0",
            "-c:a", "aac", "-b:a", str(content.sound_rate), "-ac", "2", "-f", "nut", str(draft),
        )  # fmt: skip
        draft.rename(base)
    return base


def _run(*arguments: str) -> None:
    subprocess.run(
        [ffmpeg(), "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *arguments],
        check=True,
        timeout=_TIMEOUT_S,
    )
