"""The tutorials and notebooks do what they say: their blocks run from top to bottom, as a reader would type them."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image
from uploads import running
from videos import make_video

from moue.cli.main import main
from moue.server.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
TUTORIALS = ROOT / "docs" / "tutorials"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PHOTO = np.ascontiguousarray(skimage.data.astronaut()[:256, 96:352])


def follow(page: Path, capsys: pytest.CaptureFixture[str], names: dict[str, Any] | None = None) -> str:
    """Type the lines of `console` blocks and run `python` blocks, in order; those of `sh` blocks are not run here.

    Returns:
        What was printed on stdout.
    """
    names = {} if names is None else names
    printed = []
    for language, body in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(body, page.name, "exec"), names)
        elif language == "console":
            for line in body.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                assert words[0] == "moue", line
                code = main(words[1:])
                out, err = capsys.readouterr()
                assert code == 0, f"{line}\n{err}"
                printed.append(out)
        printed.append(capsys.readouterr().out)
    return "".join(printed)


def drawn_faces(page: Path = TUTORIALS / "folders.md") -> None:
    """The folder `mine/` of the first tutorial."""
    first = next(body for language, body in BLOCK.findall(page.read_text(encoding="utf-8")) if language == "python")
    exec(compile(first, page.name, "exec"), {})


def test_ten_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    # The larger models have tests of their own; checking them takes a second.
    monkeypatch.setattr("moue.runtime.weights.EXTRA", ())
    Image.fromarray(PHOTO).save("photo.jpg")
    out = follow(ROOT / "docs" / "start.md", capsys)
    assert "happy" in out
    assert (tmp_path / "results" / "photo.jpg").is_file()


def test_a_film_to_a_table_of_persons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "films").mkdir()
    make_video(tmp_path / "films" / "anna.mp4", [PHOTO] * 20, rate=Fraction(10))
    out = follow(TUTORIALS / "film.md", capsys)
    assert "anna.mp4" in out
    assert "happy" in out
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"results/people.csv", "results/anna.mp4", "statistics/conditions.csv", "statistics/people.csv"} <= written


def test_your_own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    follow(TUTORIALS / "folders.md", capsys, names)
    assert set(names["faces"][0].probabilities) == {"happy", "sad", "surprise"}
    assert "majority" in (tmp_path / "card.md").read_text(encoding="utf-8")
    assert len(list((tmp_path / "mine").rglob("*.png"))) >= 60


def test_fine_tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    drawn_faces()
    capsys.readouterr()
    follow(TUTORIALS / "finetune.md", capsys)
    labels = json.loads((tmp_path / "fine.json").read_text(encoding="utf-8"))["labels"]
    assert sorted(labels) == ["happy", "sad", "surprise"]


def test_the_study_s_rehearsal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "study.md"
    # One network of the two, which takes half of the time; `make demo` trains all three.
    text = (TUTORIALS / "study.md").read_text(encoding="utf-8")
    page.write_text(text.replace("demo/googlenet demo/vit --data synth:210:0", "demo/vit --data synth:140:0"))
    follow(page, capsys)
    assert (tmp_path / "rehearsal" / "comparison.html").is_file()
    assert len((tmp_path / "rehearsal" / "comparison.csv").read_text(encoding="utf-8").splitlines()) == 2


def test_serving(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of the page, against a server with the same token; the image is tried by `make docker-test`."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PHOTO).save("photo.jpg")
    page = (TUTORIALS / "container.md").read_text(encoding="utf-8")
    assert "MOUE_TOKEN=change-me" in page
    with running(Settings(("ferplus",), temp_folder=tmp_path, token="change-me")) as port:
        copy = tmp_path / "container.md"
        copy.write_text(page.replace("127.0.0.1:8000", f"127.0.0.1:{port}"), encoding="utf-8")
        out = follow(copy, capsys)
    assert out.splitlines()[0] == "200"
    assert out.splitlines()[1].startswith("happy [")


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")))
def test_a_notebook_gives_the_outputs_that_it_shows(name: str) -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "notebooks.py"))
    written = (ROOT / "docs" / "notebooks" / name).read_text(encoding="utf-8")
    notebook = json.loads(written)
    assert any(cell["cell_type"] == "code" for cell in notebook["cells"])
    script["execute"](notebook, name)
    assert script["written"](notebook) == written, "Type: python scripts/notebooks.py"


def test_a_notebook_s_cell_that_fails_is_named(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "notebooks.py"))
    cell = {"cell_type": "code", "source": ["1 / 0"]}
    with pytest.raises(ZeroDivisionError):
        script["execute"]({"cells": [cell]}, "broken")
    assert Path.cwd() != tmp_path


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Strictly: a dead link, a page that no menu names or a name that does not exist ends it."""
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = list(tmp_path.rglob("*.html"))
    docs = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")]
    assert all((tmp_path / page).is_file() for page in docs)
    loaded = re.compile(r"<(?:script|img|link|source|iframe)\b[^>]*?(?:src|href)=\"?(https?:)?//[^\s\">]+")
    for page in pages:
        found = loaded.search(page.read_text(encoding="utf-8"))
        assert found is None, (page.name, found)
    reference = (tmp_path / "reference" / "python.html").read_text(encoding="utf-8")
    assert "uncertain_below" in reference
    commands = (tmp_path / "reference" / "commands.html").read_text(encoding="utf-8")
    assert "--logit-adjustment" in commands
    assert (tmp_path / "cards" / "ferplus.html").is_file()
    assert "import moue" in re.sub(
        r"<[^>]+>", "", (tmp_path / "notebooks" / "reading.html").read_text(encoding="utf-8")
    )
