"""Codecs: copied where MP4 and browsers take them, else re-encoded, only that stream (row 19)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import pytest

from tests import media
from tests.hazards.seen import assert_recorded
from tests.hazards.streams import AAC, SMALL, X264, encode, encode_hls, listing
from tests.local_pool import record
from tests.media import FPS

FORM = replace(SMALL, seconds=6)
FRAMES = FORM.seconds * FPS

pytestmark = pytest.mark.usefixtures("small_chunks")

COPIED_SOUND = {
    "eac3-ts": ("ts", ["-c:a", "eac3", "-b:a", "96k"], "eac3"),
    "eac3-fmp4": ("m4s", ["-c:a", "eac3", "-b:a", "96k"], "eac3"),
    "ac3-fmp4": ("m4s", ["-c:a", "ac3", "-b:a", "96k"], "ac3"),
    "opus-ts": ("ts", ["-c:a", "libopus", "-b:a", "64k"], "opus"),
    "opus-fmp4": ("m4s", ["-c:a", "libopus", "-b:a", "64k"], "opus"),
    "flac-fmp4": ("m4s", ["-c:a", "flac"], "flac"),
    "mp3-fmp4": ("m4s", ["-c:a", "libmp3lame", "-b:a", "64k"], "mp3"),
    "latm": ("ts", [*AAC, "-mpegts_flags", "+latm"], "aac"),
    "5.1": ("ts", ["-c:a", "aac", "-ac", "6", "-b:a", "128k"], "aac"),
}


@pytest.mark.parametrize(
    ("suffix", "audio", "codec"), COPIED_SOUND.values(), ids=COPIED_SOUND.keys()
)
async def test_sound_that_is_copied(
    suffix: str, audio: Sequence[str], codec: str, tmp_path: Path
) -> None:
    playlist = encode_hls(tmp_path / "in", FORM, suffix=suffix, audio=audio)
    result = await record(playlist, tmp_path / "out")
    late_s = 0.03 if codec in ("opus", "eac3", "ac3", "mp3") else 0.02
    assert_recorded(result, range(FRAMES), by_hls=codec != "opus", tolerance_s=late_s)
    assert codecs(result.mp4) == ["h264", codec]


async def test_vp9_is_copied(tmp_path: Path) -> None:
    video = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25"]
    video += ["-pix_fmt", "yuv420p", "-b:v", "500k", "-threads", "1"]
    playlist = encode_hls(tmp_path / "in", SMALL, suffix="m4s", video=video)
    result = await record(playlist, tmp_path / "out")
    assert_recorded(result, range(SMALL.seconds * FPS))
    assert codecs(result.mp4) == ["vp9", "aac"]


def codecs(path: Path) -> list[str]:
    """Named as in an encoder's list, pictures first."""
    with av.open(str(path)) as made:
        names = [s.codec_context.codec.canonical_name for s in made.streams]
    return [str(name) for name in names]


async def test_hevc_is_tagged_for_apple(tmp_path: Path) -> None:
    playlist = media.make_hls(tmp_path / "in", replace(SMALL, video_codec="libx265"))
    result = await record(playlist, tmp_path / "out")
    assert_recorded(result, range(SMALL.seconds * FPS))
    assert b"hvc1" in result.mp4.read_bytes()[:8_000]
    assert b"hev1" not in result.mp4.read_bytes()[:8_000]
    assert "hvc1." in (result.playlist.parent / "master.m3u8").read_text()


async def test_a_stream_whose_sound_nobody_names(tmp_path: Path) -> None:
    """A private stream type: the pictures are kept, and what was dropped is in the report."""
    folder = tmp_path / "in"
    audio = ["-c:a", "pcm_s16be"]
    whole = encode(folder / "0.ts", SMALL, video=X264, audio=audio)
    assert whole.exists()
    result = await record(listing(folder, [("0.ts", 4.0)]), tmp_path / "out")
    assert_recorded(result, range(SMALL.seconds * FPS), has_sound=False)
    assert any(chunk["dropped_streams"] for chunk in result.report["chunks"])
