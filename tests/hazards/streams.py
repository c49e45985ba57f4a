"""Streams of numbered pictures and ticks in forms that ``tests.media.make_hls`` does not make."""

from collections.abc import Sequence
from pathlib import Path

from tests import media
from tests.media import HEIGHT, WIDTH, Form

X264 = (
    *("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-crf", "18", "-sc_threshold", "0"),
    *("-g", "25", "-keyint_min", "25", "-threads", "1", "-pix_fmt", "yuv420p"),
)
AAC = ("-c:a", "aac", "-b:a", "64k")
TS = ("-f", "mpegts")
FMP4 = (
    *("-f", "mp4", "-movflags", "frag_keyframe+empty_moov+default_base_moof+delay_moov"),
    *("-use_editlist", "0"),
)
SMALL = Form(seconds=4)
SMALL_FMP4 = Form(seconds=4, container="fmp4")


def encode(
    target: Path,
    form: Form = SMALL,
    *,
    video: Sequence[str] = X264,
    audio: Sequence[str] = AAC,
    output: Sequence[str] = TS,
    rate: str = "25",
) -> Path:
    """One file of ``form``'s pictures and ticks; ``video``/``audio`` empty: without. ``rate``: of
    the pictures."""
    target.parent.mkdir(parents=True, exist_ok=True)
    raw_video, raw_audio = target.with_suffix(".gray"), target.with_suffix(".s16")
    inputs: list[str | Path] = []
    if video:
        raw_video.write_bytes(media._pictures(form).tobytes())
        inputs += ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{WIDTH}x{HEIGHT}"]
        inputs += ["-r", rate, "-i", raw_video]
    if audio:
        raw_audio.write_bytes(media._sound(form).tobytes())
        inputs += ["-f", "s16le", "-ar", str(form.audio_rate), "-ac", "1", "-i", raw_audio]
    media.ffmpeg(*inputs, *video, *audio, *output, target)
    for left in (raw_video, raw_audio):
        left.unlink(missing_ok=True)
    return target


def segmented(folder: Path, suffix: str = "ts", segment_s: float = 2.0) -> tuple[list[str], Path]:
    """Output options that cut into files, and the playlist that FFmpeg writes for them."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = "mpegts" if suffix == "ts" else "fmp4"
    options = ["-f", "hls", "-hls_time", str(segment_s), "-hls_list_size", "0"]
    options += ["-hls_playlist_type", "vod", "-hls_segment_type", kind]
    options += ["-hls_segment_filename", str(folder / f"seg_%05d.{suffix}")]
    return options, folder / "stream.m3u8"


def encode_hls(
    folder: Path,
    form: Form = SMALL,
    *,
    suffix: str = "ts",
    segment_s: float = 2.0,
    video: Sequence[str] = X264,
    audio: Sequence[str] = AAC,
    output: Sequence[str] = (),
    rate: str = "25",
) -> Path:
    options, playlist = segmented(folder, suffix, segment_s)
    encode(playlist, form, video=video, audio=audio, output=[*output, *options], rate=rate)
    return playlist


def with_late_sound(folder: Path, whole: Path, late_s: float, suffix: str = "ts") -> Path:
    """The file ``whole`` as HLS, its sound (before zero: its pictures) moved to later."""
    options, playlist = segmented(folder, suffix)
    first = ["-itsoffset", str(max(0.0, -late_s)), "-i", whole]
    second = ["-itsoffset", str(max(0.0, late_s)), "-i", whole]
    media.ffmpeg(*first, *second, "-map", "0:v", "-map", "1:a", "-c", "copy", *options, playlist)
    return playlist


def listing(folder: Path, segments: Sequence[tuple[str, float]], *head: str) -> Path:
    """A playlist over files that are there already: their names and durations."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:10", *head]
    for name, seconds in segments:
        lines += [f"#EXTINF:{seconds:.6f},", name]
    playlist = folder / "stream.m3u8"
    playlist.write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    return playlist
