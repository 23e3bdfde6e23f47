"""What the documentation tells people to type works: commands parse, links lead somewhere, Python compiles."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image
from small import SMALL
from torch import nn
from videos import make_video

from moue.cli import networks
from moue.cli.main import COMMANDS as CLI
from moue.cli.main import _parser, main, parser_of
from moue.data.readers.synth import synthetic
from moue.export.graph import trace
from moue.models import NETWORKS, options_of
from moue.runtime.weights import find_model, list_models
from moue.server.settings import Settings
from moue.spec import ModelSpec
from moue.training import settings
from moue.training.loop import fit
from moue.training.recipe import about, recipes

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
IDS = [p.relative_to(ROOT).as_posix() for p in PAGES]

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def blocks(page: Path, *languages: str) -> Iterator[str]:
    for language, body in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield body


def typed(page: Path) -> Iterator[str]:
    """The lines of console and shell blocks that a reader types, continuations joined, comments gone."""
    for body in blocks(page, "console", "bash", "sh"):
        for line in body.replace("\\\n", " ").splitlines():
            line = line.removeprefix("$ ").strip()
            if line.startswith(("moue ", "make ", "cat ", "pip ")) or " | moue " in line:
                yield line


def arguments(line: str) -> list[str] | None:
    """What the shell would hand to `moue` in this line; None where it does not run it."""
    words = shlex.split(line, comments=True)
    if "|" in words and "moue" in words[words.index("|") :]:
        words = words[words.index("|") + 1 :]
    ends = [i for i, w in enumerate(words) if w in (">", "|", "&&", ";")]
    words = words[: ends[0]] if ends else words
    return words[1:] if words[0] == "moue" else None


COMMANDS = [(i, line) for i, p in zip(IDS, PAGES, strict=True) for line in typed(p) if arguments(line) is not None]


@pytest.mark.parametrize("page", IDS)
def test_every_command_parses(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = {}
    for words in (arguments(line) or [] for where, line in COMMANDS if where == page):
        try:
            _parser(words).parse_args(words)
        except SystemExit as end:
            if end.code != 0:
                wrong[shlex.join(words)] = capsys.readouterr().err
    assert not wrong


#: Options in the pages that are not moue's: of Docker, curl, torchrun, uvicorn, Traefik and scripts of this repository.
OTHERS = set(
    """
--build --build-arg --cpus --memory --read-only --rm --stop-timeout --tmpfs --data-binary --factory --entrypoints
--nnodes --nproc-per-node --rdzv-backend --rdzv-endpoint --kinds --replay --sample --bf16 --soak
""".split()  # noqa: SIM905
)


def options(parser: argparse.ArgumentParser) -> set[str]:
    """The long options of a parser, and of the commands in it."""
    found = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    inner = [action.choices.values() for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return found.union(*(options(sub) for subs in inner for sub in subs))


def test_options_in_the_docs_exist_and_the_reference_has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    reference = importlib.import_module("site_pages").commands()
    known = options(_parser([])).union(*(options(parser_of(command)) for command in CLI))
    in_text = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
    assert known - set(in_text.findall(reference)) == set()
    for page in PAGES:
        if page.name != "CHANGELOG.md":  # It names options that are gone.
            named = set(in_text.findall(page.read_text(encoding="utf-8")))
            assert named - known - OTHERS == set(), page.name


BRITISH = re.compile(
    r"\b(\w*(colour|behaviour|favour|neighbour|licence|normalis|recognis|optimis|initialis|labell|modell)\w*"
    r"|grey\w*|per cent|centre[ds]?|learnt|whilst|programmes?|analys(e[sd]?|ing))\b",
    re.IGNORECASE,
)


def test_the_docs_are_in_american_spelling() -> None:
    for page in PAGES:
        found = BRITISH.search(re.sub(r"`[^`]*`", "", page.read_text(encoding="utf-8")))
        assert found is None, (page.name, found)
    for figure in (ROOT / "docs" / "images").glob("*.svg"):
        found = BRITISH.search(" ".join(re.findall(r">([^<>]+)</text>", figure.read_text(encoding="utf-8"))))
        assert found is None, (figure.name, found, "python scripts/robustness.py draws them again")


def test_the_readme_shows_the_main_commands() -> None:
    shown = {words[0] for page, line in COMMANDS if page == "README.md" and (words := arguments(line))}
    assert {"predict", "models", "data", "compare", "train", "evaluate", "export"} <= shown


def test_make_targets_that_are_mentioned_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        mentioned = {w for words in re.findall(r"(?:`|\$ )make ([a-z -]+)", text) for w in words.split()}
        assert mentioned <= targets, page


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, fragment = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if fragment:
            assert fragment in anchors(linked), target


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_python_compiles(page: Path) -> None:
    for body in blocks(page, "python"):
        compile(body, str(page), "exec")


@pytest.mark.parametrize("page", ["docs/reading.md", "docs/explaining.md", "docs/migration.md", "docs/training.md"])
def test_python_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = np.ascontiguousarray(skimage.data.astronaut()[:256, 96:352])
    (tmp_path / "holiday").mkdir()
    for name in ("photo.jpg", "a.jpg", "b.jpg", "face-1.jpg", "face-2.jpg", "holiday/1.jpg"):
        Image.fromarray(photo).save(tmp_path / name)
    make_video(tmp_path / "clip.mp4", [photo] * 6)
    monkeypatch.chdir(tmp_path)
    bodies = list(blocks(ROOT / page, "python"))
    assert bodies
    for body in bodies:
        exec(compile(body, page, "exec"), {})


def test_the_python_of_the_models_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(SMALL.override(["optim.epochs=1", "optim.steps=2"]), synthetic(300), tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    bodies = list(blocks(ROOT / "docs" / "models.md", "python"))
    assert len(bodies) == 2
    for body, images in zip(bodies, (4, 3), strict=True):
        names: dict[str, Any] = {}
        exec(compile(body, "docs/models.md", "exec"), names)
        assert names["probabilities"].sum(1).tolist() == pytest.approx([1] * images)


@pytest.mark.timeout(900)  # A dozen networks are traced.
def test_the_walk_through_ensembles_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ROOT / "docs" / "ensembles.md"
    monkeypatch.chdir(tmp_path)
    for name in ("comparison_figures", "model_figures"):  # Drawing takes longer than all else.
        monkeypatch.setattr(f"moue.report.write.{name}", lambda *_: [])
    traced: dict[bytes, Any] = {}

    def trace_once(network: nn.Module, spec: ModelSpec) -> Any:
        key = b"".join(parameter.detach().numpy().tobytes() for parameter in network.parameters())
        if key not in traced:
            traced[key] = trace(network, spec)
        return traced[key]

    monkeypatch.setattr("moue.export.graph.trace", trace_once)  # Takes most of the time.
    [recipe] = blocks(page, "yaml")
    Path("small.yaml").write_text(recipe.replace("epochs: 8", "epochs: 1, steps: 2"), encoding="utf-8")
    # Minutes that do not depend on what else the machine does: the recipe ends long before.
    cheaper = {"synth:1500:0": "synth:500:0", "0.6": "9"}
    written = []
    for line in typed(page):
        words = arguments(line)
        assert words is not None
        words = [cheaper.get(word, word) for word in words]
        for option in ("--members", "--rounds", "--folds"):
            if option in words:
                words[words.index(option) + 1] = "2"
        if "boost" in words:  # Its rounds must be better than chance.
            words += ["--set=optim.epochs=5", "--set=optim.steps=null", "--set=optim.batch_size=32"]
            words += ["--set=run.precision=fp32"]
        assert main(words) == 0, f"{line}\n{capsys.readouterr().err}"
        written += [words[words.index(option) + 1] for option in ("-o", "--out") if option in words]
    assert all(Path(path).exists() for path in written)
    assert {"vote.onnx", "bag", "boost", "cv-a", "stack.onnx", "search", "page"} <= set(written)
    # All that the page says is written.
    for path in (
        "bag/ensemble.onnx",
        "boost/rounds.csv",
        "boost/weights.csv",
        "cv-a/out_of_fold.csv",
        "search/best.yaml",
    ):
        assert Path(path).is_file()
    gain = ModelSpec.load(Path("vote.json")).trained["gain"]
    assert gain["summary"]


def test_names_that_the_docs_take_from_moue_exist() -> None:
    import moue

    for page in PAGES:
        for body in blocks(page, "python"):
            for name in re.findall(r"\bmoue\.([A-Za-z_]\w*)", body):
                home = Path(moue.__file__).parent
                assert hasattr(moue, name) or (home / f"{name}.py").exists() or (home / name).is_dir(), (page, name)


@pytest.mark.parametrize("page", ["docs/models.md", "results/models.md"])
def test_scores_in_the_docs_are_those_of_the_shipped_models(page: str) -> None:
    specs = {m["name"]: ModelSpec.load(Path(m["path"]).with_suffix(".json")) for m in list_models()}
    rows = re.findall(r"^\| `([\w-]+)[^|]*\|(.*%.*)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for name, _ in rows} == specs.keys(), "a shipped model is missing, or one is gone"
    for name, cells in rows:
        measured = {f"{100 * score:.1f}" for score in specs[name].scores.values()}
        assert set(re.findall(r"(\d+\.\d) %", cells)) <= measured, f"{page}: {name}"


def test_scores_in_the_readme_are_those_of_the_shipped_models() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    quoted = re.findall(r"`(\w+)` (?:is right )?for (\d+\.\d) %", text)
    assert {name for name, _ in quoted} == {"default", "ferplus"}
    for name, score in quoted:
        assert score == f"{100 * find_model(name).spec.scores['public_test']:.1f}"


def test_the_readme_s_python_prints_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "photo.jpg", quality=95)
    monkeypatch.chdir(tmp_path)
    [body], [output] = (list(blocks(ROOT / "README.md", language)) for language in ("python", "text"))
    exec(compile(body, "README.md", "exec"), {})
    assert capsys.readouterr().out == output


def test_the_statistics_page_prints_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "timeline.md"
    for body in blocks(page, "python"):
        exec(compile(body, page, "exec"), {})
    assert capsys.readouterr().out == "".join(blocks(page, "text"))
    assert (tmp_path / "curves.png").is_file()


def test_the_recipes_and_options_in_the_docs_are_those_that_there_are() -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    listed = [
        dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", text.partition(h)[2].partition("\n## ")[0], re.MULTILINE))
        for h in ("## Recipes", "## Networks")
    ]
    assert listed[0] == {name: about(path) for name, path in recipes().items()}
    assert listed[1] == {name: f"`{networks.options_text(options_of(name))}`" for name in NETWORKS}


def test_the_page_of_settings_is_made_of_the_docstrings() -> None:
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings.page(), "python scripts/settings.py"


def test_the_help_of_the_server_s_page_is_up_to_date(tmp_path: Path) -> None:
    build = [sys.executable, str(ROOT / "scripts" / "help_page.py"), str(tmp_path / "help.html")]
    subprocess.run(build, check=True, capture_output=True, timeout=60)
    shipped = ROOT / "src" / "moue" / "server" / "static" / "help.html"
    assert shipped.read_bytes() == (tmp_path / "help.html").read_bytes(), "Type: make docs"


def test_the_server_s_settings_in_the_docs_are_those_that_there_are() -> None:
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \| `(.+?)` \| \S", text.rpartition("| field | default |")[2], re.MULTILINE)
    assert listed == [(field.name, repr(field.default)) for field in dataclasses.fields(Settings)]
