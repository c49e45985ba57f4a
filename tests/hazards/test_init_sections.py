"""EXT-X-MAP: a new one, the same again, none, one that is not there (row 5).

Where an init changes, FFmpeg's own HLS reader keeps the first one: that is left to browsers.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.model import Status
from tests import bending
from tests.hazards.seen import assert_recorded
from tests.hazards.streams import FMP4, SMALL_FMP4, X264, encode, encode_hls, listing
from tests.local_pool import record
from tests.media import FPS
from tests.media_fixtures import Clips, copy_clip

LATER = SMALL_FMP4.seconds * FPS
MAP = '#EXT-X-MAP:URI="init.mp4"'

pytestmark = pytest.mark.usefixtures("small_chunks")


def later(folder: Path, *, timescale: str = "") -> Path:
    """The rest of the stream, as an encoder with other settings makes it; it goes on in time."""
    video = [*X264, "-profile:v", "high", "-x264-params", "cabac=1:ref=3"]
    output = ["-output_ts_offset", str(SMALL_FMP4.seconds)]
    output += ["-video_track_timescale", timescale] if timescale else []
    form = replace(SMALL_FMP4, first_frame=LATER)
    return encode_hls(folder, form, suffix="m4s", video=video, output=output)


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unmarked"])
async def test_a_new_init_in_the_middle(marked: bool, clips: Clips, tmp_path: Path) -> None:
    parts = [clips(SMALL_FMP4), later(tmp_path / "later")]
    playlist = bending.join(parts, tmp_path / "in", marked=marked)
    result = await record(playlist, tmp_path / "out")
    assert_recorded(result, range(2 * LATER), by_hls=False)
    assert result.playlist.read_text().count("#EXT-X-DISCONTINUITY") == 1


async def test_back_and_forth_between_two_inits(clips: Clips, tmp_path: Path) -> None:
    """An ad break: the first encoder's init is announced again behind it."""
    parts = [clips(SMALL_FMP4), later(tmp_path / "ad")]
    parts.append(clips(replace(SMALL_FMP4, first_frame=2 * LATER)))
    playlist = bending.join(parts, tmp_path / "in", marked=True)
    result = await record(playlist, tmp_path / "out")
    assert_recorded(result, range(3 * LATER), by_hls=False)
    assert result.playlist.read_text().count("#EXT-X-DISCONTINUITY") == 2


async def test_the_same_init_announced_again(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(SMALL_FMP4), tmp_path / "in")
    shutil.copy(playlist.parent / "init.mp4", playlist.parent / "copy.mp4")
    bending.edit(playlist, 1, '#EXT-X-MAP:URI="copy.mp4"')
    result = await record(playlist, tmp_path / "out")
    assert_recorded(result, range(LATER))
    assert "#EXT-X-DISCONTINUITY" not in result.playlist.read_text()


async def test_an_init_as_a_byte_range_behind_something_else(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(SMALL_FMP4), tmp_path / "in")
    init = (playlist.parent / "init.mp4").read_bytes()
    (playlist.parent / "init.mp4").write_bytes(bytes(100) + init + bytes(100))
    ranged = f'{MAP},BYTERANGE="{len(init)}@100"'
    playlist.write_text(playlist.read_text().replace(MAP, ranged))
    assert_recorded(await record(playlist, tmp_path / "out"), range(LATER))


async def test_no_map_where_each_segment_brings_its_own_init(clips: Clips, tmp_path: Path) -> None:
    """What some packagers write: ``ftyp moov moof mdat`` in every file, and no EXT-X-MAP."""
    playlist = copy_clip(clips(SMALL_FMP4), tmp_path / "in")
    init = (playlist.parent / "init.mp4").read_bytes()
    for path in bending.paths(playlist):
        path.write_bytes(init + path.read_bytes())
    bending.write(playlist, [bending.without_map(e) for e in bending.entries(playlist)])
    assert_recorded(await record(playlist, tmp_path / "out"), range(LATER))


async def test_no_map_where_only_the_first_segment_brings_the_init(tmp_path: Path) -> None:
    """What is left of a stream whose playlist lost its EXT-X-MAP: nothing else can be meant."""
    whole = encode(tmp_path / "whole.mp4", output=FMP4).read_bytes()
    cuts = [start for kind, start, _ in bending.boxes(whole) if kind == b"moof"]
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "0.m4s").write_bytes(whole[: cuts[2]])
    (folder / "1.m4s").write_bytes(whole[cuts[2] :])
    playlist = listing(folder, [("0.m4s", 2.0), ("1.m4s", 2.0)])
    assert_recorded(await record(playlist, tmp_path / "out"), range(LATER), has_sound=True)


@pytest.mark.parametrize("there", ["absent", "empty", "another", "html"])
async def test_an_init_that_cannot_be_used_is_named(
    there: str, clips: Clips, tmp_path: Path
) -> None:
    playlist = copy_clip(clips(SMALL_FMP4), tmp_path / "in")
    init = playlist.parent / "init.mp4"
    if there == "absent":
        init.unlink()
    else:
        bad = {"empty": b"", "another": init.read_bytes()[:200], "html": b"<html>not found</html>"}
        init.write_bytes(bad[there])
    result = await record(playlist, tmp_path / "out")
    assert result.recording.status is Status.FAILED
    assert "init" in str(result.recording.error)
    assert [path for path in result.folder.rglob("*") if path.is_file()] == []


async def test_a_later_init_that_is_not_there_costs_its_part(clips: Clips, tmp_path: Path) -> None:
    playlist = with_an_ad(tmp_path, clips)
    (playlist.parent / "part1" / "init.mp4").unlink()
    await check_ad_is_lost(playlist, tmp_path)


async def test_another_timescale_in_the_new_init(clips: Clips, tmp_path: Path) -> None:
    parts = [clips(SMALL_FMP4), later(tmp_path / "later", timescale="30000")]
    playlist = bending.join(parts, tmp_path / "in", marked=True)
    assert_recorded(await record(playlist, tmp_path / "out"), range(2 * LATER), by_hls=False)


def with_an_ad(folder: Path, clips: Clips) -> Path:
    parts = [clips(SMALL_FMP4), later(folder / "ad")]
    parts.append(clips(replace(SMALL_FMP4, first_frame=2 * LATER, offset_s=8.0)))
    return bending.join(parts, folder / "in", marked=True)


async def check_ad_is_lost(playlist: Path, folder: Path) -> None:
    result = await record(playlist, folder / "out")
    numbers = [*range(LATER), *range(2 * LATER, 3 * LATER)]
    assert_recorded(result, numbers, gaps=[(4.0, 4.0)], lost=[2, 3])
    assert "init" in result.recording.gaps[0].reason
