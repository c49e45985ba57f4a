"""The pictures of docs/page.md: ``python -m tests.browser.pictures`` takes them anew."""

import asyncio
import os
import tempfile
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

from tests.browser.conftest import FLAGS, chromium
from tests.browser.stage import Pictures, Stage, stage

DOCS = Path(__file__).parents[2] / "docs"
WIDE = {"width": 1280, "height": 820}
PHONE = {"width": 360, "height": 740}


async def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        pictures = Pictures(Path(made))
        async with async_playwright() as playwright, stage() as on:
            browser = await playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
            for name, hash_, dark, phone in (
                ("page-list", "#/", False, False),
                ("page-live", f"#/recordings/{on.live.id}", False, False),
                ("page-done", f"#/recordings/{on.done.id}", True, False),
                ("page-workers", "#/workers", True, False),
                ("page-phone", f"#/recordings/{on.live.id}", False, True),
                ("page-phone-list", "#/", True, True),
            ):
                page = await _open(browser, on, pictures, hash_, dark=dark, phone=phone)
                await _point(page, name)
                await page.screenshot(path=folder / f"{name}.png", animations="disabled")
                await page.context.close()
            await browser.close()


async def _open(
    browser: Browser, on: Stage, pictures: Pictures, hash_: str, *, dark: bool, phone: bool
) -> Page:
    context = await browser.new_context(
        viewport=PHONE if phone else WIDE, color_scheme="dark" if dark else "light", locale="en-GB"
    )
    page = await context.new_page()
    page.on("console", lambda message: print(message.type, message.text))
    page.on("pageerror", lambda error: print("error", error))
    await pictures.show(page)
    await page.goto(f"{on.url}/{hash_}")
    await page.locator("h1").wait_for()
    await asyncio.sleep(1.5)
    return page


async def _point(page: Page, name: str) -> None:
    if name == "page-done":
        await page.locator(".timeline").hover(position={"x": 190, "y": 15})
        await asyncio.sleep(0.7)
    if name == "page-live":
        await page.locator(".square[data-state=working]").first.focus()
    if name == "page-phone":
        await page.locator(".chunks").scroll_into_view_if_needed()
        await page.evaluate("scrollBy(0, 320)")


if __name__ == "__main__":
    asyncio.run(main(Path(os.environ.get("PICTURES", DOCS))))
