"""Ended streams on disk, taken apart so that a publisher can show them piece by piece."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.media import ffmpeg

_URI = re.compile(r'(?<=URI=")[^"]+')
_BASE_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A segment of a playlist. ``tags``: the lines before its URI."""

    duration_s: float
    tags: tuple[str, ...]
    path: Path


class Prepared:
    """``head``: the lines before the first segment; ``files``: what they name."""

    def __init__(self, playlist: Path) -> None:
        lines = playlist.read_text().splitlines()
        first = next(n for n, line in enumerate(lines) if line.startswith("#EXTINF"))
        self.head = tuple(line for line in lines[:first] if not _is_told_anew(line))
        self.files = [playlist.parent / uri for line in self.head for uri in _URI.findall(line)]
        self.entries = list(_entries(lines[first:], playlist.parent))

    @property
    def duration_s(self) -> float:
        return sum(entry.duration_s for entry in self.entries)


def _is_told_anew(line: str) -> bool:
    return line.startswith(("#EXT-X-MEDIA-SEQUENCE", "#EXT-X-PLAYLIST-TYPE"))


def _entries(lines: list[str], folder: Path) -> Iterator[Entry]:
    tags: list[str] = []
    duration_s = 0.0
    for line in lines:
        if line.startswith("#EXTINF:"):
            duration_s = float(line.removeprefix("#EXTINF:").partition(",")[0])
        if line.startswith("#"):
            tags.append(line)
        elif line:
            yield Entry(duration_s=duration_s, tags=tuple(tags), path=folder / line)
            tags = []


def renamed(tag: str, name: Callable[[str], str]) -> str:
    """The tag with another name for what it names, if anything."""
    return _URI.sub(lambda found: name(found[0]), tag)


def long_stream(folder: Path, seconds: int, *, segment_s: int = 4, kbit_per_s: int = 1500) -> Path:
    """A stream of any length at the price of 20 s of it: 640x360 at 25 frames/s with sound.

    The pictures come again every 20 s, at later times.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base, playlist = folder / "base.nut", folder / "stream.m3u8"
    video = kbit_per_s - 96
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25,noise=alls=20:allf=t"),
        *("-f", "lavfi", "-i", "sine=frequency=440:beep_factor=4:sample_rate=48000"),
        *("-t", str(_BASE_S), "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"),
        *("-b:v", f"{video}k", "-maxrate", f"{video}k", "-bufsize", f"{video}k"),
        *("-g", "50", "-keyint_min", "50", "-sc_threshold", "0"),
        *("-c:a", "aac", "-b:a", "96k", "-f", "nut", base),
    )
    ffmpeg(
        *("-stream_loop", str(-(-seconds // _BASE_S)), "-i", base, "-t", str(seconds)),
        *("-c", "copy", "-f", "hls", "-hls_time", str(segment_s), "-hls_list_size", "0"),
        *("-hls_playlist_type", "vod", "-hls_segment_filename", folder / "seg_%05d.ts", playlist),
    )
    base.unlink()
    return playlist
