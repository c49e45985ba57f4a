"""A real Chromium."""

import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright

from tests.e2e.conftest import broadcast, clips, heavy

__all__ = ["broadcast", "clips", "heavy"]

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    "--autoplay-policy=no-user-gesture-required",
]
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str:
    named = os.environ.get("CHROMIUM")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.fail(
            f"The browser tests need Chromium, and {named or 'no chromium on PATH'} is not there. "
            "`make test` installs one; or name yours: CHROMIUM=/path/to/chromium"
        )
    return found


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """An empty page of a browser that was just started, with a profile of its own."""
    path = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        page = await browser.new_page()
        page.set_default_timeout(30_000)
        yield page
        await browser.close()
