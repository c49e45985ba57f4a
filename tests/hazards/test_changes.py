"""Resolution, parameter sets or codec change in the middle (row 15): one file that plays."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests import bending
from tests.bending import VIDEO_PID
from tests.hazards.seen import assert_recorded
from tests.hazards.streams import AAC, SMALL, X264, encode_hls
from tests.local_pool import record
from tests.media import FPS
from tests.media_fixtures import copy_clip

FRAMES = SMALL.seconds * FPS
KINDS = {
    "resolution": ["-vf", "scale=256:144", *X264],
    "portrait": ["-vf", "scale=96:160", *X264],
    "profile": [*X264, "-profile:v", "high", "-x264-params", "cabac=1:ref=3:8x8dct=1"],
    "full-range": [*X264, "-color_range", "pc"],
}

pytestmark = pytest.mark.usefixtures("small_chunks")


def part(
    folder: Path,
    number: int,
    *,
    suffix: str = "ts",
    video: Sequence[str] = X264,
    audio: Sequence[str] = AAC,
) -> Path:
    """The ``number``-th four seconds of one broadcast, encoded in their own way."""
    form = replace(SMALL, first_frame=number * FRAMES)
    output = ["-output_ts_offset", str(number * SMALL.seconds)]
    return encode_hls(folder, form, suffix=suffix, video=video, audio=audio, output=output)


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unmarked"])
@pytest.mark.parametrize("suffix", ["ts", "m4s"])
@pytest.mark.parametrize("kind", ["resolution", "portrait", "profile", "full-range"])
async def test_pictures_change(kind: str, suffix: str, marked: bool, tmp_path: Path) -> None:
    parts = [
        part(tmp_path / "a", 0, suffix=suffix),
        part(tmp_path / "b", 1, suffix=suffix, video=KINDS[kind]),
    ]
    playlist = bending.join(parts, tmp_path / "in", marked=marked)
    result = await record(playlist, tmp_path / "out")
    assert_recorded(result, range(2 * FRAMES), by_hls=False)
    assert len(list(result.folder.rglob("*.mp4"))) <= 3


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unmarked"])
async def test_an_ad_break_of_another_size(marked: bool, tmp_path: Path) -> None:
    parts = [
        part(tmp_path / "a", 0),
        part(tmp_path / "ad", 1, video=KINDS["resolution"]),
        part(tmp_path / "c", 2),
    ]
    playlist = bending.join(parts, tmp_path / "in", marked=marked)
    result = await record(playlist, tmp_path / "out")
    assert_recorded(result, range(3 * FRAMES), by_hls=False)


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unmarked"])
@pytest.mark.parametrize(
    "audio",
    [
        ["-ar", "44100", *AAC],
        ["-ac", "2", *AAC],
    ],
    ids=["rate", "stereo"],
)
async def test_sound_changes(audio: list[str], marked: bool, tmp_path: Path) -> None:
    parts = [part(tmp_path / "a", 0), part(tmp_path / "b", 1, audio=audio)]
    playlist = bending.join(parts, tmp_path / "in", marked=marked)
    result = await record(playlist, tmp_path / "out")
    assert_recorded(result, range(2 * FRAMES), by_hls=False, tolerance_s=0.035)


async def test_parameter_sets_that_flap(tmp_path: Path) -> None:
    """Every second segment has other SPS bytes for the same pictures (two encoders in turn): one
    file, one discontinuity at most for each change."""
    one = encode_hls(tmp_path / "one", replace(SMALL, seconds=8))
    other = encode_hls(tmp_path / "other", replace(SMALL, seconds=8), video=KINDS["profile"])
    playlist = copy_clip(one, tmp_path / "in")
    for number in (1, 3):
        data = bending.paths(other)[number].read_bytes()
        bending.paths(playlist)[number].write_bytes(data)
    result = await record(playlist, tmp_path / "out")
    assert_recorded(result, range(8 * FPS), by_hls=False)


async def test_parameter_sets_in_the_first_segment_only(tmp_path: Path) -> None:
    playlist = encode_hls(tmp_path / "in", replace(SMALL, seconds=6))
    strip = bending.without_h264(7, 8)
    for path in bending.paths(playlist)[1:]:
        path.write_bytes(bending.change_units(path.read_bytes(), VIDEO_PID, strip))
    assert_recorded(await record(playlist, tmp_path / "out"), range(6 * FPS))


@pytest.mark.parametrize("suffix", ["ts", "m4s"])
async def test_sound_comes_and_goes_with_the_part(suffix: str, tmp_path: Path) -> None:
    """An ad without sound."""
    parts = [
        part(tmp_path / "a", 0, suffix=suffix),
        part(tmp_path / "ad", 1, suffix=suffix, audio=()),
        part(tmp_path / "c", 2, suffix=suffix),
    ]
    playlist = bending.join(parts, tmp_path / "in", marked=True)
    result = await record(playlist, tmp_path / "out")
    silent = range(FRAMES, 2 * FRAMES)
    assert_recorded(result, range(3 * FRAMES), by_hls=False, silent=silent, tolerance_s=0.03)
