"""Everybody can use the page: the keyboard, phones, dark mode, screen readers; and its help."""

from __future__ import annotations

from pathlib import Path

import pytest
from page import photo, two_people, unreadable
from playwright.sync_api import Browser, Page, expect
from videos import make_video, walking_face

pytestmark = pytest.mark.xdist_group("browser")
SIZES = {"phone": (390, 844), "desktop": (1280, 800), "narrow": (320, 700)}

#: Whether a list of choices is as wide as its text needs.
IS_WHOLE = """list => {
  const width = list.offsetWidth;
  list.style.maxWidth = "none";
  const whole = list.offsetWidth <= width;
  list.style.maxWidth = "";
  return whole;
}"""


def has_no_overflow(page: Page) -> bool:
    fits: bool = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return fits


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("films") / "clip.mp4", [walking_face(i) for i in range(25)] * 2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", SIZES)
def test_it_fits_and_is_kept_as_a_screenshot(page: Page, clip: Path, device: str, scheme: str, artifacts: Path) -> None:
    width, height = SIZES[device]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.screenshot(path=artifacts / f"start-{device}-{scheme}.png", full_page=True)
    assert has_no_overflow(page)
    assert page.locator("#fps").evaluate(IS_WHOLE)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(22, 24, 27)" if scheme == "dark" else "rgb(247, 246, 243)")
    page.select_option("#compare", "tiny_doubtful")
    name = "a very long name of a photo that was taken in the summer of 2026 by somebody with patience.jpg"
    page.set_input_files("#files", [two_people(name), unreadable("notes.png")])
    expect(page.locator("#status")).to_have_text("1 of 2 files read.")
    expect(page.locator("#table tbody tr")).to_have_count(6)
    assert has_no_overflow(page)
    page.screenshot(path=artifacts / f"photos-{device}-{scheme}.png", full_page=True)
    page.evaluate("document.getElementById('clear').click()")
    page.select_option("#compare", "")
    page.set_input_files("#files", clip)
    expect(page.locator("#status")).to_have_text("clip.mp4: 50 frames read.")
    page.locator(".timeline canvas").hover(position={"x": 120, "y": 60})
    expect(page.locator(".readout")).to_contain_text("at ")
    assert has_no_overflow(page)
    page.screenshot(path=artifacts / f"film-{device}-{scheme}.png", full_page=True)


def test_it_is_used_from_the_keyboard_alone(page: Page) -> None:
    page.focus("#files")
    seen = []
    for _ in range(7):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id"))
    assert seen == ["camera", "sample", "model", "which", "compare", "fps", "cropped"]
    page.focus("#sample")
    page.keyboard.press("Enter")
    expect(page.locator(".card .faces button")).to_have_count(1)
    page.focus("#clear")
    page.keyboard.press("Enter")
    expect(page.locator(".card")).to_have_count(0)
    assert page.evaluate("document.activeElement.id") == "files", "the focus is lost"


def test_errors_are_dismissed_from_the_keyboard_one_after_the_other(page: Page) -> None:
    page.set_input_files("#files", unreadable("a.png"))
    expect(page.locator(".error")).to_have_count(1)
    page.evaluate(
        "document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: new DataTransfer(), bubbles: true }))"
    )
    expect(page.locator(".error")).to_have_count(2)
    page.locator(".error button").first.focus()
    for left in (1, 0):
        page.keyboard.press("Enter")
        expect(page.locator(".error")).to_have_count(left)
    assert page.evaluate("document.activeElement.id") == "files", "the focus is lost"


def test_everything_has_a_name_and_progress_is_announced(page: Page, clip: Path) -> None:
    page.set_input_files("#files", photo("a.jpg"))
    page.set_input_files("#files", [clip, clip])
    expect(page.locator("#status")).to_contain_text("files read.")
    assert page.locator("#status").get_attribute("role") == "status"
    assert page.locator("#errors").get_attribute("role") == "alert"
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas, progress, table, [tabindex='0']")]
            .filter((e) => !(e.textContent.trim() || e.labels?.length || e.getAttribute("aria-label")))
            .map((e) => e.outerHTML)"""
    )
    assert not unnamed
    sliders = "[...document.querySelectorAll('[role=slider]')].map((e) => e.getAttribute('aria-valuenow'))"
    assert page.evaluate(sliders) == ["0", "0"]


def test_nothing_moves_where_people_ask_for_that(page: Page) -> None:
    page.set_input_files("#files", photo("a.jpg"))
    expect(page.locator(".fill")).to_have_count(7)
    duration = "f => getComputedStyle(f).transitionDuration"
    assert page.locator(".fill").first.evaluate(duration) == "0.18s"
    page.emulate_media(reduced_motion="reduce")
    assert page.locator(".fill").first.evaluate(duration) == "0s"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_help_is_linked_and_comes_from_this_server_alone(
    browser: Browser, address: str, scheme: str, artifacts: Path
) -> None:
    page = browser.new_page(viewport={"width": 320, "height": 700})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.click("header a:has-text('Help')")
    expect(page.locator("h1")).to_have_text("Help")
    for heading in ("Install", "Start and stop", "Read the results", "What not to use it for"):
        expect(page.locator("h2", has_text=heading).first).to_be_visible()
    assert has_no_overflow(page)
    page.screenshot(path=artifacts / f"help-{scheme}.png", full_page=True)
    assert all(url.startswith(address) for url in asked)
    page.click("text=Back to the page")
    expect(page.locator("#drop")).to_be_visible()
    page.close()
