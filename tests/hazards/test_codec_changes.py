"""Another codec in the middle is re-encoded to what the stream began with (row 15)."""

from pathlib import Path

import av
import pytest

from tests import bending
from tests.hazards.seen import assert_recorded
from tests.hazards.streams import X264
from tests.hazards.test_changes import FRAMES, part
from tests.local_pool import record

X265 = ["-c:v", "libx265", "-preset", "ultrafast", "-g", "25", "-keyint_min", "25"]
X265 += ["-x265-params", "log-level=none:scenecut=0:pools=1:frame-threads=1", "-threads", "1"]
X265 += ["-pix_fmt", "yuv420p", "-crf", "18"]

pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unmarked"])
@pytest.mark.parametrize("order", ["h264-hevc", "hevc-h264"])
async def test_the_codec_changes(order: str, marked: bool, tmp_path: Path) -> None:
    """The stream begins with what the recording is; the rest is re-encoded to it."""
    codecs = {"h264": X264, "hevc": X265}
    parts = [
        part(tmp_path / str(number), number, video=codecs[name])
        for number, name in enumerate(order.split("-"))
    ]
    playlist = bending.join(parts, tmp_path / "in", marked=marked)
    result = await record(playlist, tmp_path / "out")
    assert_recorded(result, range(2 * FRAMES), by_hls=False)
    with av.open(str(result.mp4)) as made:
        assert made.streams.video[0].codec_context.name == order.partition("-")[0]


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unmarked"])
@pytest.mark.parametrize("codec", ["libmp3lame", "ac3", "mp2"])
async def test_the_codec_of_the_sound_changes(codec: str, marked: bool, tmp_path: Path) -> None:
    parts = [part(tmp_path / "a", 0), part(tmp_path / "b", 1, audio=["-c:a", codec])]
    playlist = bending.join(parts, tmp_path / "in", marked=marked)
    result = await record(playlist, tmp_path / "out")
    assert_recorded(result, range(2 * FRAMES), by_hls=False, tolerance_s=0.035)
    with av.open(str(result.mp4)) as made:
        assert [s.codec_context.name for s in made.streams.audio] == ["aac"]
