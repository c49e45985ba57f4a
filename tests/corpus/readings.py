"""What FFmpeg, which had no part in making a file, reads and decodes in it."""

import hashlib
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg

_TIMEOUT_S = 60
_ONLY_FILES = ("-protocol_whitelist", "file,crypto,data")
_FROM_THE_START = ("-allowed_extensions", "ALL", "-extension_picky", "0", "-max_reload", "0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One stream's packets as FFmpeg demuxes them; times in seconds of the file's timeline."""

    kind: str
    codec: str
    packets: int
    start_s: float
    end_s: float
    sum_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """``digest``: SHA-256 over the frames' MD5, one a line; ``sizes``: width and height, each once,
    in the order in which they first occur; ``complaints``: FFmpeg's error lines."""

    frames: int
    digest: str
    sizes: tuple[tuple[int, int], ...]
    complaints: tuple[str, ...]


def read_tracks(media: Path) -> list[Track]:
    """Every stream of an MP4, none of its packets decoded."""
    said, failed, text = _run("-copyts", "-i", media, "-map", "0", "-c", "copy")
    assert not failed, said
    heads, rows = _table(text)
    tracks = []
    for stream in sorted(rows):
        base = Fraction(heads["tb", stream])
        spans = [(pts * base, duration * base) for pts, duration, _ in rows[stream]]
        tracks.append(
            Track(
                kind=heads["media_type", stream],
                codec=heads["codec_id", stream],
                packets=len(spans),
                start_s=float(min(pts for pts, _ in spans)),
                end_s=float(max(pts + duration for pts, duration in spans)),
                sum_s=float(sum(duration for _, duration in spans)),
            )
        )
    return tracks


def decode(media: Path, *, has_pictures: bool) -> Decoded:
    """Decode all streams; pictures keep the sizes that they have, none is dropped or doubled."""
    pictures = ("-vf", "showinfo", "-noautoscale", "-fps_mode", "passthrough")
    said, _, text = _run("-i", media, "-map", "0", *(pictures if has_pictures else ()))
    heads, rows = _table(text)
    video = [s for s in sorted(rows) if heads["media_type", s] == "video"][:1]
    digests = [digest for s in video for _, _, digest in rows[s]]
    shown = re.findall(r"Parsed_showinfo.* s:(\d+)x(\d+) ", said)
    return Decoded(
        frames=len(digests),
        digest=hashlib.sha256("".join(f"{d}\n" for d in digests).encode()).hexdigest(),
        sizes=tuple(dict.fromkeys((int(w), int(h)) for w, h in shown)),
        complaints=_complaints(said),
    )


def count_source_complaints(playlist: Path) -> int:
    """Error lines of FFmpeg over the source itself, of which it may open files only."""
    said, _, _ = _run(*_ONLY_FILES, *_FROM_THE_START, "-i", playlist, "-map", "0")
    return len(_complaints(said))


def _run(*arguments: str | Path) -> tuple[str, bool, str]:
    done = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-v", "repeat+level+info"]
        + [str(argument) for argument in arguments]
        + ["-f", "framehash", "-hash", "md5", "-"],
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    said = done.stderr.decode(errors="replace")
    return said, done.returncode != 0, done.stdout.decode()


def _table(text: str) -> tuple[dict[tuple[str, int], str], dict[int, list[tuple[int, int, str]]]]:
    """``(head lines by name and stream, (pts, duration, digest) by stream)`` of ``framehash``."""
    heads: dict[tuple[str, int], str] = {}
    rows: dict[int, list[tuple[int, int, str]]] = {}
    for line in text.splitlines():
        if head := re.fullmatch(r"#(\w+) (\d+): (.*)", line):
            heads[head[1], int(head[2])] = head[3]
        elif not line.startswith("#"):
            stream, _, pts, duration, _, digest = (cell.strip() for cell in line.split(",")[:6])
            rows.setdefault(int(stream), []).append((int(pts), int(duration), digest))
    return heads, rows


def _complaints(said: str) -> tuple[str, ...]:
    lines: Iterable[str] = said.splitlines()
    return tuple(line for line in lines if re.search(r"\[(error|fatal|panic)\]", line))
