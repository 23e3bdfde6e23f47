"""The page in Chromium. A screenshot at the end of each test is kept in a folder: see CONTRIBUTING.md."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright
from skimage import data
from uploads import encoded, running
from videos import walking_face

from moue.server.settings import Settings

#: Milliseconds, for a busy machine.
TIMEOUT = 60_000
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def artifacts() -> Path:
    """Where screenshots are kept."""
    folder = Path(os.environ.get("MOUE_TEST_ARTIFACTS", ROOT / "test-artifacts"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def address(tiny_onnx: Path, other_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    settings = Settings(models=(str(tiny_onnx), str(other_onnx)), temp_folder=folder, max_bytes=2_000_000)
    with running(settings) as port:
        yield f"http://127.0.0.1:{port}/"
    assert not list(folder.iterdir()), "the server left videos behind"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((path for path in map(shutil.which, names) if path), None)
    if program is None:
        pytest.fail("The browser tests need Chromium. Type: make browser")
    video = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    video.write_bytes(b"".join(encoded(Image.fromarray(walking_face(i)), "JPEG") for i in range(30)))
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    camera.append(f"--use-file-for-fake-video-capture={video}")
    expect.set_options(timeout=TIMEOUT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS, *camera])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tab(browser: Browser, address: str) -> Iterator[tuple[Page, list[str]]]:
    """The open page, and the errors in its console."""
    page = browser.new_page(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    page.set_default_timeout(TIMEOUT)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    # The browser logs rejected requests as well, which the page reports itself.
    rejected = re.compile(r"status of (4|503)")
    page.on("console", lambda m: errors.extend([m.text] * (m.type == "error" and not rejected.search(m.text))))
    page.goto(address)
    expect(page.locator("#model option").nth(1)).to_be_attached()
    yield page, errors
    page.close()


@pytest.fixture
def page(tab: tuple[Page, list[str]], artifacts: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page, cleared."""
    page, errors = tab
    page.set_viewport_size({"width": 1200, "height": 900})
    page.emulate_media(color_scheme="light", reduced_motion="no-preference")
    page.evaluate("document.getElementById('clear').click()")
    page.select_option("#model", "tiny_random")
    page.select_option("#compare", "")
    page.select_option("#fps", "")
    expect(page.locator("#status")).to_have_text("")
    expect(page.locator("#tools")).to_be_hidden()
    errors.clear()
    yield page
    page.unroute_all(behavior="ignoreErrors")
    page.screenshot(path=artifacts / f"{re.sub(r'[^a-z0-9]+', '-', request.node.name)}.png", full_page=True)
    assert not errors


@pytest.fixture(scope="module")
def astronaut() -> FilePayload:
    return {"name": "astronaut.png", "mimeType": "image/png", "buffer": encoded(Image.fromarray(data.astronaut()))}
