"""A page in headless Chromium, for tests: what went wrong in it, what it asked for, and how it looks.

from browser import chromium_page, needs_chromium

@needs_chromium
def test_the_page_opens(tmp_path: Path) -> None:
    with chromium_page(width=375) as visit:
        visit.page.goto(address)
        assert visit.errors == []
        visit.keep_screenshot("front page", tmp_path)
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

_FLAGS = (
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",  # this machine's servers, no others
)
_NO_NETWORK = ("data:", "blob:", "about:")  # addresses that hold their content
_START_MS = 30_000


def find_chromium() -> str | None:
    """The browser: AAE_CHROMIUM where it is set, else the first of the usual commands."""
    names = (os.environ.get("AAE_CHROMIUM") or "", "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def why_not() -> str | None:
    """What a test with a browser lacks here, and how to get it; None where nothing is missing."""
    if importlib.util.find_spec("playwright") is None:
        return 'playwright is not installed: pip install "aae-toolkit[dev]"'
    if find_chromium() is None:
        return "no Chromium here: apt-get install chromium, or set AAE_CHROMIUM to one"
    return None


needs_chromium = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@dataclass
class Visit:
    """A browser tab, and what happened in it.

    `errors` are console errors, uncaught exceptions and requests that failed. `requests` are the addresses asked for,
    the page's own among them; those that hold their own content (data:) are left out.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def overflow(self) -> int:
        """By how many CSS pixels the page is wider than its window; 0: no scrolling sideways."""
        size = self.page.viewport_size
        assert size is not None
        width: int = self.page.evaluate("document.documentElement.scrollWidth") - size["width"]
        return width

    def keep_screenshot(self, name: str, directory: Path) -> Path:
        """Write the whole page as <name>.png into AAE_SCREENSHOTS where that is set, else into `directory`."""
        path = Path(os.environ.get("AAE_SCREENSHOTS") or directory) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, full_page=True)
        return path


@contextmanager
def chromium_page(
    *, width: int = 1280, height: int = 800, colors: Literal["light", "dark"] = "light"
) -> Iterator[Visit]:
    """Start Chromium with a profile of its own, yield a blank page of it, and end it.

    Args:
        width: of the window, CSS pixels; below 600 it is a phone, with a touch screen.
        height: likewise.
        colors: what prefers-color-scheme says.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(_FLAGS), timeout=_START_MS)
        try:
            phone = width < 600
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=colors, is_mobile=phone, has_touch=phone
            )
            visit = Visit(context.new_page())
            _listen(visit)
            yield visit
        finally:
            browser.close()


def _listen(visit: Visit) -> None:
    page = visit.page
    page.on("console", lambda said: visit.errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.on("requestfailed", lambda request: visit.errors.append(f"{request.url}: {request.failure}"))
    page.on(
        "request",
        lambda request: None if request.url.startswith(_NO_NETWORK) else visit.requests.append(request.url),
    )
