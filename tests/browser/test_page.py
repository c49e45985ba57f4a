"""The web page in a real Chromium: a recording of the real service while it is made, and whatever
needs no media over a service in memory."""

import asyncio
import platform
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from pipeline.errors import RecordingNotFound
from pipeline.model import Progress
from pipeline.settings import Settings
from serve_app.access.caller import Scope
from serve_app.access.tokens import mint
from tests.browser.conftest import FLAGS, chromium
from tests.browser.stage import Pictures, Stage, answer_json, begin, planned_chunk, stage
from tests.e2e.conftest import NewBroadcast
from tests.e2e.service import Service
from tests.e2e.world import World
from tests.local_pool import Result, record
from tests.media import Form, ffmpeg, make_hls
from tests.range_server import served
from tests.unit.api_server import STARTED

# All share one browser, and so its loop.
pytestmark = [pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]

AXE = (Path(__file__).parent / "vendor/axe-core/axe.min.js").read_text("utf-8")
WIDE = {"width": 1280, "height": 820}
PHONE = {"width": 360, "height": 740}
NewPage = Callable[..., AbstractAsyncContextManager[Page]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service for which a stream that is shown slowly has not ended."""
    service = Service(tmp_path_factory.mktemp("service"), STALL_TIMEOUT="90s")
    with closing(World(service.start())) as world:
        yield world
    service.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
def new_page(browser: Browser, pictures: Pictures) -> NewPage:
    """Opens pages on which nothing may go wrong: no error in the console (which is where violations
    of the page's policy are told), none that is thrown."""

    @asynccontextmanager
    async def new(*, is_real: bool = False, **options: Any) -> AsyncIterator[Page]:
        context = await browser.new_context(**{"viewport": WIDE, "locale": "en-GB", **options})
        page = await context.new_page()
        page.set_default_timeout(15_000)
        complaints: list[str] = []
        page.on(
            "console",
            lambda m: complaints.append(f"{m.text} {m.location}") if m.type == "error" else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if not is_real:
            await pictures.show(page)
        try:
            yield page
        finally:
            await context.close()
        expected = getattr(page, "expected", None)
        assert [c for c in complaints if not (expected and expected in c)] == []

    return new


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    return Pictures(tmp_path_factory.mktemp("pictures"))


async def go(page: Page, on: Stage | str, hash_: str = "#/") -> None:
    await page.goto(f"{on if isinstance(on, str) else on.url}/{hash_}")
    await expect(page.locator("h1")).to_be_visible()


def squares(page: Page, state: str = "") -> Any:
    return page.locator(".squares .square" + (f"[data-state={state}]" if state else ""))


async def until(page: Page, expression: str) -> None:
    """``wait_for_function`` needs ``eval``, which the page's policy does not allow."""
    give_up = time.monotonic() + 20
    while not await page.evaluate(expression):
        assert time.monotonic() < give_up, expression
        await asyncio.sleep(0.05)


# --- with the real service ----------------------------------------------------------------------
async def test_a_live_recording_from_its_first_segment_to_its_report(
    world: World, broadcast: NewBroadcast, heavy: Path, new_page: NewPage
) -> None:
    live = broadcast(heavy)
    async with new_page(is_real=True) as page:
        await go(page, world.endpoints["http"])
        await page.evaluate("document.body.dataset.loaded = 'once'")
        live.show(6)
        live.tell("started")
        row = page.locator(".row", has_text=live.stream_id)
        await expect(row.locator(".status")).to_have_text("Recording")
        await row.click()
        await expect(page.locator("h1")).to_have_text(live.stream_id)
        await expect(squares(page, "done").first).to_be_visible(timeout=30_000)
        before = await squares(page).count()

        live.show(12)
        await expect(squares(page).nth(before)).to_be_visible(timeout=30_000)
        await expect(page.locator(".facts", has_text="Segments")).to_contain_text("18")
        await page.get_by_role("button", name="Play").click()
        await until(page, "document.querySelector('video').currentTime > 0.5")
        await page.get_by_role("button", name="Pause").click()

        at = await page.evaluate("document.querySelector('video').currentTime")
        live.show(ended=True)
        live.tell("ended")
        await expect(page.locator(".head .status")).to_have_text("Completed", timeout=60_000)
        report = world.report(live.finished()[0])
        await expect(squares(page, "done")).to_have_count(len(report["chunks"]))
        assert await squares(page).count() == len(report["chunks"]) > before
        frames = f"{report['frames_in']:,} / {report['frames_out']:,}"
        await expect(page.locator(".card", has_text="Verified")).to_contain_text(frames)
        await until(page, f"Math.abs(document.querySelector('video').currentTime - {at}) < 0.3")
        await until(page, "document.querySelector('video').duration > 47")
        await squares(page).last.hover()
        await expect(page.locator(".details")).to_contain_text("worker:")
        await squares(page).first.click()
        await until(page, "document.querySelector('video').currentTime < 0.5")
        await page.locator(".timeline").hover()
        await expect(page.locator(".preview i")).to_be_visible()
        await page.get_by_role("link", name="All recordings").click()
        await expect(row.locator(".status")).to_have_text("Completed")
        await until(page, "document.querySelector('.row .poster img').naturalWidth > 0")
        assert await page.evaluate("document.body.dataset.loaded") == "once"


async def test_the_quality_is_chosen_from_a_menu(
    world: World, broadcast: NewBroadcast, ladder: Path, new_page: NewPage
) -> None:
    ended = broadcast(ladder)
    ended.show(ended=True)
    ended.tell("ended", profile="abr")
    recording = await asyncio.to_thread(ended.completed)
    assert [each["height"] for each in recording["renditions"]] == [480, 360]
    async with new_page(is_real=True) as page:
        await go(page, world.endpoints["http"], f"#/recordings/{recording['id']}")
        await page.get_by_role("button", name="Play").click()
        menu = page.get_by_role("combobox", name="Quality")
        await expect(menu.locator("option")).to_have_text(["Auto", "360p", "480p"])
        for quality in (360, 480, 360):
            await menu.select_option(f"{quality}p")
            await page.evaluate("document.querySelector('video').playbackRate = 3")
            await until(page, f"document.querySelector('video').videoHeight === {quality}")
        at = await page.evaluate("document.querySelector('video').currentTime")
        await until(page, f"document.querySelector('video').currentTime > {at} + 1")


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stream that is large enough for a second rendition, and cheap to encode."""
    playlist = tmp_path_factory.mktemp("ladder") / "stream.m3u8"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=854x480:rate=10:duration=32"),
        *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=32"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "20"),
        *("-sc_threshold", "0", "-c:a", "aac", "-f", "hls", "-hls_time", "2"),
        *("-hls_list_size", "0", "-hls_playlist_type", "vod", playlist),
    )
    return playlist


async def test_the_workers_of_the_real_service(world: World, new_page: NewPage) -> None:
    async with new_page() as page:
        await go(page, world.endpoints["http"], "#/workers")
        await expect(page.locator("tbody tr")).to_have_count(2)
        await expect(page.locator("tbody tr").first).to_contain_text(platform.node())
        await expect(page.locator(".verdict")).to_have_text("PostgreSQL, S3 and workers answer.")
        dashboard = page.locator("main").get_by_role("link", name="Ray dashboard")
        assert await dashboard.get_attribute("href") == world.endpoints["ray_dashboard"]


# --- the list -----------------------------------------------------------------------------------
async def test_the_list_pages_and_changes_by_itself(new_page: NewPage) -> None:
    async with stage() as on, new_page() as page:
        for n in range(60):
            await begin(on.product, f"old-{n}", STARTED - timedelta(days=n), f"Old {n}")
        await go(page, on)
        rows = page.locator(".row")
        await expect(rows.first).to_be_visible()
        assert await rows.count() < 72
        await page.keyboard.press("End")
        await expect(rows).to_have_count(72)
        await expect(page.get_by_role("button", name="Show more")).to_have_count(0)

        first = page.locator(".row", has_text="Main stage, day 2")
        await on.product.catalog.report_progress(
            on.live.id, 7211, Progress(segments=600, chunks_done=90, chunks_total=96, seconds=1800)
        )
        await expect(first).to_contain_text("2:00:11")
        await expect(first).to_contain_text("90/96 chunks")
        await on.product.record("brand-new", datetime.now(UTC))
        await expect(rows.first).to_contain_text("id-brand-new")


async def test_search_and_filter_ask_the_service(new_page: NewPage) -> None:
    async with stage() as on, new_page() as page:
        await go(page, on)
        await expect(page.locator(".row")).to_have_count(12)
        await page.get_by_role("searchbox").fill("choir")
        await expect(page.locator(".row")).to_have_count(1)
        assert "q=choir" in page.url
        state = page.get_by_role("combobox", name="State")
        await state.select_option("failed")
        await expect(page.locator(".empty")).to_have_text("Nothing matches.")
        await state.select_option("completed")
        await expect(page.locator(".row")).to_have_count(1)
        await page.reload()
        await expect(page.locator(".row")).to_have_count(1)
        await expect(page.get_by_role("searchbox")).to_have_value("choir")


async def test_nothing_found_and_nothing_there(new_page: NewPage) -> None:
    async with stage() as on, new_page() as page:
        await answer_json(page, "**/recordings?*", {"recordings": []})
        await page.route("**/events", lambda route: route.fulfill(content_type="text/event-stream"))
        await go(page, on)
        await expect(page.locator(".empty")).to_contain_text("Nothing is recorded yet")
        await page.get_by_role("searchbox").fill("zzz")
        await expect(page.locator(".empty")).to_have_text("Nothing matches.")


# --- one recording ------------------------------------------------------------------------------
async def test_every_state_of_a_chunk_has_its_look_and_its_words(new_page: NewPage) -> None:
    async with stage() as on, new_page() as page:
        await go(page, on, f"#/recordings/{on.live.id}")
        await expect(squares(page)).to_have_count(96)
        counts = {
            state: await squares(page, state).count()
            for state in ("planned", "waiting", "working", "done", "partly", "lost")
        }
        assert counts == {
            "planned": 24, "waiting": 8, "working": 4, "done": 58, "partly": 1, "lost": 1,
        }  # fmt: skip
        for name, text in (
            ("Chunk 58: at a worker, from 19:20, try 2", "worker:0 on node-1"),
            ("Chunk 40: done, media missing, from 13:20", "4.0 s missing: a segment is not there"),
            ("Chunk 31: done, from 10:20", "mended"),
            ("Chunk 90: planned, from 30:00", "30:00 + 20.0 s"),
        ):
            await page.get_by_role("option", name=name, exact=True).hover()
            await expect(page.locator(".details")).to_contain_text(text)


async def test_thousands_of_chunks(new_page: NewPage) -> None:
    async with stage(chunks=4000, done=3900) as on, new_page() as page:
        await go(page, on, f"#/recordings/{on.live.id}")
        await expect(squares(page)).to_have_count(4000)
        before = await page.evaluate("performance.now()")
        on.jobs[0] = on.jobs[0].__class__(recording="r", kind="join")
        await expect(squares(page, "working")).to_have_count(3)
        assert await page.evaluate("performance.now()") - before < 5000


async def test_a_failed_recording_says_why(new_page: NewPage) -> None:
    async with stage() as on, new_page() as page:
        await go(page, on, f"#/recordings/{on.failed.id}")
        await expect(page.locator("main > .error")).to_have_text(
            "studio-b/stream.m3u8 is not there"
        )
        await expect(page.locator(".chunks")).to_contain_text("Nothing is known")
        assert await page.locator("video").count() == 0


async def test_a_recording_that_is_not_there(new_page: NewPage) -> None:
    async with stage() as on, new_page() as page:
        page.expected = "404"  # type: ignore[attr-defined]
        await go(page, on, "#/recordings/00000000-0000-4000-8000-000000000000")
        await expect(page.locator(".error")).to_have_text("Recording not found")


# --- the finished recording, played ---------------------------------------------------------------
@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("media")
    playlist = make_hls(folder / "stream", Form(seconds=12))
    return asyncio.run(record(playlist, folder / "out"))


@asynccontextmanager
async def playable(page: Page, media: Result) -> AsyncIterator[None]:
    """The media of a real recording, in two qualities, where those of the stage would be."""
    master = (media.beside / "master.m3u8").read_text()
    variant = re.search(r"#EXT-X-STREAM-INF:(.*)\n(.*)", master)
    assert variant
    lower = re.sub(r"RESOLUTION=\d+x\d+", "RESOLUTION=64x36", variant[1])
    lower = re.sub(r"BANDWIDTH=\d+", "BANDWIDTH=1000", lower)
    (media.beside / "master.m3u8").write_text(
        f"{master}\n#EXT-X-STREAM-INF:{lower}\n{variant[2]}\n"
    )
    with served(media.folder) as url:

        async def elsewhere(route: Route) -> None:
            name = route.request.url.rpartition("/hls/")[2]
            at = f"{url}/{media.recording.object_name}/{name}"
            await route.continue_(url=at)

        async def mp4(route: Route) -> None:
            await route.continue_(url=f"{url}/{media.mp4.name}")

        await page.route("**/hls/*", elsewhere)
        await page.route("**/recordings/*/*.mp4", mp4)
        await page.route("**/recordings/*/stream", mp4)
        yield
    (media.beside / "master.m3u8").write_text(master)


async def test_a_finished_recording_plays(new_page: NewPage, media: Result) -> None:
    async with stage() as on, new_page() as page, playable(page, media):
        await go(page, on, f"#/recordings/{on.done.id}")
        await page.get_by_role("button", name="Play").click()
        await until(page, "document.querySelector('video').currentTime > 0.3")
        quality = page.get_by_role("combobox", name="Quality")
        assert await quality.locator("option").count() == 3
        await quality.select_option("0")
        slider = page.get_by_role("slider", name="Position")
        await slider.fill("7")
        await until(page, "document.querySelector('video').currentTime >= 7")
        await expect(page.locator(".clock")).to_contain_text("0:12")


async def test_the_timeline_shows_what_is_there_and_what_is_missing(new_page: NewPage) -> None:
    async with stage() as on, new_page() as page:
        await go(page, on, f"#/recordings/{on.done.id}")
        await expect(page.locator(".timeline .gap")).to_have_count(2)
        timeline = page.locator(".timeline")
        box = await timeline.bounding_box()
        assert box
        await timeline.hover(position={"x": 0.27 * box["width"], "y": 15})
        await expect(page.locator(".preview")).to_contain_text("seg_00182.ts is not there")
        await expect(page.locator(".preview i")).to_be_visible()
        await expect(page.locator(".card", has_text="Missing media")).to_contain_text("6.0 s")
        renditions = page.locator(".card", has_text="Renditions")
        await expect(renditions.locator("tbody tr")).to_have_count(3)


# --- what one can do ------------------------------------------------------------------------------
async def test_rename_and_delete(new_page: NewPage) -> None:
    async with stage() as on, new_page() as page:
        await go(page, on, f"#/recordings/{on.done.id}")
        await page.get_by_role("button", name="Rename").click()
        await expect(page.get_by_label("Title")).to_have_value("Opening keynote")
        await page.get_by_label("Title").fill("First keynote")
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("First keynote")
        assert (await on.product.catalog.get(on.done.id)).title == "First keynote"
        await page.get_by_role("button", name="Delete").click()
        dialog = page.get_by_role("dialog", name="Delete this recording?")
        await dialog.get_by_role("button", name="Cancel").click()
        assert (await on.product.catalog.get(on.done.id)).title == "First keynote"
        await page.get_by_role("button", name="Delete").click()
        await dialog.get_by_role("button", name="Delete").click()
        await expect(page.locator("h1")).to_have_text("Recordings")
        await expect(page.get_by_role("status")).to_have_text("First keynote is deleted")
        await expect(page.locator(".row")).to_have_count(11)
    with pytest.raises(RecordingNotFound):
        await on.product.catalog.get(on.done.id)


async def test_keep(new_page: NewPage) -> None:
    async with stage() as on, new_page() as page:
        await go(page, on, f"#/recordings/{on.done.id}")
        button = page.get_by_role("button", name="Keep")
        for is_kept in (True, False):
            await button.click()
            await expect(button).to_have_attribute("aria-pressed", str(is_kept).lower())
            assert (await on.product.catalog.get(on.done.id)).keep is is_kept


async def test_a_deletion_by_somebody_else_is_seen(new_page: NewPage) -> None:
    async with stage() as on, new_page() as page, new_page() as other:
        await go(page, on)
        await go(other, on, f"#/recordings/{on.failed.id}")
        row = page.locator(".row", has_text="Studio B")
        await expect(row).to_have_count(1)
        await expect(other.locator("h1")).to_have_text("Studio B, take 1")
        await expect(other.locator(".chunks")).to_contain_text("Nothing is known")
        await on.product.catalog.delete(on.failed.id)
        await expect(row).to_have_count(0)
        await expect(other.locator(".error")).to_have_text("This recording is deleted")
        # What happens while nobody is told is seen as soon as somebody is again.
        await hide(page, is_hidden=True)
        await on.product.catalog.delete(on.done.id)
        await asyncio.sleep(0.2)
        await expect(page.locator(".row")).to_have_count(11)
        await hide(page, is_hidden=False)
        await expect(page.locator(".row")).to_have_count(10)


async def hide(page: Page, *, is_hidden: bool) -> None:
    """As the browser tells a page in a tab that is not in front."""
    await page.evaluate(
        """isHidden => {
            Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


async def test_cancel_and_retry(new_page: NewPage) -> None:
    async with stage() as on, new_page() as page:
        await go(page, on, f"#/recordings/{on.live.id}")
        await page.locator(".head").get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Stop and discard").click()
        await expect(page.locator(".head .status")).to_have_text("Failed")
        await expect(page.locator("main > .error")).to_contain_text("Cancelled by")
        # As those do who were at work on it.
        await on.product.catalog.forget_ledger(on.live.id)
        await asyncio.sleep(1)
        await page.reload()
        await expect(page.locator(".chunks")).to_contain_text("Nothing is known")
        await page.get_by_role("button", name="Retry").click()
        await expect(page.locator(".head .status")).not_to_have_text("Failed", timeout=20_000)
        await on.product.catalog.plan_chunk(on.live.id, planned_chunk(0))
        await expect(squares(page, "planned")).to_have_count(1)


async def test_a_link_to_the_file(new_page: NewPage) -> None:
    async with stage() as on, new_page() as page:
        told = {"url": f"{on.url}/ui/icon.svg?signed", "expires_at": "2026-01-01T00:00:00Z"}
        await answer_json(page, "**/url", told)
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await go(page, on, f"#/recordings/{on.done.id}")
        async with page.expect_popup() as popup:
            await page.get_by_role("button", name="Download").click()
        assert (await popup.value).url == told["url"]
        await (await popup.value).close()
        await page.get_by_role("button", name="Copy link").click()
        await expect(page.get_by_role("status")).to_contain_text("The link is copied")
        assert await page.evaluate("navigator.clipboard.readText()") == told["url"]


async def test_what_the_service_refuses_is_told(new_page: NewPage) -> None:
    async with stage() as on, new_page() as page:
        page.expected = "status of 4"  # type: ignore[attr-defined]
        await answer_json(page, "**/retry", {"error": "The source is gone"}, 409)
        await page.route("**/cancel", lambda route: route.fulfill(status=405))
        await go(page, on, f"#/recordings/{on.failed.id}")
        await page.get_by_role("button", name="Retry").click()
        await expect(page.get_by_role("status")).to_have_text("The source is gone")
        await go(page, on, f"#/recordings/{on.live.id}")
        await page.locator(".head").get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Stop and discard").click()
        await expect(page.get_by_role("alert")).to_have_text("This service cannot do that")


async def test_recording_by_hand(new_page: NewPage) -> None:
    async with stage() as on, new_page() as page:
        await go(page, on)
        await page.get_by_role("button", name="Record", exact=True).click()
        await page.get_by_label("Playlist").fill("s3://hls-streams/webinar-7/stream.m3u8")
        await page.get_by_label("Profile").select_option("abr")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("webinar-7 will be recorded")
        await expect(page.locator(".row", has_text="webinar-7")).to_be_visible()
        (event,) = on.product.events
        assert (event.stream_id, event.profile) == ("webinar-7", "abr")
        assert event.hls_path == "hls-streams/webinar-7/stream.m3u8"


async def test_signing_in_goes_on_where_one_was(new_page: NewPage) -> None:
    secret = "x" * 40
    async with stage(auth_secret=secret) as on, new_page() as page:
        token = mint(Settings(_env_file=None, auth_secret=secret), [Scope.READ], "u1", 1.0)
        page.expected = "401"  # type: ignore[attr-defined]
        await go(page, on, f"#/recordings/{on.done.id}")
        field = page.get_by_label("Token")
        await field.fill("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text("Invalid token")
        await field.fill(token)
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("Opening keynote")
        await expect(squares(page)).not_to_have_count(0)
        await page.get_by_role("link", name="All recordings").click()
        await expect(page.locator(".row")).to_have_count(12)
        await page.get_by_role("button", name="Sign out u1").click()
        await expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()


# --- for everybody --------------------------------------------------------------------------------
async def test_by_keyboard_alone(new_page: NewPage) -> None:
    async with stage() as on, new_page() as page:
        await go(page, on)
        await expect(page.locator(".row")).to_have_count(12)
        await page.keyboard.press("Tab")
        await expect(page.locator(".skip")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()
        await tab_to(page, ".row")
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("Main stage, day 2")
        await expect(page.locator("main")).to_be_focused()

        await tab_to(page, ".square")
        await expect(page.locator(".details")).to_contain_text("Chunk 0")
        await page.keyboard.press("ArrowRight")
        await expect(page.locator(".details")).to_contain_text("Chunk 1")
        await page.keyboard.press("ArrowDown")
        below = await page.evaluate("Number(document.activeElement.dataset.index)")
        assert below > 10
        await page.keyboard.press("End")
        await expect(page.locator(".details")).to_contain_text("Chunk 95")
        assert await page.locator(".square[tabindex='0']").count() == 1
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"

        rename = page.get_by_role("button", name="Rename")
        await rename.focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("Title")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(rename).to_be_focused()


async def tab_to(page: Page, selector: str) -> None:
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    pytest.fail(f"Tab does not lead to {selector}")


def views(on: Stage) -> tuple[str, ...]:
    return ("#/", f"#/recordings/{on.live.id}", f"#/recordings/{on.done.id}", "#/workers")


async def test_on_a_phone_nothing_is_wider_than_it(new_page: NewPage) -> None:
    async with stage() as on, new_page(viewport=PHONE, has_touch=True) as page:
        for hash_ in views(on):
            await go(page, on, hash_)
            await page.wait_for_timeout(300)
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360, hash_
        await page.get_by_role("button", name="Record", exact=True).click()
        assert await page.evaluate("document.querySelector('dialog').scrollWidth") <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_serious_barrier(scheme: str, new_page: NewPage) -> None:
    async with stage() as on, new_page(color_scheme=scheme, reduced_motion="reduce") as page:
        grounds = set()
        for hash_ in views(on):
            await go(page, on, hash_)
            await page.wait_for_timeout(400)
            assert await barriers(page) == [], hash_
            grounds.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert grounds == {"rgb(246, 247, 249)" if scheme == "light" else "rgb(16, 19, 23)"}
        await page.get_by_role("button", name="Record", exact=True).click()
        assert await barriers(page) == []


async def barriers(page: Page) -> list[tuple[str, list[str]]]:
    """What axe-core finds serious or critical. Evaluated, since the page's policy allows no other
    scripts."""
    await page.evaluate(AXE)
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (each["id"], [node["html"][:120] for node in each["nodes"][:3]])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


async def test_those_who_want_no_motion_get_none(new_page: NewPage) -> None:
    async with stage() as on, new_page(reduced_motion="reduce") as page:
        await go(page, on, f"#/recordings/{on.live.id}")
        await expect(squares(page, "working").first).to_be_visible()
        running = await page.evaluate("document.getAnimations().length")
        assert running == 0
