"""Chromium plays and seeks what we make: as a plain file, and by byte ranges through hls.js."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Page

import serve_app
from tests.local_pool import record
from tests.media import FPS, Form, frame_times, make_hls
from tests.media_fixtures import shrink
from tests.range_server import served

pytestmark = pytest.mark.timeout(180)

HLS_JS = Path(serve_app.__file__).parent / "page/vendor/hls.js/hls.min.js"
SECONDS = 20
FORMS = {
    "ts": Form(seconds=SECONDS),
    "fmp4": Form(seconds=SECONDS, container="fmp4", gop_s=2.0),
    "gap": Form(seconds=SECONDS, first_frame=1000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vod:
    """A recording served over HTTP. ``times``: number on the picture -> seconds in the MP4.

    ``slack_s``: by how much hls.js may be off. It begins at 0, also where sound begins a moment
    before the pictures, and joins behind a gap by decode times, which are before the pictures'.
    """

    url: str
    name: str
    duration_s: float
    times: dict[int, float]
    slack_s: float


Opener = Callable[[Page, Vod], Awaitable[float]]
_TRIES = 3


@pytest.fixture(scope="module", params=FORMS)
def vod(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vod]:
    folder = tmp_path_factory.mktemp("vod")
    playlist = make_hls(folder / "stream", FORMS[request.param])
    if request.param == "gap":
        (folder / "stream/seg_00004.ts").unlink()
    with pytest.MonkeyPatch.context() as patch:
        # Several chunks, some of them joined and padded.
        shrink(patch, part_bytes=30_000, chunk_bytes=40_000)
        result = asyncio.run(record(playlist, folder / "out"))
    assert result.recording.status == "completed", result.recording.error
    assert len(result.recording.gaps) == (request.param == "gap")
    assert len(result.report["chunks"]) > 2
    shutil.copy(Path(__file__).parent / "player.html", result.folder)
    with served(result.folder) as url:
        yield Vod(
            url=url,
            name=str(result.recording.object_name),
            duration_s=result.report["duration_s"],
            times=frame_times(result.mp4),
            slack_s=0.2 if request.param == "gap" else 0.1,
        )


async def open_file(page: Page, vod: Vod) -> float:
    """Returns the duration in seconds."""
    return float(await page.evaluate("url => openFile(url)", f"{vod.url}/{vod.name}.mp4"))


async def open_hls(page: Page, vod: Vod) -> float:
    await page.add_script_tag(path=HLS_JS)
    assert await page.evaluate("Hls.isSupported()")
    return float(await page.evaluate("url => openHls(url)", f"{vod.url}/{vod.name}/master.m3u8"))


async def without_a_stall(page: Page, play: Callable[[], Awaitable[None]]) -> None:
    """``play`` opens the player and uses it. What stalls is played anew: a busy machine stalls now
    and then, what cannot be decoded each time."""
    stalls = []
    for _ in range(_TRIES):
        await play()
        assert await page.evaluate("problems") == []
        if not (found := await page.evaluate("stalls")):
            return
        stalls.append(found)
    pytest.fail(f"It stalls each time: {stalls}")


@pytest.mark.parametrize("open_in", [open_file, open_hls], ids=["file", "hls.js"])
async def test_it_plays_and_seeks(open_in: Opener, vod: Vod, page: Page) -> None:
    await without_a_stall(page, lambda: _plays_and_seeks(open_in, vod, page))


async def _plays_and_seeks(open_in: Opener, vod: Vod, page: Page) -> None:
    await page.goto(f"{vod.url}/player.html")
    slack_s = vod.slack_s if open_in is open_hls else 0.01
    assert await open_in(page, vod) == pytest.approx(vod.duration_s, abs=slack_s)
    assert await page.evaluate("playUntil(1.5)") > FPS
    first, last = min(vod.times), max(vod.times)
    for number in (last - 3, first + 100, first + 262, first + 1, last - FPS, first):
        asked = [vod.times[number] + 0.5 / FPS, number]
        shown = await page.evaluate("asked => numberAt(...asked)", asked)
        assert abs(shown - number) <= slack_s * FPS
    await page.evaluate("at => numberAt(at)", vod.duration_s - 2)
    assert await page.evaluate("playToEnd()") == pytest.approx(vod.duration_s, abs=slack_s)
