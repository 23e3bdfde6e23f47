"""Photos on the page: boxes, bars, the table, and a second model beside the first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from page import saved, saved_rows, saved_table, two_people, unreadable
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, Route, expect
from skimage import data
from uploads import encoded

pytestmark = pytest.mark.xdist_group("browser")


def test_a_chosen_photo_is_shown_with_its_face_and_seven_bars(page: Page, astronaut: FilePayload) -> None:
    page.set_input_files("#files", astronaut)
    expect(page.locator("#status")).to_contain_text("astronaut.png: 1 face")
    expect(page.locator(".bars li")).to_have_count(7)
    canvas = page.locator(".card canvas")
    assert canvas.evaluate("c => [c.width, c.height]") == [512, 512]
    assert "1 face" in (canvas.get_attribute("aria-label") or "")
    [row] = saved_rows(page)
    assert (row["source"], row["model"], row["status"]) == ("astronaut.png", "tiny_random", "ok")
    [face] = row["faces"]
    [line] = saved_table(page)
    assert (line["face"], line["label"], line["uncertain"]) == ("1", face["label"], str(face["uncertain"]))
    assert [float(line[k]) for k in "xywh"] == face["box"]
    assert {label: float(line[label]) for label in face["probabilities"]} == face["probabilities"]


def test_the_saved_image_has_its_full_size_and_the_marks(page: Page) -> None:
    large = Image.fromarray(data.astronaut()).resize((1600, 1600))
    content = encoded(large, "JPEG", quality=85)
    page.set_input_files("#files", {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": content})
    expect(page.locator("#status")).to_contain_text("large.jpg: 1 face")
    # Shown smaller: hundreds of photos must not fill the memory.
    assert page.locator(".card canvas").evaluate("c => c.width") == 1280
    download = saved(page, "text=Download PNG")
    assert download.suggested_filename == "large-moue.png"
    drawn = Image.open(download.path()).convert("RGB")
    assert drawn.size == (1600, 1600)
    assert (np.abs(np.asarray(drawn).astype(int) - np.asarray(large)).sum(axis=2) > 90).mean() > 0.005


def test_a_pasted_image_is_read(page: Page) -> None:
    page.evaluate(
        """async (bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }""",
        list(encoded(Image.fromarray(data.astronaut()), "JPEG")),
    )
    expect(page.locator("#status")).to_contain_text("pasted.png: 1 face")


def test_faces_are_numbered_from_left_to_right_and_as_in_the_table(page: Page) -> None:
    page.set_input_files("#files", two_people())
    expect(page.locator("#status")).to_contain_text("two.png: 2 faces")
    [row] = saved_rows(page)
    left, right = row["faces"]
    assert left["box"][0] < right["box"][0]
    for i, face in enumerate((left, right)):
        expect(page.locator(".faces button").nth(i)).to_contain_text(f"Face {i + 1}: {face['label']}")
        cells = page.locator("#table tbody tr").nth(i).locator("td")
        expect(cells.nth(1)).to_have_text(str(i + 1))
        expect(cells.nth(2)).to_contain_text(face["label"])
    assert [(line["face"], line["label"]) for line in saved_table(page)] == [
        *[("1", left["label"]), ("2", right["label"])]
    ]


def test_two_models_are_shown_side_by_side(page: Page) -> None:
    page.select_option("#compare", "tiny_doubtful")
    page.set_input_files("#files", two_people())
    expect(page.locator(".card.compare .result h3")).to_have_text(["tiny_random", "tiny_doubtful"])
    expect(page.locator(".result").first.locator(".faces button")).to_have_count(2)
    second = page.locator(".result").last.locator(".faces button").nth(1)
    second.focus()
    page.keyboard.press("Enter")
    expect(second).to_have_attribute("aria-pressed", "true")


def test_errors_are_shown_as_messages(page: Page, astronaut: FilePayload) -> None:
    page.set_input_files("#files", unreadable("notes.png"))
    expect(page.locator("#errors")).to_contain_text("notes.png: not an image of a known format.")
    page.set_input_files("#files", {"name": "huge.png", "mimeType": "image/png", "buffer": bytes(3_000_000)})
    expect(page.locator("#errors")).to_contain_text("huge.png: too large: 3 MB; this server takes 2 MB.")
    playlist = b"#EXTM3U\n/etc/passwd\n" * 9
    page.set_input_files("#files", {"name": "clip.mp4", "mimeType": "video/mp4", "buffer": playlist})
    expect(page.locator("#errors")).to_contain_text("clip.mp4: not a video of a kind that is known here")
    expect(page.locator(".film")).to_have_count(0)
    page.set_input_files("#files", astronaut)
    expect(page.locator("#status")).to_contain_text("1 face")
    expect(page.locator(".error")).to_have_count(0)
    assert [row["status"] for row in saved_rows(page)] == ["unreadable", "too_large", "unreadable", "ok"]


def test_the_results_of_two_models_are_matched_by_position(page: Page) -> None:
    here, there, away = ({"box": box} for box in ([10, 10, 40, 40], [200, 20, 40, 50], [400, 300, 30, 30]))
    other = {"faces": [{"box": [204, 24, 38, 46]}, {"box": [12, 11, 40, 42]}]}
    script = """async ([faces, row]) => {
        const { matchingFace } = await import("/drawing.js");
        return faces.map((face) => matchingFace(face, row));
    }"""
    assert page.evaluate(script, [[here, there, away], other]) == [other["faces"][1], other["faces"][0], None]


def test_a_click_on_a_face_of_the_photo_selects_it(page: Page) -> None:
    page.set_viewport_size({"width": 1200, "height": 500})
    page.set_input_files("#files", two_people())
    buttons = page.locator(".faces button")
    expect(buttons).to_have_count(2)
    [row] = saved_rows(page)
    # The photo is shown whole, hence in the middle of its element.
    scale, left, top = page.locator(".card canvas").evaluate(
        """canvas => {
            const scale = Math.min(canvas.clientWidth / canvas.width, canvas.clientHeight / canvas.height);
            const [width, height] = [canvas.width * scale, canvas.height * scale];
            return [scale, (canvas.clientWidth - width) / 2, (canvas.clientHeight - height) / 2];
        }"""
    )
    for selected in (1, 0):
        x, y, w, h = row["faces"][selected]["box"]
        at = {"x": left + (x + w / 2) * scale, "y": top + (y + h / 2) * scale}
        page.locator(".card canvas").click(position=at)  # type: ignore[arg-type]
        expect(buttons.nth(selected)).to_have_attribute("aria-pressed", "true")
        expect(buttons.nth(1 - selected)).to_have_attribute("aria-pressed", "false")


def require_token(route: Route) -> None:
    """A server whose token is "right"."""
    if route.request.headers.get("authorization") == "Bearer right":
        route.fallback()
    else:
        route.fulfill(status=401, json={"detail": "this needs the server's token"})


def test_a_token_is_asked_for_until_it_is_right(browser: Browser, address: str, astronaut: FilePayload) -> None:
    page = browser.new_page()
    page.route("**/v1/faces**", require_token)
    page.goto(address)
    expect(page.locator("#model option").nth(1)).to_be_attached()
    page.select_option("#compare", "tiny_doubtful")
    page.set_input_files("#files", astronaut)
    expect(page.locator("#login-reason")).to_contain_text("This server needs its token")
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#login-reason")).to_have_text("That is not the token of this server. Try again.")
    page.fill("#token", "right")
    page.keyboard.press("Enter")
    expect(page.locator(".card.compare .result h3")).to_have_count(2)
    expect(page.locator(".error")).to_have_count(0)
    page.close()


def test_a_file_s_name_in_the_table_leads_to_its_card(page: Page, astronaut: FilePayload, artifacts: Path) -> None:
    page.set_input_files("#files", astronaut)
    expect(page.locator("#table a")).to_have_text("astronaut.png")
    target = page.locator("#table a").get_attribute("href") or ""
    expect(page.locator(f"article{target} h2")).to_have_text("astronaut.png")


def test_a_page_whose_token_was_not_given_is_complete_once_it_is(
    browser: Browser, address: str, astronaut: FilePayload
) -> None:
    page = browser.new_page()
    page.route("**/v1/**", require_token)
    page.goto(address)
    page.fill("#token", "right")
    page.keyboard.press("Escape")
    expect(page.locator("#errors")).to_contain_text("This server needs a token.")
    expect(page.locator("#model option")).to_have_count(0)
    page.set_input_files("#files", astronaut)
    expect(page.locator("#token")).to_have_value("")
    page.fill("#token", "right")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("astronaut.png: 1 face")
    names = page.locator("#model option").all_text_contents()
    assert len(set(names)) == len(names) > 1
    assert page.locator("#compare option").all_text_contents() == ["none", *names]
    [line] = saved_table(page)
    assert float(line[line["label"]]) > 0
    page.close()
