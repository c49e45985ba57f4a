"""Test streams that FFmpeg makes, and what can be read back from a file.

Every picture carries its number as a bar code of 16 blocks, the sound ticks once per second: so a
test sees whether a frame is lost, doubled or late, and whether sound is in step.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

WIDTH, HEIGHT, BITS = 128, 72, 16
FPS = 25
TICK_S = 0.02
_TIMEOUT_S = 60

_CODEC_OPTIONS = {
    "libx264": ["-preset", "veryfast", "-sc_threshold", "0"],
    "libx265": [
        *("-preset", "veryfast", "-tag:v", "hvc1"),
        *("-x265-params", "log-level=none:scenecut=0"),
    ],
    "libsvtav1": ["-preset", "12", "-svtav1-params", "scd=0"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a test stream is encoded. ``audio_rate``/``fps`` 0: without sound / pictures.

    ``gop_s`` is the keyframe distance, ``first_frame`` the number on the first picture; ``noise``
    makes twelve of 24 seconds large.
    """

    container: str = "mpegts"
    seconds: int = 12
    segment_s: float = 2.0
    gop_s: float = 1.0
    fps: int = FPS
    b_frames: int = 2
    audio_rate: int = 48_000
    first_frame: int = 0
    offset_s: float = 0.0
    single_file: bool = False
    video_codec: str = "libx264"
    audio_codec: str = "aac"
    noise: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One packet as FFmpeg's framemd5 shows it; times in seconds."""

    stream: int
    dts: Fraction
    pts: Fraction
    size: int
    digest: str


def ffmpeg(*arguments: str | Path, stdin: bytes | None = None) -> tuple[bytes, str]:
    """Run FFmpeg at ``-v warning``; ``(stdout, what it had to say)``. Fails if it fails."""
    done = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-v", "warning", "-y"]
        + [str(argument) for argument in arguments],
        input=stdin,
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 0, said
    return done.stdout, said


# --- making ----------------------------------------------------------------------------------


def make_hls(folder: Path, form: Form) -> Path:
    """An ended HLS stream of numbered pictures and ticks; returns its playlist."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs: list[str | Path] = []
    codecs: list[str | Path] = []
    if form.fps:
        pictures = folder / "pictures.gray"
        pictures.write_bytes(_pictures(form).tobytes())
        inputs += ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{WIDTH}x{HEIGHT}"]
        inputs += ["-r", str(form.fps), "-i", pictures]
        gop = str(round(form.gop_s * form.fps))
        codecs += ["-c:v", form.video_codec, "-crf", "18"]
        codecs += ["-g", gop, "-keyint_min", gop, "-bf", str(form.b_frames), "-threads", "1"]
        codecs += ["-pix_fmt", "yuv420p", *_CODEC_OPTIONS[form.video_codec]]
    if form.audio_rate:
        sound = folder / "sound.s16"
        sound.write_bytes(_sound(form).tobytes())
        inputs += ["-f", "s16le", "-ar", str(form.audio_rate), "-ac", "1", "-i", sound]
        codecs += ["-c:a", form.audio_codec, "-b:a", "64k"]
    playlist = folder / "stream.m3u8"
    ffmpeg(*inputs, *codecs, *_hls_options(form, folder), playlist)
    for left in (folder / "pictures.gray", folder / "sound.s16"):
        left.unlink(missing_ok=True)
    return playlist


def _hls_options(form: Form, folder: Path) -> list[str | Path]:
    suffix = "ts" if form.container == "mpegts" else "m4s"
    options: list[str | Path] = ["-output_ts_offset", str(form.offset_s), "-f", "hls"]
    options += ["-hls_time", str(form.segment_s), "-hls_list_size", "0"]
    options += ["-hls_playlist_type", "vod", "-hls_segment_type", form.container]
    if form.single_file:
        return [*options, "-hls_flags", "single_file"]
    return [*options, "-hls_segment_filename", folder / f"seg_%05d.{suffix}"]


def _pictures(form: Form) -> np.ndarray:
    """Shape ``(frames, HEIGHT, WIDTH)``: bit ``i`` of the number is the ``i``-th block."""
    numbers = form.first_frame + np.arange(round(form.seconds * form.fps))
    blocks = (numbers[:, None] >> np.arange(BITS)) & 1
    rows = np.repeat(np.where(blocks, 220, 30), WIDTH // BITS, axis=1).astype(np.uint8)
    pictures = np.repeat(rows[:, None, :], HEIGHT, axis=1)
    if form.noise:
        random = np.random.default_rng(1)
        busy = numbers // form.fps % 24 < 12
        shape = (int(busy.sum()), HEIGHT - HEIGHT // 2, WIDTH)
        pictures[busy, HEIGHT // 2 :] = random.integers(0, 255, shape, np.uint8)
    return pictures


def _sound(form: Form) -> np.ndarray:
    """Shape ``(samples,)``: 1 kHz for ``TICK_S`` at each whole second, else a soft noise that keeps
    packets as large as those of real sound."""
    at = np.arange(form.seconds * form.audio_rate)
    wave = np.sin(2 * np.pi * 1000 * at / form.audio_rate) * 20_000
    noise = np.random.default_rng(1).normal(0, 300, len(at))
    return np.where(at % form.audio_rate < TICK_S * form.audio_rate, wave, noise).astype(np.int16)


# --- reading back ------------------------------------------------------------------------------


def decode_complaints(path: Path | str) -> str:
    """What FFmpeg says while it decodes everything: nothing if all is well."""
    return ffmpeg("-i", path, "-map", "0", "-f", "null", "-")[1]


def frame_numbers(path: Path | str) -> list[int]:
    """The numbers on the pictures, as FFmpeg decodes and orders them, none dropped or doubled."""
    gray, _ = ffmpeg(
        *("-i", path, "-map", "0:v:0", "-fps_mode", "passthrough"),
        *("-f", "rawvideo", "-pix_fmt", "gray", "-"),
    )
    return read_numbers(np.frombuffer(gray, np.uint8).reshape(-1, HEIGHT, WIDTH))


def read_numbers(pictures: np.ndarray) -> list[int]:
    """``pictures``: shape ``(n, HEIGHT, WIDTH)``."""
    top = pictures[:, 4 : HEIGHT // 2 - 4].astype(np.float32)
    blocks = top.reshape(len(pictures), -1, BITS, WIDTH // BITS).mean(axis=(1, 3))
    return [int(n) for n in ((blocks > 125) << np.arange(BITS)).sum(axis=1)]


def frame_times(path: Path | str) -> dict[int, float]:
    """Number on the picture -> when it is shown, in seconds of the file's own timeline."""
    times, pictures = [], []
    with av.open(str(path)) as source:
        for frame in source.decode(video=0):
            luma = np.frombuffer(frame.planes[0], np.uint8)
            pictures.append(luma.reshape(frame.height, -1)[:, : frame.width])
            times.append(frame.time)
    return dict(zip(read_numbers(np.stack(pictures)), times, strict=True))


def tick_times(path: Path | str) -> list[float]:
    """When each tick begins to sound, in seconds of the file's own timeline."""
    pieces, times = [], []
    with av.open(str(path)) as source:
        for frame in source.decode(audio=0):
            samples = np.abs(frame.to_ndarray()[0].astype(np.float32))
            assert frame.time is not None
            pieces.append(samples)
            times.append(frame.time + np.arange(len(samples)) / frame.sample_rate)
    loud = np.concatenate(times)[np.concatenate(pieces) > 0.35]
    first = np.flatnonzero(np.diff(loud, prepend=-1.0) > 0.5)
    return [float(t) for t in loud[first]]


def packets(path: Path | str, *options: str) -> list[Packet]:
    """All packets as FFmpeg's own demuxer reads them, with a digest of each one's bytes."""
    text, _ = ffmpeg(*options, "-i", path, "-map", "0", "-c", "copy", "-f", "framemd5", "-")
    base: dict[int, Fraction] = {}
    found = []
    for line in text.decode().splitlines():
        if line.startswith("#tb "):
            stream, _, rate = line.removeprefix("#tb ").partition(": ")
            base[int(stream)] = Fraction(rate)
        elif not line.startswith("#"):
            # Side data may follow in further columns.
            stream, dts, pts, _, size, digest = (cell.strip() for cell in line.split(",")[:6])
            unit = base[int(stream)]
            found.append(
                Packet(
                    stream=int(stream),
                    dts=int(dts) * unit,
                    pts=int(pts) * unit,
                    size=int(size),
                    digest=digest,
                )
            )
    return found


def remux_with_ffmpeg(playlist: Path, target: Path, *options: str) -> Path:
    """What FFmpeg itself makes of the stream: the reference."""
    ffmpeg("-i", playlist, "-map", "0", "-c", "copy", *options, target)
    return target


def assert_same_packets(
    ours: Path, reference: Path, *, tolerance_s: float = 0.0, options: Sequence[str] = ()
) -> None:
    """Packet for packet the same bytes, in the same order per stream, at the same times up to one
    constant offset for all streams."""
    found, wanted = packets(ours, *options), packets(reference)
    offset: Fraction | None = None
    for stream in sorted({p.stream for p in wanted} | {p.stream for p in found}):
        mine = [p for p in found if p.stream == stream]
        theirs = [p for p in wanted if p.stream == stream]
        assert [p.digest for p in mine] == [p.digest for p in theirs], f"stream {stream}"
        if offset is None:
            offset = mine[0].pts - theirs[0].pts
        for number, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            for what in ("pts", "dts"):
                off = getattr(a, what) - getattr(b, what) - offset
                assert abs(off) <= tolerance_s, (stream, number, what, float(off))


@cache
def has_encoder(name: str) -> bool:
    return f" {name} " in ffmpeg("-encoders")[0].decode()


# --- bending ----------------------------------------------------------------------------------


def straddle(playlist: Path, audio_pid: int = 257, moved: int = 2) -> None:
    """Let the last sound of each MPEG-TS segment end in the next one, as segmenters do that cut
    where a picture begins: its last ``moved`` TS packets go behind the next segment's first ones.
    """
    paths = [playlist.parent / line for line in playlist.read_text().splitlines() if line[0] != "#"]
    carried: list[bytes] = []
    for number, path in enumerate(paths):
        data = path.read_bytes()
        packets = [data[at : at + 188] for at in range(0, len(data), 188)]
        packets[4:4] = carried
        carried = []
        while number + 1 < len(paths) and len(carried) < moved:
            at = max(i for i, p in enumerate(packets) if _pid(p) == audio_pid)
            assert not packets[at][1] & 0x40, "a PES packet would go over as a whole"
            carried.insert(0, packets.pop(at))
        path.write_bytes(b"".join(packets))


def _pid(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]
