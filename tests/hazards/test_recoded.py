"""What MP4 or browsers do not take is re-encoded, only that stream, all of it (row 19)."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.hazards.seen import assert_even, assert_recorded, sound_packets
from tests.hazards.streams import AAC, SMALL, X264, encode_hls
from tests.hazards.test_codecs import codecs
from tests.local_pool import record
from tests.media import FPS, ffmpeg, remux_with_ffmpeg

FORM = replace(SMALL, seconds=6)
FRAMES = FORM.seconds * FPS
MPEG2 = ["-c:v", "mpeg2video", "-q:v", "2", "-g", "12", "-bf", "2", "-pix_fmt", "yuv420p"]
DTS = ["-c:a", "dca", "-strict", "-2", "-b:a", "320k", "-ar", "48000", "-ac", "2"]
MP2 = ["-c:a", "mp2", "-b:a", "64k"]
CASES = {
    "mpeg2-mp2": (MPEG2, MP2, ["h264", "aac"]),
    "mpeg2-aac": (MPEG2, AAC, ["h264", "aac"]),
    "h264-mp2": (X264, MP2, ["h264", "aac"]),
    "h264-dts": (X264, DTS, ["h264", "aac"]),
}

pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.mark.parametrize(("video", "audio", "made"), CASES.values(), ids=CASES.keys())
async def test_re_encoded(
    video: Sequence[str], audio: Sequence[str], made: list[str], tmp_path: Path
) -> None:
    """The same pictures at the same times; what needs no re-encoding is the same bytes."""
    playlist = encode_hls(tmp_path / "in", FORM, video=video, audio=audio)
    result = await record(playlist, tmp_path / "out")
    seen = assert_recorded(result, range(FRAMES), tolerance_s=0.025)
    assert_even(seen)
    assert codecs(result.mp4) == made
    if audio is AAC:
        reference = remux_with_ffmpeg(playlist, tmp_path / "reference.mkv")
        assert sound_packets(result.mp4) == sound_packets(reference)


@pytest.mark.parametrize("order", ["t", "b"])
async def test_fields_stay_fields(order: str, tmp_path: Path) -> None:
    """Interlaced pictures keep their two fields, in their order: FFmpeg's judgement."""
    fields = ["-vf", f"setfield={order}ff", "-flags", "+ildct+ilme"]
    playlist = encode_hls(tmp_path / "in", FORM, video=[*MPEG2, *fields], audio=AAC)
    result = await record(playlist, tmp_path / "out")
    assert codecs(result.mp4) == ["h264", "aac"]
    _, said = ffmpeg(
        "-nostats", "-loglevel", "info", "-i", result.mp4, "-vf", "showinfo", "-f", "null", "-"
    )
    # Without the name that FFmpeg puts before a line: another thread may say something in between.
    assert re.findall(r" i:(\w) iskey:", said) == [order.upper()] * FRAMES
