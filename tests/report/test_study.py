"""The report: what a page over finished models shows."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from studies import robust, study_of

from moue import reporting
from moue.cli.main import main
from moue.data import load
from moue.data.readers.synth import synthetic
from moue.data.splits import stratified_split
from moue.evaluation.metrics import evaluate
from moue.evaluation.model_result import ModelResult
from moue.labels import FERPLUS
from moue.report.canvas import Drawing
from moue.report.study import FER2013_STATEMENT, FERPLUS_STATEMENT, NO_STATEMENT, write_report
from moue.runtime.results import Predictions, softmax
from moue.spec import ModelSpec, file_sha256
from moue.training.provenance import data_record
from results import TRUTH, history, made_up


@pytest.fixture(autouse=True)
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models' own figures are those of a comparison, and take most of the time."""
    monkeypatch.setattr("moue.report.study.model_figures", lambda *_: [])
    monkeypatch.setattr("moue.report.study.comparison_figures", lambda *_: [])


@pytest.fixture
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn and not rendered."""
    for module in ("canvas", "charts"):
        monkeypatch.setattr(f"moue.report.{module}.saved", lambda figure: Drawing(b"<svg/>", b"png"))


def two_models() -> list[ModelResult]:
    return [made_up("a <b>", 2.5, 0, history=history(6), latency_ms=None), made_up("b", 1.5, 1, latency_ms=None)]


def write(results: list[ModelResult], out: Path, **provenance: Any) -> tuple[str, str, dict[str, Any]]:
    write_report(results, study_of(results), out, title="A report", provenance={"Date": "2026-11-26", **provenance})
    html, markdown = ((out / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))
    return html, markdown, json.loads((out / "report.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str, str, dict[str, Any]]]:
    """The same report twice, at different dates."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("model_figures", "comparison_figures"):
            patch.setattr(f"moue.report.study.{name}", lambda *_: [])
        for date in ("2026-11-26", "2027-01-01"):
            folder = tmp_path_factory.mktemp("report")
            found[date] = (folder, *write(two_models(), folder, Date=date))
    return found


def test_page_markdown_and_json_have_every_section(pages: dict[str, tuple[Path, str, str, dict[str, Any]]]) -> None:
    folder, html, markdown, values = pages["2026-11-26"]
    assert not re.search(r"<script|<link|<iframe|(src|href)=\"?https?:|url\(|@import", html)
    anchors, links = re.findall(r' id="([^"]+)"', html), re.findall(r'href="#([^"]+)"', html)
    assert len(anchors) == len(set(anchors))
    assert set(links) <= set(anchors)
    assert {"data", "networks", "results", "differences", "errors", "label-noise", "explanations"} <= set(links)
    assert {"robustness", "limits", "provenance"} <= set(links)
    assert "a <b>" not in html
    assert "<li>The scores hold for images like these" in html
    assert "<code>moue audit</code> compares groups of people" in html
    assert '<code>moue compare <span class="option">--seeds</span></code> measures' in html
    assert "`moue audit` compares" in markdown
    for word in ("Data", "Network compact", "Results", "Errors", "Label noise", "Explanations", "Robustness", "Limits"):
        assert f"\n## {word}" in markdown, word
    for name in re.findall(r"\(figures/([\w-]+)\.svg\)", markdown):
        assert (folder / "figures" / f"{name}.svg").stat().st_size > 1000
        assert (folder / "figures" / f"{name}.png").stat().st_size > 1000
    first = values["rows"][0]
    assert "seconds" not in first["evaluation"]
    for text in (html, markdown):
        assert f"{100 * first['accuracy']:.1f} ± " in text
        assert "This is absent: type that." in text
        assert f"{values['networks'][0]['parameters']:,}" in text
        share = values["label_agreement"]["share"]
        assert f"{share:.1%}" in text
    assert values["networks"][0]["models"] == ["a <b>", "b"], "a network that two models share is shown once"
    assert values["robustness"]["b"]["mean_corruption_error"] == pytest.approx(0.6)
    assert values["hardest"][0]["source"].startswith("face ")
    tables, captions = html.count("<table"), html.count("<caption>")
    assert tables == captions
    assert html.count("<img") == len(re.findall(r'<img [^>]*alt="[^"]+', html))


def test_the_same_report_has_the_same_bytes_but_for_its_date(
    pages: dict[str, tuple[Path, str, str, dict[str, Any]]],
) -> None:
    first, second = (
        {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        for folder, *_ in pages.values()
    )
    assert first.keys() == second.keys()
    assert len(first) > 12
    for path, content in first.items():
        assert content == second[path].replace(b"2027-01-01", b"2026-11-26"), path


def test_figures_of_an_older_report_go(tmp_path: Path, blank_figures: None) -> None:
    results = two_models()
    write(results, tmp_path)
    assert (tmp_path / "figures" / "robustness.svg").is_file()
    write_report(results, replace(study_of(results), robustness={}), tmp_path, title="A report", provenance={})
    assert not (tmp_path / "figures" / "robustness.svg").exists()
    assert (tmp_path / "figures" / "data-samples.png").is_file()


def test_the_command_reports_on_models_and_says_what_is_not_shown(
    tiny_onnx: Path, tmp_path: Path, blank_figures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["report", str(tiny_onnx), "--data", "synth:70:1", "-o", str(out), "--format", "json"]
    assert main(command) == 0
    [row] = json.loads(capsys.readouterr().out)
    values = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert values["rows"][0]["accuracy"] == row["accuracy"]
    assert values["explanations"]
    assert values["networks"] == []
    absent = " ".join(values["absent"])
    assert "there is no network named 'linear'" in absent
    assert "Label noise is not shown" in absent
    assert "Add --robustness" in absent
    html = (out / "report.html").read_text(encoding="utf-8")
    assert 'Add <span class="option">--robustness</span>, which' in html, "no line ends inside of an option"
    assert "data-augmented" in (out / "report.md").read_text(encoding="utf-8")


def test_the_robustness_that_a_model_has_on_record_is_shown(
    tiny_onnx: Path, tmp_path: Path, blank_figures: None
) -> None:
    for name in ("known", "unknown"):
        (tmp_path / f"{name}.onnx").write_bytes(tiny_onnx.read_bytes())
        spec = ModelSpec.load(tiny_onnx.with_suffix(".json")).replace(name=name)
        record = {**robust(0.8).to_record(), "split": "public_test"} if name == "known" else {}
        spec.replace(robustness=record).save(tmp_path / f"{name}.json")
    models = [str(tmp_path / f"{name}.onnx") for name in ("known", "unknown")]
    reporting.report(models, data="synth:70:1", out=tmp_path / "out", explain=0)
    values = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    [found] = values["robustness"].values()
    assert found["n"] == 90
    assert found["mean_corruption_error"] == pytest.approx(0.5)
    assert found["recorded_on"] == "public_test"
    assert "Add --robustness" in " ".join(values["absent"]), "the other model has none"
    for kind in ("html", "md"):
        text = (tmp_path / "out" / f"report.{kind}").read_text(encoding="utf-8")
        assert "mean corruption error" in text
        assert re.search(r"on record in the models' files: \S*known\S* on images of public test", text)
        assert "the first row is not the accuracy above" in text


def test_what_a_model_of_another_size_held_out_is_reported_on(
    tiny_onnx: Path, tmp_path: Path, blank_figures: None
) -> None:
    table = load("synth:70:1", size=96)
    split = stratified_split(table)
    graph = onnx.load(tiny_onnx)
    for side in graph.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_value = 96
    [pool] = [node for node in graph.graph.node if node.op_type == "AveragePool"]
    for attribute in pool.attribute:
        attribute.ints[:] = [8, 8]
    onnx.save(graph, tmp_path / "large.onnx")
    spec = ModelSpec.load(tiny_onnx.with_suffix(".json")).replace(
        name="large", size=96, sha256=file_sha256(tmp_path / "large.onnx"), trained={"data": data_record(table, split)}
    )
    spec.save(tmp_path / "large.json")
    model = str(tmp_path / "large.onnx")
    [result] = reporting.report([model], data="synth:70:1", out=tmp_path / "out", split="validation", explain=0)
    assert result.evaluation is not None
    assert result.evaluation.n == len(split.validation)
    values = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    held_out = {table.source[row] for row in split.validation}
    assert {image["source"] for image in values["hardest"]} <= held_out


def test_a_sample_of_the_images_is_corrupted(tiny_onnx: Path, tmp_path: Path, blank_figures: None) -> None:
    command = ["report", str(tiny_onnx), "--data", "synth:70:1", "-o", str(tmp_path / "out"), "--explain", "0"]
    assert main([*command, "--robustness-sample", "3"]) == 0
    values = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    [found] = values["robustness"].values()
    assert (found["n"], found["recorded_on"]) == (3, None)
    assert "on record" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_models_with_other_corruptions_on_record_stand_in_one_table(tmp_path: Path, blank_figures: None) -> None:
    results = two_models()
    study = replace(study_of(results), robustness={"a <b>": robust(0.8, ("blur",)), "b": robust(0.7, ("noise",))})
    write_report(results, study, tmp_path, title="A report", provenance={})
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| blur | 50.0% | – |" in markdown
    assert "| noise | – | 40.0% |" in markdown


def test_a_class_that_is_not_in_use_is_left_out_and_named(tmp_path: Path, blank_figures: None) -> None:
    logits = np.random.default_rng(0).normal(size=(600, 8))
    logits[np.arange(600), TRUTH] += 2
    logits[:, FERPLUS.labels.index("contempt")] = -9
    predictions = Predictions(softmax(logits), FERPLUS.labels)
    evaluation = evaluate(predictions, TRUTH, model="m", network="m", split="public_test")
    result = ModelResult("m", "m", evaluation=evaluation, predictions=predictions, truth=TRUTH)
    write_report([result, replace(result, name="n")], study_of([result]), tmp_path, title="A report", provenance={})
    html, markdown = ((tmp_path / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))
    assert ">contempt</th>" not in re.sub(r"Labels and majorities.*?</table>", "", html, flags=re.DOTALL)
    assert "none is predicted so: contempt." in html
    assert "\n| contempt |" not in markdown
    assert "| 95% interval |" in markdown


def test_the_report_says_where_its_images_come_from_as_far_as_it_knows(
    tiny_onnx: Path, tmp_path: Path, blank_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for known, words in ((True, FER2013_STATEMENT), (False, NO_STATEMENT), (None, "A program drew these faces")):
        with monkeypatch.context() as patch:
            if known is not None:
                patch.setattr(reporting, "is_synthetic", lambda data: False)
                patch.setattr(reporting, "is_fer2013", lambda table, known=known: known)
            reporting.report([str(tiny_onnx)], data="synth:70:1", out=tmp_path, explain=0)
        for kind in ("html", "md"):
            assert words in (tmp_path / f"report.{kind}").read_text(encoding="utf-8")
    monkeypatch.setattr(reporting, "is_fer2013", lambda table: True)
    table = replace(synthetic(10, 0), label_set=FERPLUS)
    assert reporting._statement(table, "faces.csv") == FERPLUS_STATEMENT != FER2013_STATEMENT


def test_without_torch_the_rest_is_reported(
    tiny_onnx: Path, tmp_path: Path, blank_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "find_spec", lambda name: None)
    reporting.report([str(tiny_onnx)], data="synth:70:1", out=tmp_path, explain=0)
    values = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert any("they need torch. Type: pip install 'moue[train]'" in text for text in values["absent"])
    assert not (tmp_path / "figures" / "data-augmented.svg").exists()
    assert (tmp_path / "figures" / "data-samples.svg").is_file()
    assert values["explanations"] == []


def test_a_model_that_cannot_be_opened_stands_on_the_page_with_the_reason(
    tiny_onnx: Path, tmp_path: Path, blank_figures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    command = [
        "report",
        str(tiny_onnx),
        str(broken),
        "--data",
        "synth:70:1",
        "-o",
        str(tmp_path / "out"),
        "--explain",
        "0",
    ]
    assert main(command) == 3
    output = capsys.readouterr()
    assert "not run" in output.err
    assert re.search(r"tiny_random +ok +\d+\.\d+%", output.out)
    assert "broken" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nothing"], "there is no"),
        (["tiny", "tiny"], "each model is reported once"),
        (["tiny", "--explain", "-1"], "--explain must be a whole number"),
        (["tiny", "--robustness-sample", "0"], "--robustness-sample must be a whole number from 1"),
        (["tiny", "--data", "missing.csv"], "missing.csv does not exist"),
    ],
)
def test_what_cannot_be_reported_is_said_in_a_sentence(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--data", "synth:70:1", "-o", str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert not (tmp_path / "out").exists()
