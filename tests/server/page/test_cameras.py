"""The camera on the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from page import saved, saved_rows, saved_table
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.xdist_group("browser")


def test_the_camera_is_read_frame_after_frame_and_its_results_are_saved(page: Page, artifacts: Path) -> None:
    page.click("#camera")
    expect(page.locator("#rate")).to_contain_text("per second")
    expect(page.locator("#stage .bars li")).to_have_count(7)
    expect(page.locator("#csv")).to_have_text("Download CSV (the camera is on)")
    page.screenshot(path=artifacts / "camera.png")
    before = saved_rows(page)
    assert before
    page.click("text=Stop the camera")
    expect(page.locator("#status")).to_contain_text("The camera is off")
    expect(page.locator("#csv")).to_have_text("Download CSV")
    rows = saved_rows(page)
    assert len(rows) >= max(2, len(before))
    times = [row["timestamp"] for row in rows]
    assert times == sorted(times)
    assert all(face["track"] >= 1 for row in rows for face in row["faces"])
    lines = saved_table(page)
    assert len(lines) == sum(max(1, len(row["faces"])) for row in rows)
    assert {line["source"] for line in lines} == {"camera"}
    assert re.fullmatch(r"moue-\d{4}-\d\d-\d\d-\d{4}\.csv", saved(page, "#csv").suggested_filename)
    expect(page.locator(".card .people tbody tr").first).to_be_visible()
    expect(page.locator("#table")).to_contain_text("person 1")


def test_clear_stops_the_camera(page: Page) -> None:
    page.click("#camera")
    expect(page.locator("#rate")).to_contain_text("per second")
    page.click("#clear")
    expect(page.locator("#stage")).to_be_hidden()
    expect(page.locator("#tools")).to_be_hidden()
    expect(page.locator(".card")).to_have_count(0)


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


def test_a_camera_whose_image_cannot_be_shown_is_turned_off(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.add_init_script(
        """
        const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (constraints) => (window.stream = await real(constraints));
        HTMLMediaElement.prototype.play = async () => { throw new Error("no decoder"); };
        """
    )
    page.goto(address)
    expect(page.locator("#model option").nth(1)).to_be_attached()
    page.click("#camera")
    expect(page.locator("#errors")).to_contain_text("The image of the camera cannot be shown: no decoder.")
    assert page.evaluate("stream.getTracks().map((track) => track.readyState)") == ["ended"]
    expect(page.locator("#tools")).to_be_hidden()
    page.close()


def test_a_person_is_followed_in_both_models_whatever_number_each_gives_them(page: Page) -> None:
    chosen = page.evaluate(
        """async () => {
            const { Camera } = await import("./camera.js");
            const place = document.createElement("div");
            const stage = { setStatus() {}, stage: place, onstart() {}, onend() {}, onerror() {} };
            const camera = new Camera(["a", "b"], ["calm", "happy"], "", stage);
            const probabilities = { calm: 0.6, happy: 0.4 };
            const face = (track, x) => ({ track, box: [x, 10, 40, 40], label: "calm", probabilities });
            const row = (faces, timestamp) => ({ status: "ok", width: 200, height: 100, timestamp, faces });
            const frame = Object.assign(document.createElement("canvas"), { width: 200, height: 100 });
            const [left, right] = [10, 120];
            const show = (timestamp) => {
                camera.show(0, row([face(1, left), face(2, right)], timestamp), frame);
                camera.show(1, row([face(1, right), face(2, left)], timestamp), frame);
            };
            show(0);
            camera.panels[0].buttons.children[1].click();
            show(0.1);
            const chosen = camera.panels.map((panel) => panel.buttons.querySelector("[aria-pressed=true]"));
            return chosen.map((button) => button.textContent.slice(0, 8));
        }"""
    )
    assert chosen == ["Person 2", "Person 1"]


def test_the_page_says_where_browsers_refuse_the_camera(browser: Browser, address: str) -> None:
    page = browser.new_page()
    # As for a page that came over plain HTTP from another machine.
    page.add_init_script("Object.defineProperty(window, 'isSecureContext', { value: false })")
    page.goto(address)
    expect(page.locator("#insecure")).to_contain_text("over HTTPS")
    expect(page.locator("#camera")).to_be_disabled()
    page.close()
