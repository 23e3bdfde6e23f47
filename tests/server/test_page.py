"""The page in a real browser: what a person does, and what they see."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, Route, expect, sync_playwright
from skimage import data
from uploads import encoded, running
from videos import make_video

from moue.server.settings import Settings

pytestmark = pytest.mark.xdist_group("browser")

#: Milliseconds, for a busy machine.
TIMEOUT = 40_000
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


def images(step: int) -> np.ndarray:
    """A frame of a video: the astronaut's face, moving to the right."""
    face = np.asarray(Image.fromarray(data.astronaut()[0:256, 96:352]).resize((160, 160)))
    image = np.full((240, 320, 3), 90, np.uint8)
    image[40:200, 20 + 4 * step % 120 : 180 + 4 * step % 120] = face
    return image


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
    video.write_bytes(b"".join(encoded(Image.fromarray(images(i)), "JPEG") for i in range(30)))
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    camera.append(f"--use-file-for-fake-video-capture={video}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS, *camera])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tab(browser: Browser, address: str) -> Iterator[tuple[Page, list[str]]]:
    """The open page, and the errors in its console."""
    page = browser.new_page(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    page.set_default_timeout(TIMEOUT)
    expect.set_options(timeout=TIMEOUT)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    # The browser logs rejected requests as well, which the page reports itself.
    page.on("console", lambda m: errors.extend([m.text] * (m.type == "error" and "status of 4" not in m.text)))
    page.goto(address)
    expect(page.locator("#model option").nth(1)).to_be_attached()
    yield page, errors
    page.close()


@pytest.fixture
def page(tab: tuple[Page, list[str]], tmp_path: Path) -> Iterator[Page]:
    """The page, cleared; a screenshot of it is kept in the test's folder."""
    page, errors = tab
    page.set_viewport_size({"width": 1200, "height": 900})
    page.select_option("#compare", "")
    page.evaluate("document.getElementById('clear').click()")
    expect(page.locator("#status")).to_have_text("")
    errors.clear()
    yield page
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert not errors


@pytest.fixture(scope="module")
def astronaut() -> FilePayload:
    return {"name": "astronaut.png", "mimeType": "image/png", "buffer": encoded(Image.fromarray(data.astronaut()))}


def test_a_chosen_photo_is_shown_with_its_face_and_seven_bars(
    page: Page, astronaut: FilePayload, tmp_path: Path
) -> None:
    page.set_input_files("#files", astronaut)
    expect(page.locator("#status")).to_contain_text("astronaut.png: 1 face")
    expect(page.locator(".bars li")).to_have_count(7)
    canvas = page.locator(".card canvas")
    assert canvas.evaluate("c => [c.width, c.height]") == [512, 512]
    assert "1 face" in (canvas.get_attribute("aria-label") or "")
    with page.expect_download() as download:
        page.click("#json")
    [row] = json.loads(Path(download.value.path()).read_text())
    assert (row["source"], row["status"], len(row["faces"])) == ("astronaut.png", "ok", 1)
    with page.expect_download() as download:
        page.click("#csv")
    lines = Path(download.value.path()).read_text().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("model,source,status,frame,timestamp,track,x,y,w,h,score,label,uncertain,angry")
    with page.expect_download() as download:
        page.click("text=Download PNG")
    drawn = np.asarray(Image.open(download.value.path()).convert("RGB")).astype(int)
    assert (np.abs(drawn - data.astronaut()).sum(axis=2) > 60).mean() > 0.005


def test_a_pasted_image_is_read(page: Page, astronaut: FilePayload) -> None:
    page.evaluate(
        """async (bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }""",
        list(encoded(Image.fromarray(data.astronaut()), "JPEG")),
    )
    expect(page.locator("#status")).to_contain_text("pasted.png: 1 face")


def test_two_models_are_shown_side_by_side_for_the_drawing(page: Page) -> None:
    page.select_option("#compare", "tiny_doubtful")
    page.click("#sample")
    expect(page.locator(".card.compare .result h3")).to_have_text(["tiny_random", "tiny_doubtful"])
    expect(page.locator(".result").first.locator(".faces button")).to_have_count(3)
    second = page.locator(".result").last.locator(".faces button").nth(1)
    second.focus()
    page.keyboard.press("Enter")
    expect(second).to_have_attribute("aria-pressed", "true")


def test_errors_are_shown_as_messages(page: Page, astronaut: FilePayload) -> None:
    page.set_input_files("#files", {"name": "notes.png", "mimeType": "image/png", "buffer": b"no image at all"})
    expect(page.locator("#errors")).to_contain_text("notes.png: not an image of a known format.")
    page.set_input_files("#files", {"name": "huge.png", "mimeType": "image/png", "buffer": bytes(3_000_000)})
    expect(page.locator("#errors")).to_contain_text("huge.png is too large: 3 MB; this server takes 2 MB.")
    playlist = b"#EXTM3U\n/etc/passwd\n" * 9
    page.set_input_files("#files", {"name": "clip.mp4", "mimeType": "video/mp4", "buffer": playlist})
    expect(page.locator("#errors")).to_contain_text("clip.mp4: not a video of a kind that is known here")
    expect(page.locator("#stage")).to_be_hidden()
    page.set_input_files("#files", astronaut)
    expect(page.locator("#status")).to_contain_text("1 face")
    expect(page.locator(".error")).to_have_count(0)


def test_the_camera_is_read_frame_after_frame(page: Page, tmp_path: Path) -> None:
    page.click("#camera")
    expect(page.locator("#rate")).to_contain_text("per second")
    expect(page.locator("#stage .bars li")).to_have_count(7)
    page.screenshot(path=tmp_path / "camera.png")
    page.click("text=Stop the camera")
    expect(page.locator("#status")).to_contain_text("The camera is off")
    with page.expect_download() as download:
        page.click("#json")
    rows = json.loads(Path(download.value.path()).read_text())
    assert len(rows) >= 2
    times = [row["timestamp"] for row in rows]
    assert times == sorted(times)
    assert all(face["track"] >= 1 for row in rows for face in row["faces"])


def test_a_video_is_read_with_progress_and_plays_annotated(page: Page, tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.mp4", [images(i) for i in range(12)])
    page.set_input_files("#files", video)
    expect(page.locator("#status")).to_contain_text("clip.mp4: 12 frames read.")
    video_shown = page.locator("#stage video")
    loaded = "v => v.readyState || new Promise((done) => v.addEventListener('loadedmetadata', done, { once: true }))"
    assert video_shown.evaluate(f"async (v) => {{ await ({loaded})(v); return Math.abs(v.duration - 0.48) < 0.1; }}")
    expect(page.locator("#stage .legend li")).to_have_count(7)
    page.screenshot(path=tmp_path / "video.png")


def test_two_models_read_a_video_side_by_side(page: Page, tmp_path: Path) -> None:
    page.select_option("#compare", "tiny_doubtful")
    page.set_input_files("#files", make_video(tmp_path / "clip.mp4", [images(i) for i in range(6)]))
    expect(page.locator("#status")).to_contain_text("clip.mp4: 6 frames read.")
    expect(page.locator("#stage .result h3")).to_have_text(["tiny_random", "tiny_doubtful"])
    expect(page.locator("#stage figcaption")).to_have_count(2)
    with page.expect_download() as download:
        page.click("#json")
    rows = json.loads(Path(download.value.path()).read_text())
    assert [row["model"] for row in rows] == ["tiny_random"] * 6 + ["tiny_doubtful"] * 6
    assert [row["frame"] for row in rows] == [*range(6)] * 2
    tops = [max(row["faces"][0]["probabilities"].values()) for row in (rows[0], rows[6])]
    assert tops[0] > tops[1]


def test_a_video_can_be_cancelled(page: Page, address: str, tmp_path: Path) -> None:
    video = make_video(tmp_path / "long.mp4", [images(i) for i in range(150)])
    page.set_input_files("#files", video)
    expect(page.locator("#stage .count")).to_contain_text(" of 150 frames")
    page.click("text=Cancel")
    expect(page.locator("#status")).to_contain_text("long.mp4 was cancelled")
    assert "moue_video_jobs 0.0" in page.request.get(f"{address}metrics").text()


def test_the_next_video_replaces_the_one_that_it_cancels(page: Page, tmp_path: Path) -> None:
    page.set_input_files("#files", make_video(tmp_path / "long.mp4", [images(i) for i in range(150)]))
    expect(page.locator("#stage .count")).to_contain_text(" of 150 frames")
    page.set_input_files("#files", make_video(tmp_path / "next.mp4", [images(i) for i in range(6)]))
    expect(page.locator("#status")).to_contain_text("next.mp4: 6 frames read.")
    expect(page.locator("#stage h2")).to_have_text("next.mp4")
    expect(page.locator("#stage video")).to_be_visible()


def test_a_video_of_hours_has_all_its_rows(page: Page, tmp_path: Path) -> None:
    many = 200_000
    row = '{"status":"no_face","frame":0,"timestamp":0,"faces":[]}\n'
    job = {"id": "x", "status": "done", "frames": many, "total": many, "rows": many, "annotated": False}

    def respond(route: Route) -> None:
        rows = "/rows" in route.request.url
        route.fulfill(status=202, body=row * many if rows else json.dumps(job))

    page.route("**/v1/videos**", respond)
    try:
        page.set_input_files("#files", make_video(tmp_path / "hours.mp4", [images(0)]))
        expect(page.locator("#status")).to_contain_text(f"hours.mp4: {many} frames read.")
        expect(page.locator("#tools")).to_be_visible()
        expect(page.locator(".error")).to_have_count(0)
    finally:
        page.unroute("**/v1/videos**")


def test_a_camera_that_is_stopped_before_it_is_allowed_stays_off(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.add_init_script(
        """
        const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        const allowed = new Promise((done) => { window.allow = done; });
        let askFor, ended;
        window.asked = new Promise((done) => { askFor = done; });
        window.stopped = new Promise((done) => { ended = done; });
        navigator.mediaDevices.getUserMedia = async (constraints) => {
          askFor();
          await allowed;
          const stream = await real(constraints);
          const [track] = stream.getTracks();
          const stop = track.stop.bind(track);
          track.stop = () => { stop(); ended(track.readyState); };
          return stream;
        };
        """
    )
    page.goto(address)
    expect(page.locator("#model option").nth(1)).to_be_attached()
    page.click("#camera")
    page.evaluate("asked")
    page.evaluate("document.getElementById('clear').click()")
    page.evaluate("allow()")
    assert page.evaluate("stopped") == "ended"
    expect(page.locator("#stage")).to_be_hidden()
    page.close()


def test_the_results_of_two_models_are_matched_by_position(page: Page) -> None:
    here, there, away = ({"box": box} for box in ([10, 10, 40, 40], [200, 20, 40, 50], [400, 300, 30, 30]))
    other = {"faces": [{"box": [204, 24, 38, 46]}, {"box": [12, 11, 40, 42]}]}
    script = """async ([faces, row]) => {
        const { matchingFace } = await import("/view.js");
        return faces.map((face) => matchingFace(face, row));
    }"""
    assert page.evaluate(script, [[here, there, away], other]) == [other["faces"][1], other["faces"][0], None]


def test_a_token_is_asked_for_once(browser: Browser, address: str) -> None:
    page = browser.new_page()

    def respond(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer right":
            route.continue_()
        else:
            route.fulfill(status=401, json={"detail": "this needs the server's token"})

    page.route("**/v1/faces**", respond)
    page.goto(address)
    expect(page.locator("#model option").nth(1)).to_be_attached()
    page.select_option("#compare", "tiny_doubtful")
    page.click("#sample")
    page.fill("#token", "right")
    page.keyboard.press("Enter")
    expect(page.locator(".card.compare .result h3")).to_have_count(2)
    expect(page.locator(".error")).to_have_count(0)
    page.close()


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1200), ("light", 360)])
def test_it_fits_a_phone_and_dark_mode(page: Page, scheme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 780})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.click("#sample")
    expect(page.locator(".card .faces button")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(22, 24, 27)" if scheme == "dark" else "rgb(247, 246, 243)")


def test_the_page_says_where_browsers_refuse_the_camera(browser: Browser, address: str) -> None:
    page = browser.new_page()
    # As for a page that came over plain HTTP from another machine.
    page.add_init_script("Object.defineProperty(window, 'isSecureContext', { value: false })")
    page.goto(address)
    expect(page.locator("#insecure")).to_contain_text("over HTTPS")
    expect(page.locator("#camera")).to_be_disabled()
    page.close()


def test_it_is_used_from_the_keyboard_alone(page: Page) -> None:
    page.focus("#files")
    seen = []
    for _ in range(5):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id"))
    assert seen == ["camera", "sample", "model", "compare", "cropped"]
    page.focus("#sample")
    page.keyboard.press("Enter")
    expect(page.locator(".card .faces button")).to_have_count(3)
    page.focus("#clear")
    page.keyboard.press("Enter")
    expect(page.locator(".card")).to_have_count(0)
    assert page.evaluate("document.activeElement.id") == "files", "the focus is lost"
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select")].filter((e) =>
            !(e.textContent.trim() || e.labels?.length || e.getAttribute("aria-label"))).map((e) => e.outerHTML)"""
    )
    assert not unnamed
