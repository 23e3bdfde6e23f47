"""Films on the page: progress, the timeline with its axes and values, people, and how often they are read."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page import saved, saved_rows, saved_table
from playwright.sync_api import Browser, Page, Route, expect
from videos import make_video, walking_face

from moue.cli.main import main
from moue.labels import FER2013
from moue.server.jobs import Job, JobQueue

pytestmark = pytest.mark.xdist_group("browser")
TEXTS = """() => {
    window.texts = [];
    const real = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
        if (this.canvas.getAttribute("role") === "slider") window.texts.push(text);
        return real.call(this, text, ...rest);
    };
}"""

STROKES = """() => {
    window.strokes = [];
    const real = CanvasRenderingContext2D.prototype.stroke;
    CanvasRenderingContext2D.prototype.stroke = function (...path) {
        window.strokes.push(this.strokeStyle);
        return real.apply(this, path);
    };
}"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds."""
    return make_video(tmp_path_factory.mktemp("films") / "clip.mp4", [walking_face(i) for i in range(25)] * 2)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("films") / "long.mp4", [walking_face(i) for i in range(150)])


def read(page: Page, path: Path, frames: int) -> None:
    page.set_input_files("#files", path)
    expect(page.locator("#status")).to_have_text(f"{path.name}: {frames} frames read.")


def test_a_film_is_read_with_progress_and_plays_annotated(page: Page, clip: Path) -> None:
    read(page, clip, 50)
    shown = page.locator(".film video")
    loaded = "v => v.readyState || new Promise((done) => v.addEventListener('loadedmetadata', done, { once: true }))"
    assert shown.evaluate(f"async (v) => {{ await ({loaded})(v); return Math.abs(v.duration - 2) < 0.1; }}")
    expect(page.locator(".film .legend li")).to_have_count(7)


def test_the_timeline_has_axes_with_seconds_and_percent(page: Page, clip: Path) -> None:
    page.evaluate(TEXTS)
    read(page, clip, 50)
    expect(page.locator(".film video")).to_be_visible()
    texts = set(page.evaluate("texts"))
    assert {"0 %", "50 %", "100 %"} <= texts
    assert {"0.0 s", "1.0 s", "2.0 s"} <= texts


def shown_values(page: Page) -> dict[str, str]:
    """The values beside the legend's labels."""
    values: dict[str, str] = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll(".legend li")].map(
            (li) => [li.childNodes[1].textContent, li.querySelector(".value").textContent]))"""
    )
    return values


def as_shown(face: dict[str, Any]) -> dict[str, str]:
    # As JavaScript rounds; a network is never certain.
    return {label: f"{100 if p == 1 else min(99, int(100 * p + 0.5))} %" for label, p in face["probabilities"].items()}


def test_the_timeline_shows_the_values_under_the_pointer_and_seeks(page: Page, clip: Path) -> None:
    read(page, clip, 50)
    rows = saved_rows(page)
    canvas = page.locator(".film .timeline canvas")
    width = canvas.evaluate("c => c.clientWidth")
    canvas.hover(position={"x": width / 4, "y": 60})
    expect(page.locator(".readout")).to_contain_text("at 0.")
    seconds = float(canvas.get_attribute("aria-valuenow") or "nan")
    [row] = [row for row in rows if abs(row["timestamp"] - seconds) < 0.006]
    assert shown_values(page) == as_shown(row["faces"][0])
    canvas.click(position={"x": width / 4, "y": 60})
    shown = page.locator(".film video")
    shown.evaluate("v => !v.seeking || new Promise((done) => v.addEventListener('seeked', done, { once: true }))")
    assert shown.evaluate("v => v.currentTime") == pytest.approx(row["timestamp"], abs=0.01)
    page.locator("h1").hover()
    expect(page.locator(".readout")).to_have_text("")


def test_the_timeline_is_read_with_the_keyboard(page: Page, clip: Path) -> None:
    read(page, clip, 50)
    rows = saved_rows(page)
    canvas = page.locator(".film .timeline canvas")
    canvas.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert shown_values(page) == as_shown(rows[2]["faces"][0])
    text = canvas.get_attribute("aria-valuetext") or ""
    assert text.startswith("0.1 s: ")
    assert rows[2]["faces"][0]["label"] in text
    page.keyboard.press("End")
    expect(page.locator(".readout")).to_contain_text("at 2.0 s")


def test_a_finger_shows_the_values_and_they_stay(browser: Browser, address: str, clip: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True)
    page.goto(address)
    expect(page.locator("#model option").nth(1)).to_be_attached()
    read(page, clip, 50)
    page.locator(".film .timeline canvas").tap(position={"x": 120, "y": 60})
    expect(page.locator(".readout")).to_contain_text("at 0.")
    assert all(shown_values(page).values())
    page.close()


def test_people_are_summarized_and_saved(page: Page, clip: Path) -> None:
    read(page, clip, 50)
    rows = saved_rows(page)
    # Those of several films can be told apart.
    assert saved(page, "text=Download CSV of the people").suggested_filename.startswith("clip-people-")
    people = saved_table(page, "text=Download CSV of the people")
    first = people[0]
    expect(page.locator("#table tbody tr td:nth-child(3)").first).to_have_text(
        f"mostly {first['label']}, mean {int(float(first[first['label']]) * 100 + 0.5)} %"
    )
    labels = FER2013.labels
    assert list(people[0]) == [
        *("source", "track", "start", "end", "seconds", "frames", "label"),
        *labels,
        *(f"{label}_share" for label in labels),
        "uncertain_share",
    ]
    tracks = list(dict.fromkeys(face["track"] for row in rows for face in row["faces"]))
    assert [int(person["track"]) for person in people] == tracks
    expect(page.locator(".people tbody tr")).to_have_count(len(tracks))
    for person in people:
        seen = [(row, f) for row in rows for f in row["faces"] if f["track"] == int(person["track"])]
        faces = [face for _, face in seen]
        assert (float(person["start"]), float(person["end"])) == (seen[0][0]["timestamp"], seen[-1][0]["timestamp"])
        assert int(person["frames"]) == len(faces)
        for label in labels:
            mean = sum(face["probabilities"][label] for face in faces) / len(faces)
            assert float(person[label]) == pytest.approx(mean, abs=1e-5)
            share = sum(face["label"] == label for face in faces) / len(faces)
            assert float(person[f"{label}_share"]) == pytest.approx(share, abs=1e-5)
        uncertain = sum(face["uncertain"] for face in faces) / len(faces)
        assert float(person["uncertain_share"]) == pytest.approx(uncertain, abs=1e-5)


def test_people_and_rows_are_those_of_the_command_line(page: Page, clip: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    command = ["predict", str(clip), "--model", str(tiny_onnx), "--out", str(tmp_path / "out"), "--format", "csv"]
    assert main(command) == 0
    read(page, clip, 50)
    assert_same_table(saved_table(page, "text=Download CSV of the people"), tmp_path / "out" / "people.csv")
    assert_same_table(saved_table(page), tmp_path / "out" / "clip.csv")


def assert_same_table(page_rows: list[dict[str, str]], path: Path) -> None:
    """Numbers as far as the API gives their digits; a source is a name here and a path there."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [list(row) for row in page_rows] == [list(row) for row in rows]
    for ours, theirs in zip(page_rows, rows, strict=True):
        for name, value in theirs.items():
            if name == "source":
                assert Path(value).name == ours[name]
            elif value.replace(".", "").isdecimal():
                assert float(ours[name]) == pytest.approx(float(value), abs=2e-5), name
            else:
                assert ours[name] == value, name


def test_a_film_without_faces_has_no_timeline(page: Page, tmp_path: Path) -> None:
    read(page, make_video(tmp_path / "empty.mp4", [walking_face(0) * 0] * 5), 5)
    expect(page.locator(".film .note")).to_have_text("No face was found.")
    expect(page.locator(".timeline")).to_be_hidden()
    expect(page.locator(".people")).to_have_count(0)


def test_closing_the_page_ends_its_films(
    browser: Browser, address: str, long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = threading.Event()
    remove = JobQueue.remove

    def observed(queue: JobQueue, job: Job) -> None:
        remove(queue, job)
        if job.name == long.name:
            removed.set()

    monkeypatch.setattr(JobQueue, "remove", observed)
    page = browser.new_page()
    page.goto(address)
    expect(page.locator("#model option").nth(1)).to_be_attached()
    page.set_input_files("#files", long)
    expect(page.locator(".film .count")).to_contain_text(" of 150 frames")
    page.goto("about:blank")
    assert removed.wait(60)
    page.close()


def test_the_timeline_shows_the_person_that_is_chosen_in_the_table(page: Page, tmp_path: Path) -> None:
    # The face leaves and another one enters: two tracks.
    empty = walking_face(0) * 0
    frames = [*[walking_face(0)] * 10, *[empty] * 60, *[walking_face(25)] * 10]
    read(page, make_video(tmp_path / "two.mp4", frames), 80)
    buttons = page.locator(".people td button")
    expect(buttons).to_have_count(2)
    buttons.nth(1).click()
    expect(page.locator(".film .faces button")).to_contain_text("Person 2")
    canvas = page.locator(".film .timeline canvas")
    canvas.focus()
    page.keyboard.press("End")
    assert all(shown_values(page).values())
    page.keyboard.press("Home")
    expect(page.locator(".readout")).to_contain_text("not in view")


def test_fewer_frames_a_second_are_read_on_demand(page: Page, clip: Path) -> None:
    page.select_option("#fps", "5")
    page.set_input_files("#files", clip)
    expect(page.locator("#status")).to_have_text("clip.mp4: 10 frames read.")
    times = [row["timestamp"] for row in saved_rows(page)]
    assert times == pytest.approx([i / 5 for i in range(10)], abs=0.05)


def test_two_models_read_a_film_side_by_side(page: Page, clip: Path) -> None:
    page.select_option("#compare", "tiny_doubtful")
    read(page, clip, 50)
    expect(page.locator(".film .result h3")).to_have_text(["tiny_random", "tiny_doubtful"])
    expect(page.locator(".film figcaption")).to_have_count(2)
    rows = saved_rows(page)
    assert [row["model"] for row in rows] == ["tiny_random"] * 50 + ["tiny_doubtful"] * 50
    assert [row["frame"] for row in rows] == [*range(50)] * 2
    tops = [max(row["faces"][0]["probabilities"].values()) for row in (rows[0], rows[50])]
    assert tops[0] > tops[1]
    people = saved_table(page, "text=Download CSV of the people")
    assert {person["model"] for person in people} == {"tiny_random", "tiny_doubtful"}


def test_a_film_can_be_cancelled_and_the_next_one_is_read(page: Page, address: str, long: Path, clip: Path) -> None:
    page.set_input_files("#files", [long, clip])
    expect(page.locator(".film .count")).to_contain_text(" of 150 frames")
    page.click("text=Cancel")
    expect(page.locator("#status")).to_have_text("2 files read.")
    expect(page.locator(".film h2")).to_have_text("clip.mp4")
    assert {row["source"] for row in saved_rows(page)} == {"clip.mp4"}
    assert "moue_video_jobs 0.0" in page.request.get(f"{address}metrics").text()


def test_a_damaged_film_keeps_the_rows_before_the_damage(page: Page, clip: Path) -> None:
    """The job fails after some rows: they are kept, and a row says why there are no more."""
    row = {"source": "clip.mp4", "model": "tiny_random", "status": "no_face", "reason": None, "frame": 0}
    job = {"id": "x", "status": "failed", "reason": "reading took longer than 3600 s.", "frames": 1, "total": 50}

    def respond(route: Route) -> None:
        line = json.dumps(row | {"timestamp": 0, "width": 320, "height": 240, "faces": []}) + "\n"
        content = line if "start=0" in route.request.url else ""
        rows = "/rows" in route.request.url
        route.fulfill(status=202, body=content if rows else json.dumps(job | {"rows": 1, "annotated": False}))

    page.route("**/v1/videos**", respond)
    page.set_input_files("#files", clip)
    expect(page.locator(".error")).to_contain_text("clip.mp4: reading took longer than 3600 s.")
    assert [(row["status"], row["reason"]) for row in saved_rows(page)] == [
        *[("no_face", None), ("unreadable", "reading took longer than 3600 s.")]
    ]


def test_a_film_of_hours_has_all_its_rows(page: Page, clip: Path) -> None:
    many = 200_000
    row = '{"source":"clip.mp4","status":"no_face","frame":0,"timestamp":0,"faces":[]}\n'
    job = {"id": "x", "status": "done", "frames": many, "total": many, "rows": many, "annotated": False}

    def respond(route: Route) -> None:
        rows = "/rows" in route.request.url
        route.fulfill(status=202, body=row * many if rows else json.dumps(job))

    page.route("**/v1/videos**", respond)
    page.set_input_files("#files", clip)
    expect(page.locator("#status")).to_have_text(f"clip.mp4: {many:,} frames read.")
    expect(page.locator("#tools")).to_be_visible()
    expect(page.locator(".error")).to_have_count(0)


def relative_luminance(channels: Iterator[float]) -> float:
    """WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """Of two colors as computed styles give them: rgb(1, 2, 3)."""
    low, high = sorted(relative_luminance(int(c) / 255 for c in color[4:-1].split(",")) for color in (a, b))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_and_bars_stand_out_from_their_ground(page: Page, clip: Path, scheme: str) -> None:
    read(page, clip, 50)
    page.evaluate(STROKES)
    # Changed while the film is shown: everything follows, before the next frame but one.
    for changed in ({"light": "dark", "dark": "light"}[scheme], scheme):
        page.evaluate("window.strokes = []")
        page.emulate_media(color_scheme=changed)  # type: ignore[arg-type]
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    ground = page.locator(".film").evaluate("c => getComputedStyle(c).backgroundColor")
    found = page.evaluate(
        """() => Object.entries({ line: "borderTopColor", fill: "backgroundColor", dot: "backgroundColor" }).flatMap(
            ([name, style]) => [...document.querySelectorAll(`.film .${name}`)].map(
                (node) => [name, getComputedStyle(node)[style]]))"""
    )
    assert {name for name, _ in found} == {"line", "fill", "dot"}
    for name, color in found:
        assert contrast(color, ground) >= 3, (name, color, ground)
    lines = [color for name, color in found if name == "line"]
    assert len(set(lines)) == len(lines) == 7
    # The canvas has the legend's colors.
    drawn = set(page.evaluate("strokes"))
    assert {"#{:02x}{:02x}{:02x}".format(*map(int, line[4:-1].split(","))) for line in lines} <= drawn


def test_a_film_that_is_cleared_is_freed(page: Page, clip: Path) -> None:
    read(page, clip, 50)
    inspector = page.context.new_cdp_session(page)
    source = {"expression": "import('/timeline.js').then((m) => m.Timeline.prototype)", "awaitPromise": True}
    prototype = inspector.send("Runtime.evaluate", source)["result"]["objectId"]

    def timelines() -> int:
        found = inspector.send("Runtime.queryObjects", {"prototypeObjectId": prototype})["objects"]["objectId"]
        count = {"objectId": found, "functionDeclaration": "function () { return this.length; }", "returnByValue": True}
        number: int = inspector.send("Runtime.callFunctionOn", count)["result"]["value"]
        inspector.send("Runtime.releaseObject", {"objectId": found})
        return number

    assert timelines() >= 1
    page.click("#clear")
    expect(page.locator(".card")).to_have_count(0)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))")
    inspector.send("HeapProfiler.collectGarbage")
    assert timelines() == 0
