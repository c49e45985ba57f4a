"""Chromium changes between the renditions of a ladder through hls.js: no stall, no gap."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.browser.test_playback import HLS_JS, Vod, without_a_stall
from tests.local_pool import record
from tests.media import FPS, Form, frame_times, make_hls
from tests.media_fixtures import shrink
from tests.outputs.own_profiles import with_profiles
from tests.range_server import served

pytestmark = pytest.mark.timeout(180)

SECONDS = 44
WIDTHS = {"source": 128, "half": 96, "third": 64}
# By bandwidth, as hls.js sorts them.
LEVELS = sorted(WIDTHS.values())


@pytest.fixture(scope="module", params=["ts", "fmp4"])
def vod(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vod]:
    folder = tmp_path_factory.mktemp("vod")
    container = {"ts": "mpegts", "fmp4": "fmp4"}[request.param]
    playlist = make_hls(folder / "stream", Form(seconds=SECONDS, container=container, gop_s=2.0))
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, part_bytes=30_000, chunk_bytes=40_000)
        out = folder / "out"
        settings = with_profiles(out)
        result = asyncio.run(record(playlist, out, profile="ladder", settings=settings))
    assert result.recording.status == "completed", result.recording.error
    assert [rendition.width for rendition in result.recording.renditions] == [128, 96, 64]
    shutil.copy(Path(__file__).parent / "player.html", result.folder)
    with served(result.folder) as url:
        yield Vod(
            url=url,
            name=str(result.recording.object_name),
            duration_s=result.report["duration_s"],
            times=frame_times(result.mp4),
            slack_s=0.1,
        )


async def test_levels_are_changed_without_a_gap(vod: Vod, page: Page) -> None:
    await without_a_stall(page, lambda: _changes_levels(vod, page))


async def _changes_levels(vod: Vod, page: Page) -> None:
    await page.goto(f"{vod.url}/player.html")
    await page.add_script_tag(path=HLS_JS)
    config = {"startLevel": 0, "maxBufferLength": 6, "maxMaxBufferLength": 6}
    master = f"{vod.url}/{vod.name}/master.m3u8"
    duration = await page.evaluate("asked => openHls(...asked)", [master, config])
    assert duration == pytest.approx(vod.duration_s, abs=vod.slack_s)
    assert await page.evaluate("hls.levels.map(level => level.width)") == LEVELS
    for level in (2, 0, 1):
        seen = await page.evaluate("asked => playOnLevel(...asked)", [level, LEVELS[level]])
        assert seen["width"] == LEVELS[level]
        assert len(seen["ranges"]) == 1, seen
    # Each level shows the same pictures at the same times.
    number = 42 * FPS
    shown = await page.evaluate("asked => numberAt(...asked)", [vod.times[number] + 0.02, number])
    assert abs(shown - number) <= vod.slack_s * FPS
    assert await page.evaluate("playToEnd()") == pytest.approx(vod.duration_s, abs=vod.slack_s)
