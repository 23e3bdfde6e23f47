"""Many files at a time: progress, files that cannot be read, a busy server, and stopping all of it."""

from __future__ import annotations

import re
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from page import HeldRequests, photo, saved, saved_rows, saved_table, unreadable
from playwright.sync_api import Browser, Page, Route, expect
from videos import make_video, walking_face

from moue.labels import FER2013
from moue.runtime.outputs.dataframe import COLUMNS
from moue.server import jobs

pytestmark = pytest.mark.xdist_group("browser")
CLEAR = "document.getElementById('clear').click()"
NAMES = ["a.jpg", "b.jpg", "c.jpg"]


def test_the_downloads_say_that_a_batch_is_not_complete(page: Page) -> None:
    held = HeldRequests(page, free=1)
    page.set_input_files("#files", [photo(name) for name in NAMES])
    expect(page.locator("#csv")).to_have_text("Download CSV (1 of 3 files read so far)")
    expect(page.locator("#count")).to_have_text("1 of 3 files read")
    expect(page.locator("#announced")).to_have_text("1 of 3 files read")
    # No other number than that.
    expect(page.locator("#status")).to_have_text("Reading files …")
    assert page.locator("#bar").evaluate("bar => [bar.value, bar.max]") == [1, 3]
    assert [row["source"] for row in saved_rows(page)] == ["a.jpg"]
    held.let_go()
    expect(page.locator("#status")).to_have_text("3 files read.")
    expect(page.locator("#csv")).to_have_text("Download CSV")
    expect(page.locator("#progress")).to_be_hidden()
    assert [row["source"] for row in saved_rows(page)] == NAMES


def test_names_are_in_the_files_as_they_are(page: Page) -> None:
    name = 'grüße, "zwei" %22.jpg'
    page.set_input_files("#files", [photo(name), unreadable('"no".jpg')])
    expect(page.locator("#status")).to_have_text("1 of 2 files read.")
    assert [row["source"] for row in saved_rows(page)] == [name, '"no".jpg']
    assert [row["source"] for row in saved_table(page)] == [name, '"no".jpg']


def test_files_that_are_added_meanwhile_wait_for_their_turn(page: Page) -> None:
    held = HeldRequests(page, free=1)
    page.set_input_files("#files", [photo(name) for name in NAMES[:2]])
    expect(page.locator("#count")).to_have_text("1 of 2 files read")
    page.set_input_files("#files", photo("c.jpg"))
    expect(page.locator("#count")).to_have_text("1 of 3 files read")
    held.let_go()
    expect(page.locator("#status")).to_have_text("3 files read.")
    assert [row["source"] for row in saved_rows(page)] == NAMES


def test_clear_stops_the_upload_and_forgets_the_queue(page: Page) -> None:
    held = HeldRequests(page, free=1)
    page.set_input_files("#files", [photo(name) for name in NAMES])
    expect(page.locator("#count")).to_have_text("1 of 3 files read")
    with page.expect_event("requestfailed", lambda request: "/v1/faces" in request.url):
        page.click("#clear")
    held.free = 1_000_000
    for gone in ("#tools", "#progress", ".card", ".error", "#table table"):
        expect(page.locator(gone)).not_to_be_visible()
    expect(page.locator("#status")).to_have_text("")
    page.set_input_files("#files", photo("later.jpg"))
    expect(page.locator("#status")).to_contain_text("later.jpg: 1 face")
    assert [row["source"] for row in saved_rows(page)] == ["later.jpg"]


def test_clear_ends_a_film_that_is_read_and_those_that_wait(page: Page, address: str, tmp_path: Path) -> None:
    paths = [make_video(tmp_path / f"{i}.mp4", [walking_face(k) for k in range(150)]) for i in range(2)]
    page.set_input_files("#files", paths)
    expect(page.locator(".film .count")).to_contain_text(" of 150 frames")
    with page.expect_response(lambda response: response.request.method == "DELETE"):
        page.evaluate(CLEAR)
    assert "moue_video_jobs 0.0" in page.request.get(f"{address}metrics").text()
    expect(page.locator(".film")).to_have_count(0)
    page.set_input_files("#files", photo("later.jpg"))
    expect(page.locator("#status")).to_contain_text("later.jpg: 1 face")
    assert [row["source"] for row in saved_rows(page)] == ["later.jpg"]


def test_clear_deletes_a_film_that_the_server_has_but_not_confirmed(
    page: Page, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, answer = threading.Event(), threading.Event()
    open_upload = jobs.open_upload

    def held(*arguments: Any) -> Any:
        arrived.set()
        assert answer.wait(60)
        return open_upload(*arguments)

    monkeypatch.setattr("moue.server.videos.open_upload", held)
    page.set_input_files("#files", make_video(tmp_path / "clip.mp4", [walking_face(k) for k in range(150)]))
    expect(page.locator(".film .count")).to_have_text("sent")
    assert arrived.wait(60)
    page.evaluate(CLEAR)
    expect(page.locator("#tools")).to_be_hidden()
    with page.expect_response(lambda response: response.request.method == "DELETE"):
        answer.set()
    assert "moue_video_jobs 0.0" in page.request.get(f"{address}metrics").text()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(page: Page, status: int) -> None:
    rejected: list[Route] = []

    def respond(route: Route) -> None:
        if len(rejected) < 3:
            rejected.append(route)
            route.fulfill(status=status, headers={"Retry-After": "1"}, json={"detail": "the server is busy"})
        else:
            route.continue_()

    page.route("**/v1/faces**", respond)
    page.set_input_files("#files", photo("a.jpg"))
    expect(page.locator("#status")).to_have_text("The server is busy: trying again …")
    expect(page.locator("#status")).to_contain_text("a.jpg: 1 face")
    assert len(rejected) == 3
    expect(page.locator(".error")).to_have_count(0)


def test_clear_ends_the_wait_for_a_busy_server(page: Page) -> None:
    page.route("**/v1/faces**", lambda route: route.fulfill(status=429, headers={"Retry-After": "100"}))
    page.set_input_files("#files", photo("a.jpg"))
    expect(page.locator("#status")).to_have_text("The server is busy: trying again …")
    page.click("#clear")
    expect(page.locator("#tools")).to_be_hidden()
    page.unroute_all()
    page.set_input_files("#files", photo("b.jpg"))
    expect(page.locator("#status")).to_contain_text("b.jpg: 1 face")


def test_files_that_fail_in_the_end_are_named_and_are_rows(page: Page) -> None:
    def respond(route: Route) -> None:
        if b'"b.jpg"' in (route.request.post_data_buffer or b""):
            # Longer than anybody waits.
            route.fulfill(status=503, headers={"Retry-After": "100000"}, json={"detail": "no result in time"})
        else:
            route.continue_()

    page.route("**/v1/faces**", respond)
    page.set_input_files("#files", [photo("a.jpg"), photo("b.jpg"), unreadable("notes.png"), photo("c.jpg")])
    expect(page.locator("#status")).to_have_text("2 of 4 files read.")
    expect(page.locator(".error")).to_contain_text("2 of 4 files could not be read: b.jpg, notes.png.")
    shown = page.locator("#table tbody tr")
    expect(shown).to_have_count(4)
    expect(shown.nth(1)).to_contain_text("could not be readNo result in time")
    expect(shown.nth(2)).to_contain_text("could not be readnot an image of a known format")
    lines = saved_table(page)
    assert [(line["source"], line["status"]) for line in lines] == [
        *[("a.jpg", "ok"), ("b.jpg", "busy"), ("notes.png", "unreadable"), ("c.jpg", "ok")]
    ]
    assert "not an image" in lines[2]["reason"]
    assert lines[1]["label"] == lines[2]["label"] == lines[2]["face"] == ""


def test_the_csv_has_the_columns_of_the_command_line_even_without_faces(page: Page) -> None:
    page.set_input_files("#files", unreadable("notes.png"))
    expect(page.locator("#errors")).to_contain_text("notes.png: not an image of a known format.")
    assert list(saved_table(page)[0]) == [*COLUMNS, *FER2013.labels]


@pytest.mark.parametrize(("button", "ending"), [("#csv", "csv"), ("#json", "json")])
def test_files_have_the_date_in_their_names(page: Page, button: str, ending: str) -> None:
    page.set_input_files("#files", photo("a.jpg"))
    expect(page.locator("#status")).to_contain_text("a.jpg: 1 face")
    before = datetime.now()
    name = saved(page, button).suggested_filename
    assert re.fullmatch(rf"moue-\d{{4}}-\d\d-\d\d-\d{{4}}\.{ending}", name)
    assert name.removesuffix(f".{ending}") in {f"moue-{time:%Y-%m-%d-%H%M}" for time in (before, datetime.now())}


def test_changing_the_model_offers_to_read_again(page: Page) -> None:
    page.set_input_files("#files", [photo("a.jpg"), photo("b.jpg")])
    expect(page.locator("#status")).to_have_text("2 files read.")
    page.select_option("#model", "tiny_doubtful")
    expect(page.locator("#about")).to_contain_text("7 expressions: angry")
    page.click("text=Read the 2 files again with tiny_doubtful")
    expect(page.locator("#again")).to_be_hidden()
    expect(page.locator("#table tbody tr").first).to_contain_text("tiny_doubtful")
    expect(page.locator("#status")).to_have_text("2 files read.")
    assert [(row["source"], row["model"]) for row in saved_rows(page)] == [
        *[("a.jpg", "tiny_doubtful"), ("b.jpg", "tiny_doubtful")]
    ]
    expect(page.locator(".card")).to_have_count(2)


def test_it_works_below_a_prefix(browser: Browser, address: str) -> None:
    """As behind a proxy that serves it at https://example.org/faces/."""
    asked: list[str] = []

    def respond(route: Route) -> None:
        route.continue_(url=route.request.url.replace("/faces-of/", "/"))

    other = browser.new_page()
    other.on("request", lambda request: asked.append(request.url))
    other.route("**/faces-of/**", respond)
    other.goto(f"{address}faces-of/")
    expect(other.locator("#model option").nth(1)).to_be_attached()
    other.set_input_files("#files", photo("a.jpg"))
    expect(other.locator("#status")).to_contain_text("a.jpg: 1 face")
    assert all("/faces-of/" in url or url.startswith("blob:") for url in asked)
    other.close()


def test_a_dropped_folder_is_read_with_what_is_in_it(page: Page) -> None:
    """What browsers give for a folder: entries, which themselves have to be asked for, some at a time."""
    page.evaluate(
        """async () => {
            const { droppedFiles } = await import("/drop.js");
            const file = (name) => ({ name, file: (done) => done(new File(["x"], name)) });
            const folder = (name, ...parts) => ({ name, isDirectory: true, createReader: () => (
                { readEntries: (done) => done(parts.shift() ?? []) }) });
            const entries = [
                file("chosen.xyz"),
                folder("holiday", [file("1.jpg"), folder("sea", [file("2.HEIC")])], [file("notes.txt"), file("3.mp4")]),
            ];
            const items = entries.map((entry) => ({ webkitGetAsEntry: () => entry }));
            const { files, skipped } = await droppedFiles({ items, files: [] });
            window.dropped = [files.map((f) => f.name), skipped];
        }"""
    )
    assert page.evaluate("dropped") == [["chosen.xyz", "1.jpg", "2.HEIC", "3.mp4"], 1]


def test_dropped_files_are_read(page: Page) -> None:
    page.evaluate(
        """(bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", { type: "image/jpeg" }));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
        }""",
        list(photo("dropped.jpg")["buffer"]),
    )
    expect(page.locator("#status")).to_contain_text("dropped.jpg: 1 face")
