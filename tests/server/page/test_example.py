"""The page as `moue serve` opens it: the model that is recommended, its explanation, and the photo to try."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from uploads import running

from moue.cli import serve as serve_command
from moue.cli.main import _parser
from moue.runtime.weights import ABOUT, BUNDLED, EXTRA, RECOMMENDED
from moue.server.settings import Settings

pytestmark = pytest.mark.xdist_group("browser")


def settings_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Settings:
    """What `moue serve` with these arguments hands to the server."""
    given: list[Settings] = []
    monkeypatch.setattr("moue.server.run.serve", lambda settings, **options: given.append(settings))
    words = ["serve", *arguments]
    serve_command.run(_parser(words).parse_args(words))
    return given[0]


@pytest.fixture(scope="module")
def served(browser: Browser) -> Iterator[Page]:
    """The page of a server with the shipped models."""
    with running(Settings(models=("default",), preselected=RECOMMENDED)) as port:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page.locator("#model option").nth(1)).to_be_attached()
        yield page
        page.close()


def test_the_page_begins_with_the_recommended_model_and_explains_each(served: Page) -> None:
    expect(served.locator("#model")).to_have_value("ferplus")
    expect(served.locator("#about")).to_have_text(ABOUT["ferplus"])
    expect(served.locator("#about")).to_contain_text("Recommended for real use")
    names = served.locator("#model option").evaluate_all("options => options.map((o) => o.value)")
    assert {"ferplus", "default", "tiny"} <= set(names)
    for name in names:
        served.select_option("#model", name)
        expect(served.locator("#about")).to_have_text(ABOUT[name])
    served.select_option("#model", "ferplus")
    served.click("text=Which model?")
    expect(served.locator("#models dt")).to_have_text(names)
    expect(served.locator("#models dd")).to_have_text([ABOUT[name] for name in names])


def test_the_example_is_read_as_its_caption_says(served: Page, artifacts: Path) -> None:
    expected = served.locator("#sample-label").inner_text()
    served.click("#sample")
    expect(served.locator("#status")).to_contain_text(f"sample.jpg: 1 face: {expected} ")
    expect(served.locator("#table tbody tr")).to_contain_text(expected)
    expect(served.locator("#table tbody tr")).not_to_contain_text("uncertain")
    served.screenshot(path=artifacts / "example.png", full_page=True)


def test_a_model_that_is_asked_for_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of(monkeypatch).preselected == RECOMMENDED
    assert settings_of(monkeypatch).models == ("default",)
    assert settings_of(monkeypatch, "--model", "tiny").preselected is None


def test_every_shipped_model_is_explained_in_a_line() -> None:
    assert set(ABOUT) == {*BUNDLED, *EXTRA}
    assert all("\n" not in line and line.endswith(".") for line in ABOUT.values())
