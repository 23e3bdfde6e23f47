from __future__ import annotations

import base64
import csv
import io
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from moue.errors import MissingExtra, UsageError
from moue.evaluation.model_result import ModelResult, PublishedClaims
from moue.evaluation.ranking import compare_models
from moue.labels import FERPLUS
from moue.report import plots, write
from moue.report.findings import verdict
from moue.report.published import published_results, published_scores
from moue.report.write import write_comparison
from results import TRUTH
from results import made_up as row

STUDY = published_results()


def history(train: list[float], validation: list[float], loss: list[float]) -> list[dict[str, Any]]:
    return [
        {"epoch": i + 1, "train_loss": x, "train_accuracy": t, "validation_loss": x, "validation_accuracy": v}
        for i, (t, v, x) in enumerate(zip(train, validation, loss, strict=True))
    ]


WEAK = row("weak <b>", 0.8, 1, hours=0.1, history=history([0.3, 0.5], [0.3, 0.45], [1.6, float("nan")]))
STRONG = row("strong", 2.5, 2, hours=1.0)
MISSING = ModelResult("vit", "vit", reason="needs google/vit & co")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    rows = [WEAK, STRONG, MISSING, *STUDY]
    paths = write_comparison(
        rows, out, title="A | title <i>", provenance={"command": "moue compare", "versions": {"a": 1}}
    )
    assert paths[0] == out / "comparison.html"
    assert all(path.is_file() for path in paths)
    return out


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_needs_nothing_but_itself(written: Path) -> None:
    text = (written / "comparison.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.seen}
    sources = [a["src"] or "" for tag, a in page.seen if tag == "img"]
    assert len(sources) >= 8
    assert all(s.startswith("data:image/svg+xml;base64,") for s in sources)
    assert not re.search(r"(src|href)=\"?https?:|url\(|@import", text)
    for source in sources:
        ElementTree.fromstring(base64.b64decode(source.partition(",")[2]))


def test_every_image_has_words_and_every_table_a_caption(written: Path) -> None:
    page = Page((written / "comparison.html").read_text(encoding="utf-8"))
    assert all(a.get("alt") for tag, a in page.seen if tag == "img")
    tags = [tag for tag, _ in page.seen]
    assert tags.count("table") == tags.count("caption") >= 4
    assert all(a.get("scope") for tag, a in page.seen if tag == "th")


def test_names_cannot_break_the_page_or_the_markdown_table(written: Path) -> None:
    text = (written / "comparison.html").read_text(encoding="utf-8")
    assert "weak &lt;b&gt;" in text
    assert "weak <b>" not in text
    assert "google/vit &amp; co" in text
    anchors, links = re.findall(r' id="([^"]+)"', text), re.findall(r'href="#([^"]+)"', text)
    assert len(anchors) == len(set(anchors))
    assert set(links) == set(anchors), "the contents and the ways back lead somewhere"
    assert {"top", "results", "model-weak-b", "model-strong"} <= set(anchors)


def test_a_name_that_is_no_text_costs_nothing(tmp_path: Path) -> None:
    paths = write_comparison([row("run-\udcff", 2.0), STRONG], tmp_path)
    assert {p.suffix for p in paths} == {".html", ".md", ".csv", ".json", ".tex", ".svg", ".png"}
    assert "run-?" in (tmp_path / "comparison.html").read_text(encoding="utf-8")


def test_figures_of_an_older_comparison_go_and_other_files_stay(tmp_path: Path) -> None:
    write_comparison([STRONG, WEAK], tmp_path)
    (tmp_path / "figures" / "mine.svg").write_text("<svg/>")
    write_comparison([STRONG], tmp_path)
    left = {p.name for p in (tmp_path / "figures").iterdir()}
    assert {"mine.svg", "strong-confusion.svg"} <= left
    assert not [name for name in left if name.startswith("weak")]


def test_latencies_of_one_page_are_of_one_engine(tmp_path: Path) -> None:
    rows = [STRONG, replace(WEAK, latency_ms=1.5), MISSING]
    write_comparison(rows, tmp_path)
    for name in ("comparison.md", "comparison.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "in ONNX Runtime on 1 thread" in text
        assert "at 1.5 ms an image" in text
    assert [(row.to_row()["engine"], row.to_row()["threads"]) for row in rows] == [
        *[("onnxruntime", 1)] * 2,
        (None,) * 2,
    ]
    for other in (replace(WEAK, engine="openvino"), replace(WEAK, threads=2)):
        with pytest.raises(UsageError, match="timed in one engine on as many threads"):
            write_comparison([STRONG, other], tmp_path)


def table_of(text: str, heading: str) -> list[list[str]]:
    """Rows of a Markdown table below a heading, its head first."""
    lines = text.partition(heading)[2].split("\n\n")
    table = next(part for part in lines if part.strip().startswith("|"))
    return [[cell.strip() for cell in line.split(" | ")] for line in table.strip().replace("|", " | ").splitlines()]


def test_what_did_not_run_is_said_once_and_quoted_models_are_shown(written: Path) -> None:
    for name in ("comparison.html", "comparison.md"):
        text = (written / name).read_text(encoding="utf-8")
        assert text.count("needs google/vit") == 1
        assert len(re.findall("not run", text, re.IGNORECASE)) == 1
    text = (written / "comparison.html").read_text(encoding="utf-8")
    assert text.partition('id="results"')[2].partition("</table>")[0].count('class="quoted"') == 3
    markdown = (written / "comparison.md").read_text(encoding="utf-8")
    assert "| GoogLeNet (the study) (quoted) | GoogLeNet adapted to 48×48, from scratch | 55 |" in markdown
    assert "publication" in markdown
    for name in re.findall(r"\(figures/([^)]+)\)", markdown):
        assert (written / "figures" / name).is_file()
        assert (written / "figures" / name).with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_beside_quoted_numbers_stand_the_networks_the_split_and_the_choice_of_the_epoch(tmp_path: Path) -> None:
    own = replace(STRONG, network="resnet50v2-small", details={"selection": "epoch 3 of 3, the last"})
    write_comparison([own, *STUDY], tmp_path)
    rows = table_of((tmp_path / "comparison.md").read_text(encoding="utf-8"), "## Quoted numbers")
    names = [row[1] for row in rows]
    there, here = rows[names.index("ResNet50V2 (the study)")], rows[names.index("ResNet50V2 (the study)") + 1]
    assert there[2:6] == [
        "68",
        "ResNet50V2 at 224×224, from ImageNet, 25 epochs",
        "FER-2013, its test set",
        "not known",
    ]
    assert here[1] == "strong"
    assert here[3:6] == [
        "resnet50v2-small, 1.20 M parameters, 3 epochs",
        "public test",
        "epoch 3 of 3, the last",
    ]
    assert "project report, 2023" in (tmp_path / "comparison.md").read_text(encoding="utf-8")
    content = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert content["rows"][2]["published"]["split"] == "FER-2013, its test set"


def test_the_tables_hold_balanced_accuracy_and_explain_quoted_rows_only_where_there_are_some(tmp_path: Path) -> None:
    write_comparison([STRONG, MISSING], tmp_path)
    assert STRONG.evaluation is not None
    balanced = f"{100 * STRONG.evaluation.balanced_accuracy:.1f}"
    markdown = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    heads, _, row, _ = table_of(markdown, "needs google")
    assert row[heads.index("Balanced accuracy,\u00a0%")] == balanced
    assert "publication" not in markdown
    recalls = table_of(markdown, "## Recall of each class")
    assert (recalls[0][-2], recalls[2][-2]) == ("Mean", balanced)
    page = (tmp_path / "comparison.html").read_text(encoding="utf-8").partition("<h2>Results</h2>")[2]
    head, *rows = page.partition("</table>")[0].split("</tr>")
    column = re.findall(r"<th[^>]*>([^<]+)", head).index("Balanced accuracy,\u00a0%")
    assert re.findall(r"<t[hd].*?</t[hd]>", rows[0])[column] == f'<td class="n">{balanced}</td>'


def test_a_network_of_another_name_is_named_beside_a_quoted_accuracy() -> None:
    words = verdict_of(replace(STRONG, network="resnet50v2-small", epochs=1), *STUDY)["Quoted numbers"]
    assert words.startswith("strong (network resnet50v2-small) is ")
    assert "for FER-2013" in words


def test_a_column_without_any_value_is_left_out(tmp_path: Path) -> None:
    write_comparison([replace(STRONG, hours=None, latency_ms=None)], tmp_path)
    heads = table_of((tmp_path / "comparison.md").read_text(encoding="utf-8"), "# Networks compared")[0]
    assert "Parameters" in heads
    assert not {"Training time", "Latency, ms"} & set(heads)


def test_csv_and_json_hold_the_numbers(written: Path) -> None:
    with (written / "comparison.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [r["status"] for r in rows] == ["ok", "ok", "not run", "quoted", "quoted", "quoted"]
    assert STRONG.evaluation is not None
    assert float(rows[1]["accuracy"]) == STRONG.evaluation.accuracy
    assert rows[2]["accuracy"] == ""
    assert rows[2]["reason"] == "needs google/vit & co"
    content = json.loads((written / "comparison.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert content["rows"][1]["evaluation"]["confusion"] == STRONG.evaluation.confusion.tolist()
    assert content["rows"][0]["history"][1]["validation_loss"] is None
    assert content["pairs"][0]["significant"] is True
    assert content["provenance"]["versions"] == {"a": 1}


def test_a_failure_leaves_the_older_page_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(STUDY)
    write_comparison(rows, tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    monkeypatch.setattr(write, "_json", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_comparison(rows, tmp_path, title="other")
    monkeypatch.undo()

    written = []

    def full(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        with path.open("wb") as file:
            return file.write(content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_comparison(rows, tmp_path, title="other")
    monkeypatch.undo()
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_results_are_validated_and_their_names_unique(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs one of evaluation, published claims, or a reason"):
        ModelResult("a", "a")
    with pytest.raises(UsageError, match="reason"):
        ModelResult("a", "a", reason="")
    with pytest.raises(UsageError, match="one of"):
        replace(STRONG, reason="needs weights")
    with pytest.raises(UsageError, match="published accuracy must be a fraction"):
        PublishedClaims(55.0)
    with pytest.raises(UsageError, match="nothing to compare"):
        write_comparison([], tmp_path)
    with pytest.raises(UsageError, match="two models are called 'strong'"):
        write_comparison([STRONG, STRONG], tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_extra_that_brings_the_page_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match=r"pip install 'moue\[report\]'"):
        write_comparison([MISSING], tmp_path)
    assert not list(tmp_path.iterdir())


def verdict_of(*results: ModelResult) -> dict[str, str]:
    return {f.title: f.text for f in verdict(results, compare_models(results))}


def test_the_verdict_names_a_significant_lead_the_costs_and_the_hardest_class() -> None:
    words = verdict_of(WEAK, STRONG, MISSING, *STUDY)
    assert words["Most accurate"].startswith("strong gets ")
    assert "; the difference is significant (" in words["The lead"]
    assert words["Fastest to train"].startswith("weak <b>, in 6 min; strong took 10 times as long")
    assert words["Best trade-off"].startswith("strong: no model")
    assert words["Hardest class"].startswith("fear:")
    assert "needs google/vit" in words["Not run"]


def test_the_verdict_says_that_a_lead_is_not_significant() -> None:
    rows = row("a", 2.0, 5, hours=3.0), row("b", 2.0, 6, hours=0.4)
    best = max(rows, key=lambda r: r.accuracy or 0)
    words = verdict_of(*rows)
    assert "not significant" in words["The lead"]
    if best.name == "a":
        assert words["Best trade-off"].startswith(
            "b: not significantly worse than a, and trained in 24 min instead of 3.0 h"
        )
    else:
        assert "it is the most accurate, too" in words["Fastest to train"]


def test_one_model_or_none_makes_a_page_too(tmp_path: Path) -> None:
    assert "The lead" not in verdict_of(STRONG)
    write_comparison([MISSING], tmp_path)
    assert "<dt>Not run</dt>" in (tmp_path / "comparison.html").read_text(encoding="utf-8")


def test_quoted_numbers_are_compared_with_the_same_family_only() -> None:
    own = replace(STRONG, network="resnet50v2-small")
    words = verdict_of(own, *STUDY)["Quoted numbers"]
    assert "ResNet50V2" in words
    assert "GoogLeNet" not in words


def test_published_claims_are_checked_on_the_models_here() -> None:
    memorized = history([0.3, 0.5, 0.7, 0.8, 0.85], [0.4, 0.5, 0.6, 0.62, 0.63], [1.5, 1.3, 1.1, 1.05, 1.04])
    words = verdict_of(replace(STRONG, name="ours", network="vit-compact", history=memorized), *STUDY)
    text = words["ours beside ViT (the study)"]
    assert STRONG.evaluation is not None
    fear = STRONG.evaluation.per_class["fear"].recall
    assert f"Hardest there: fear and sad; here: fear ({fear:.0%})" in text
    assert f"fear 52% there, {fear:.0%} here" in text
    assert "there: no overfitting; here: it memorizes its training images" in text
    assert not any("beside ResNet50V2" in title for title in words)


def test_the_page_shows_recalls_beside_the_quoted_ones(written: Path) -> None:
    assert STRONG.evaluation is not None
    happy = f"{100 * (STRONG.evaluation.per_class['happy'].recall or 0):.1f}"
    markdown = (written / "comparison.md").read_text(encoding="utf-8")
    table = markdown.partition("## Recall of each class")[2].partition("##")[0]
    assert any(line.startswith("| strong |") and happy in line for line in table.splitlines())
    assert "| ResNet50V2 (the study) | – | 54.9 | 46.8 | 88.1 | – | 78.3 | – | – |" in table
    assert "GoogLeNet (the study)" not in table  # It gives no numbers.
    page = (written / "comparison.html").read_text(encoding="utf-8").partition("<h2>Recall of each class</h2>")[2]
    assert happy in page
    assert "78.3" in page


def test_training_costs_core_hours_where_the_cores_are_known() -> None:
    assert [row.to_row()["core_hours"] for row in (replace(STRONG, core_hours=2.0), STRONG)] == [2.0, None]


def test_the_page_shows_the_accuracy_without_uncertain_predictions(written: Path) -> None:
    assert STRONG.evaluation is not None
    assert (
        f"{STRONG.evaluation.accuracy_at_80:.1%} of the 80% most confident" in (written / "comparison.md").read_text()
    )
    drawn = (written / "figures" / "strong-risk.svg").read_bytes()
    assert b"the 80% most confident" in drawn
    assert b"not marked uncertain" not in drawn  # No threshold was set.
    marked = plots.risk_coverage_curve(np.array([0.9, 0.6, 0.3]), np.array([True, True, False]), 0.5)
    assert b"not marked uncertain: 0.0% wrong" in marked.svg


def test_short_curves_get_no_verdict(written: Path) -> None:
    page = (written / "comparison.html").read_text(encoding="utf-8")
    assert "2 epochs are too few to tell overfitting from underfitting." in page
    assert "Overfitting and underfitting" not in page
    long = history([0.2, 0.3, 0.5, 0.6, 0.62], [0.2, 0.3, 0.5, 0.6, 0.59], [1.9, 1.7, 1.3, 1.1, 1.1])
    assert "Overfitting and underfitting" in verdict_of(replace(STRONG, history=long))


def test_the_table_has_plain_numbers() -> None:
    flat = [STRONG.to_row(), MISSING.to_row()]
    assert flat[0]["training_hours"] == 1.0
    assert flat[0]["deduplicated_n"] == int((TRUTH != 1).sum())
    assert flat[0].keys() == flat[1].keys()
    assert flat[1]["n"] is None
    text = io.StringIO()
    csv.DictWriter(text, list(flat[0])).writerows(flat)


def test_what_others_report_is_in_the_results_with_rows_and_selection() -> None:
    page = (Path(__file__).parents[2] / "results" / "models.md").read_text(encoding="utf-8")
    scores = published_scores()
    assert [score["accuracy"] for score in scores] == sorted((s["accuracy"] for s in scores), reverse=True)
    for score in scores:
        cells = (
            score["name"],
            f"{100 * score['accuracy']:.1f} %",
            score["split"],
            score["selection"],
            score["weights"],
        )
        assert f"| {' | '.join(cells)} |" in page


def test_a_model_of_other_labels_is_remarked_on() -> None:
    assert STRONG.evaluation is not None
    votes = replace(STRONG.evaluation, labels=FERPLUS.labels, label_set="fer2013")
    texts = dict(verdict([WEAK, replace(STRONG, evaluation=votes)], []))
    assert texts["Scored on other labels"].startswith("strong has learned what most of FER+'s ten annotators see.")
    own = replace(votes, label_set="ferplus")
    assert "Scored on other labels" not in dict(verdict([WEAK, replace(STRONG, evaluation=own)], []))
    assert "Scored on other labels" not in dict(verdict([WEAK, STRONG], []))
