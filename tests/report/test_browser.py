"""The pages in a real browser: nothing is cut, nothing runs off, at any width and on paper."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from studies import audit_of, study_of

from moue.evaluation.model_result import ModelResult
from moue.report.audit import write_audit
from moue.report.errors import errors_page, surest_errors
from moue.report.published import published_results
from moue.report.study import write_report
from moue.report.write import write_comparison
from results import TRUTH, ensemble, faces, history, made_up

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
PROVENANCE = {"Command": "moue compare " + "name/" * 60, "Versions": {"moue": "1", "numpy": "2"}, "Date": "2026-11-26"}


def strange() -> list[ModelResult]:
    """Names of every kind, a diverged run, runs of one epoch and of many."""
    names = ["x" * 120, "模型-表情识别网络-第三版-很长的名字", r"a_b & 50% $x$ {q} \frac", "_hidden <b>|y|"]
    epochs = [history(5), history(40, seed=1), history(1), history(30, seed=2, diverged=12)]
    return [made_up(name, 2 - i / 5, i, history=h) for i, (name, h) in enumerate(zip(names, epochs, strict=True))]


def many() -> list[ModelResult]:
    """Twelve models of much the same accuracy and cost."""
    name = "study-resnet50v2-small-seed"
    return [
        made_up(f"{name}{i}", 2, i, history=history(5 + i, seed=i), hours=0.5 + i / 100, latency_ms=3 + i / 50)
        for i in range(12)
    ]


def usual() -> list[ModelResult]:
    missing = ModelResult("study/vit", "vit", reason="needs published weights. Type: --set model.options.source=FOLDER")
    ours = [made_up(name, 2, i, history=history(9), hours=1.0 + i) for i, name in enumerate(("googlenet", "vit"))]
    return [*ours, missing, *published_results()]


def ensembles() -> list[ModelResult]:
    """An ensemble with a long list of members, and a recipe over seeds."""
    return [ensemble(), seeded("compact", 2.0), seeded("conv-vit", 1.5)]


def seeded(name: str, skill: float) -> ModelResult:
    runs = [made_up(f"{name}, seed {i}", skill, i, details={"seed": i}) for i in range(3)]
    return made_up(name, skill, 0, seeds=runs, history=history(5))


CASES = {
    "ensembles": ensembles,
    "strange": strange,
    "many": many,
    "usual": usual,
    "single": lambda: [made_up("only", 2, 0)],
}


def report_page(folder: Path) -> Path:
    results = [made_up("a <b>", 2.5, 0, latency_ms=None), made_up("b", 1.5, 1, latency_ms=None)]
    return write_report(results, study_of(results), folder, title="A report", provenance=PROVENANCE)[0]


def audit_page(folder: Path) -> Path:
    return write_audit(audit_of(), folder, provenance=PROVENANCE)[0]


def page_of_errors(folder: Path) -> Path:
    result = made_up("x" * 90, 1)
    assert result.evaluation is not None
    assert result.predictions is not None
    file = folder / "errors.html"
    file.write_text(errors_page(result.evaluation, surest_errors(faces(), result.predictions, TRUTH)), encoding="utf-8")
    return file


#: Images that leave the box of their figure, or are too small to see.
MISPLACED = """[...document.querySelectorAll('figure')].filter(figure => {
    const box = figure.getBoundingClientRect(), image = figure.querySelector('img').getBoundingClientRect();
    return box.height && (image.right > box.right + 1 || image.left < box.left - 1 || image.width < 60);
}).length"""

#: The pages of other commands, by name.
PAGES = {"report": report_page, "audit": audit_page, "errors": page_of_errors}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((path for path in map(shutil.which, names) if path), None)
    if program is None:
        pytest.fail("The browser tests need Chromium. Type: make browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=[*CASES, *PAGES])
def page(request: pytest.FixtureRequest, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page of a case; what it asks of the network, or says on the console, is an error."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        if request.param in ("many", "ensembles"):
            # Each model's own figures are those of the other cases, and take a minute to draw.
            patch.setattr("moue.report.write.model_figures", lambda *_: [])
        if request.param in PAGES:
            # Those of a report's models are those of a comparison's.
            patch.setattr("moue.report.study.model_figures", lambda *_: [])
            file = PAGES[request.param](folder)
        else:
            results = CASES[request.param]()
            [file, *_] = write_comparison(results, folder, title="A comparison of models", provenance=PROVENANCE)
    page = browser.new_page()
    asked: list[str] = []
    page.on("console", lambda message: asked.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: asked.append(str(error)))
    page.on("request", lambda r: asked.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
    page.goto(file.as_uri())
    page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    yield page
    page.close()
    assert not asked


@pytest.mark.parametrize("width", [1280, 768, 390, 320])
def test_nothing_runs_off_the_page(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    # Only the boxes of tables scroll; all else ends within the page.
    outside = page.evaluate(
        """[...document.querySelectorAll('main *')].filter(e => !e.closest('.wide') &&
             (e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1)).length"""
    )
    assert outside == 0
    assert page.evaluate(MISPLACED) == 0
    scrolled = page.evaluate(
        """[...document.querySelectorAll('.wide')].filter(box => box.checkVisibility()).map(box => {
             box.scrollLeft = 10000;
             const first = box.querySelector('tbody th[scope=row]').getBoundingClientRect();
             const all = box.getBoundingClientRect();
             const kept = Math.abs(first.left - all.left) < 2;
             const share = first.width / all.width;
             box.scrollLeft = 0;
             return [kept, share];
        })"""
    )
    assert scrolled or page.locator("table").count() == 0
    assert all(kept for kept, _ in scrolled), "the first column stays"
    assert all(share < 0.75 for _, share in scrolled), "and leaves room for the others"


def test_the_usual_tables_fit_a_desktop(page: Page, request: pytest.FixtureRequest) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    wide = "[...document.querySelectorAll('.wide')].every(box => box.scrollWidth <= box.clientWidth + 1)"
    assert page.evaluate(wide)


def test_no_text_of_a_figure_is_cut_and_none_covers_another(page: Page) -> None:
    found = page.evaluate(
        """async () => {
          const found = [];
          for (const image of document.querySelectorAll('figure img[src^="data:image/svg"]')) {
            const holder = document.createElement('div');
            holder.style.cssText = 'position: absolute; left: 0; top: 0; width: 800px';
            const svg = new TextDecoder().decode(Uint8Array.from(atob(image.src.split(',')[1]), c => c.charCodeAt(0)));
            holder.innerHTML = svg.slice(svg.indexOf('<svg'));
            document.body.append(holder);
            const all = holder.querySelector('svg').getBoundingClientRect();
            const texts = [...holder.querySelectorAll('text')].filter(t => t.textContent.trim());
            const boxes = texts.map(t => t.getBoundingClientRect());
            for (const [i, box] of boxes.entries()) {
              if (box.left < all.left - 1 || box.right > all.right + 1 || box.top < all.top - 1 ||
                  box.bottom > all.bottom + 1) found.push(`cut: ${texts[i].textContent}`);
              // Slanted texts have larger boxes than they are.
              if (/rotate\\(-?(?!0)[1-9]/.test(texts[i].outerHTML)) continue;
              for (let j = 0; j < i; j++) {
                const other = boxes[j];
                if (/rotate\\(-?(?!0)[1-9]/.test(texts[j].outerHTML)) continue;
                const w = Math.min(box.right, other.right) - Math.max(box.left, other.left);
                const h = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
                // The boxes of lines above each other share the space between them.
                if (w > 2 && h > 6) found.push(`${texts[i].textContent} covers ${texts[j].textContent}`);
              }
            }
            holder.remove();
          }
          return found;
        }"""
    )
    assert found == []


def test_it_prints_what_is_folded_and_stays_on_paper(page: Page) -> None:
    page.evaluate("for (const details of document.querySelectorAll('details')) details.open = false")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 900})  # A4 less its margins.
    try:
        hidden = "[...document.querySelectorAll('details > *')].filter(e => !e.getBoundingClientRect().height).length"
        assert page.evaluate(hidden) == 0
        assert page.evaluate(MISPLACED) == 0
        assert page.evaluate("[...document.querySelectorAll('table')].every(t => t.scrollWidth <= innerWidth)")
        names = "Math.min(99, ...[...document.querySelectorAll('tbody th')].map(e => e.getBoundingClientRect().width))"
        assert page.evaluate(names) > 60, "a column of names is no column of letters"
        points = "parseFloat(getComputedStyle(e).fontSize) * 0.75"
        few = (
            f"[...document.querySelectorAll('table')].filter(e => e.rows[0].cells.length < 9 && {points} < 7.9).length"
        )
        assert page.evaluate(few) == 0, "small type is for tables of many columns"
        large = f"[...document.querySelectorAll('dl.details, figcaption')].filter(e => {points} > 10).length"
        assert page.evaluate(large) == 0, "what stands beside the text is no larger than it"
        assert page.pdf(format="A4").startswith(b"%PDF")
    finally:
        page.emulate_media(media="screen")
        page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")


def test_the_contents_lead_to_the_sections_and_back(page: Page) -> None:
    for link in page.locator("nav a").all():
        target = (link.get_attribute("href") or "").removeprefix("#")
        assert page.locator(f"[id='{target}'] h2").count() == 1
        assert page.locator(f"[id='{target}'] .top a").count() == 1


def test_a_keyboard_reaches_links_tables_and_what_is_folded(page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate("for (const details of document.querySelectorAll('details')) details.open = false")
    try:
        page.evaluate("getSelection().removeAllRanges(); document.activeElement.blur(); scrollTo(0, 0)")
        wanted = "[...document.querySelectorAll('a[href], .wide, summary')].filter(e => e.checkVisibility()).length"
        for number in range(page.evaluate(wanted)):
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.matches('a[href], .wide, summary')"), number
            shown = "getComputedStyle(document.activeElement).outlineStyle"
            assert page.evaluate(shown) != "none", "the focus is seen"
        for summary in page.locator("summary").all():
            summary.focus()
            page.keyboard.press("Enter")
        assert page.evaluate("[...document.querySelectorAll('details')].every(details => details.open)")
    finally:
        page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")


def test_it_has_a_dark_appearance_and_a_screenshot_of_each(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate("scrollTo(0, 0)")
    levels = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        image = page.screenshot(path=tmp_path / f"{scheme}.png")
        # The ground's: photos and heatmaps are as light in both.
        levels[scheme] = float(np.median(np.asarray(Image.open(io.BytesIO(image)).convert("L"))))
    page.emulate_media(color_scheme="light")
    assert levels["dark"] < 60 < 200 < levels["light"]
