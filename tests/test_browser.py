from pathlib import Path

import pytest
from browser import chromium_page, find_chromium, needs_chromium, why_not
from PIL import Image


def page_of(tmp_path: Path, body: str) -> str:
    path = tmp_path / "page.html"
    path.write_text(f"<!doctype html><html><body>{body}</body></html>", encoding="utf-8")
    return path.as_uri()


@pytest.mark.slow
@needs_chromium
def test_errors_and_requests_of_a_page_are_collected(tmp_path: Path) -> None:
    address = page_of(
        tmp_path,
        "<img src='http://elsewhere.invalid/x.png'><script>console.error('said'); throw Error('thrown')</script>",
    )
    with chromium_page() as visit:
        visit.page.goto(address)
        assert visit.requests == [address, "http://elsewhere.invalid/x.png"]
        for part in ("said", "thrown", "elsewhere.invalid"):
            assert any(part in error for error in visit.errors)


@pytest.mark.slow
@needs_chromium
def test_a_page_wider_than_the_phone_is_measured_and_pictured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAE_SCREENSHOTS", str(tmp_path / "kept"))
    picture = "<img alt='' src='data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA='>"
    head = "<meta name='viewport' content='width=device-width, initial-scale=1'>"
    address = page_of(
        tmp_path, f"{head}{picture}<div style='width: 400px; height: 2000px; margin-left: -8px'>wide</div>"
    )
    with chromium_page(width=375, colors="dark") as visit:
        visit.page.goto(address)
        assert 25 <= visit.overflow() <= 26  # a phone zooms out to see all of it, and rounds
        assert visit.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        assert (visit.requests, visit.errors) == ([address], [])
        kept = visit.keep_screenshot("wide", tmp_path)
    assert kept == tmp_path / "kept" / "wide.png"
    assert Image.open(kept).height >= 2000


def test_where_no_browser_is_the_reason_names_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("AAE_CHROMIUM", raising=False)
    assert find_chromium() is None
    assert "apt-get install chromium" in (why_not() or "") or "playwright" in (why_not() or "")
