"""FFmpeg's command lines: receiving SRT, and cutting what is published into segments."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import MediaInvalid, NotInstalled
from pipeline.ingest.look import MAX_STREAMS

Form = Literal["flv", "mpegts"]

SEGMENT_S = 4
MAX_KEYFRAME_S = 8.0
"""Keyframes further apart would make segments too long: the pictures are encoded anew."""
SILENCE_S = 10.0
"""A publisher that sends nothing for so long is gone."""
_REMEDY = "Install the extra: pip install 'vodray[ingest]'"
_LAUNCHER = Path(__file__).with_name("launch.py")
_LOOK = Path(__file__).with_name("look.py")
_PROBE_BYTES, _PROBE_US = 5_000_000, 2_000_000
_PROBE_TIMEOUT_S = 10.0
# Of addresses, most of which FFmpeg's and x264's threads never touch.
_MEMORY_BYTES = 8 * 2**30
# As the profile h264 of profiles.toml.
ENCODE_PICTURES = (
    *("-c:v", "libx264", "-preset", "faster", "-crf", "23", "-maxrate", "3000k"),
    *("-bufsize", "6000k", "-pix_fmt", "yuv420p", "-g", "50", "-keyint_min", "25"),
    *("-sc_threshold", "0", "-r", "25"),
)
ENCODE_SOUND = ("-c:a", "aac", "-b:a", "128k", "-ar", "48000", "-ac", "2")
_QUIET = ("-nostdin", "-hide_banner", "-v", "warning")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What ``look.py`` tells of a stream: codecs as FFmpeg names them, None where there is none."""

    video: str | None
    audio: str | None
    pixel_format: str | None
    keyframe_s: float | None

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> "Found":
        """Raises ``MediaInvalid`` with what was wrong with it."""
        if "problem" in told:
            raise MediaInvalid(f"what is published cannot be used: {told['problem']}")
        return cls(**{name: told[name] for name in cls.__slots__})

    @property
    def copies_video(self) -> bool:
        is_cut = self.keyframe_s is not None and self.keyframe_s <= MAX_KEYFRAME_S
        return (
            self.video == "h264" and self.pixel_format in (None, "yuv420p", "yuvj420p") and is_cut
        )

    @property
    def copies_audio(self) -> bool:
        return self.audio == "aac"


def check_installed() -> None:
    """Raise ``NotInstalled`` without the extra; does not look into it."""
    if find_spec("imageio_ffmpeg") is None:
        raise NotInstalled("Live ingest is not installed", _REMEDY)


@cache
def ffmpeg_path() -> str:
    """The FFmpeg of the extra. Raises ``NotInstalled`` if there is none that takes SRT."""
    try:
        import imageio_ffmpeg

        path = str(imageio_ffmpeg.get_ffmpeg_exe())
        said = subprocess.run(
            [path, "-hide_banner", "-protocols"],
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        ).stdout.split()
    except (ImportError, RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled("Live ingest is not installed", _REMEDY) from error
    if b"srt" not in said:
        raise NotInstalled("The FFmpeg that is installed has no SRT", _REMEDY)
    return path


def launched(argv: Sequence[str], parent: int, *, max_file_bytes: int) -> list[str]:
    """``argv`` as a child that ends with ``parent`` and writes no larger file."""
    bounds = (str(max_file_bytes), str(_MEMORY_BYTES))
    return [sys.executable, "-I", "-S", str(_LAUNCHER), str(parent), *bounds, *argv]


def look(form: Form, max_pixels: int) -> list[str]:
    """What comes on stdin is described in a line of JSON on stdout."""
    return [sys.executable, "-I", "-B", str(_LOOK), form, str(max_pixels)]


def receive_srt(ffmpeg: str, port: int, secret: str) -> list[str]:
    """One publisher's bytes, as they are, to stdout; FFmpeg does not look into them. Whoever does
    not know the secret is refused in the handshake.

    Without ``tsbpd`` nothing is held back until it is due, nor dropped if it comes late: we record
    and do not show. With it, what a publisher sent in the last half second before its end was lost.
    """
    options = {
        "mode": "listener",
        "passphrase": secret,
        "pbkeylen": "16",
        "tsbpd": "0",
        "tlpktdrop": "0",
        "timeout": str(int(SILENCE_S * 1e6)),
    }
    query = "&".join(f"{name}={value}" for name, value in options.items())
    source = ("-f", "data", "-i", f"srt://0.0.0.0:{port}?{query}")
    return [ffmpeg, *_QUIET, *source, "-map", "0", "-c", "copy", "-f", "data", "pipe:1"]


def cut(ffmpeg: str, form: Form, found: Found, pattern: Path, max_pixels: int) -> list[str]:
    """What comes on stdin becomes MPEG-TS segments. A line ``name,start,end`` on stdout for each
    that is complete; progress and complaints on stderr."""
    return [
        *(ffmpeg, *_QUIET, "-nostats", "-progress", "pipe:2", "-stats_period", "1"),
        *("-max_streams", str(MAX_STREAMS), "-max_pixels", str(max_pixels)),
        *("-probesize", str(_PROBE_BYTES), "-analyzeduration", str(_PROBE_US)),
        *("-f", form, "-i", "pipe:0", "-map", "0:v:0?", "-map", "0:a:0?", "-sn", "-dn"),
        *("-map_metadata", "-1"),
        *(("-c:v", "copy") if found.copies_video else ENCODE_PICTURES),
        *(("-c:a", "copy") if found.copies_audio else ENCODE_SOUND),
        *("-f", "segment", "-segment_format", "mpegts", "-segment_time", str(SEGMENT_S)),
        *("-segment_time_delta", "0.05", "-individual_header_trailer", "0"),
        *("-segment_format_options", "flush_packets=1"),
        *("-segment_list", "pipe:1", "-segment_list_type", "csv", str(pattern)),
    ]
