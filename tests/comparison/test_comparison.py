"""`compare`: one page from recipes, runs and models."""

from __future__ import annotations

import html
import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from comparisons import TINY
from PIL import Image

from moue.cli.main import main
from moue.comparison import compare
from moue.data import ReadingOptions, hold_out_test, load
from moue.data.readers.store import save
from moue.data.readers.synth import synthetic
from moue.ensembles.inside import member_logits
from moue.ensembles.voting import merge
from moue.errors import DataError, UsageError
from moue.spec import ModelSpec
from moue.training.config import Config
from moue.training.loop import fit
from moue.training.recipe import load_recipe
from moue.training.run_folder import Run


@pytest.mark.usefixtures("figures")
def test_a_comparison_trains_reports_and_reuses_finished_runs(data: str, tmp_path: Path) -> None:
    out = tmp_path / "study"
    lines: list[str] = []
    names, settings = ["demo/vit"], TINY
    rows = compare(names, data=data, out=out, settings=settings, command="moue compare …", log=lines.append)
    assert [row.name for row in rows] == ["vit"]
    assert rows[0].evaluation is not None
    assert rows[0].evaluation.n == 40
    assert rows[0].hours is not None
    assert rows[0].gflop
    details = rows[0].details
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", details["training date"])
    assert details["versions"]["torch"]
    _, _, recipe, *_ = shlex.split(details["training command"])
    assert load_recipe(out / "runs" / recipe) == Run(out / "runs" / "demo-vit").config()
    assert details["selection"].endswith(("the best on the validation rows", "the last"))
    page = (out / "comparison.html").read_text(encoding="utf-8")
    assert "vit" in page
    code = [html.unescape(re.sub("<[^>]+>", "", text)) for text in re.findall(r"<code>(.+?)</code>", page)]
    assert details["training command"] in code, "a command alone is code"
    assert "moue compare …" in page
    content = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert content["rows"][0]["evaluation"]["confusion"]
    weights = out / "runs" / "demo-vit" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    again = compare(names, data=data, out=out, settings=settings)
    assert weights.stat().st_mtime_ns == before, "a finished run is not trained again"
    assert again[0].evaluation is not None
    assert again[0].evaluation.accuracy == rows[0].evaluation.accuracy
    by_folder, model = compare(
        [str(weights.parent), "tiny"], data=data, out=tmp_path / "other", title="A run & a model"
    )
    assert by_folder.evaluation is not None
    assert by_folder.evaluation.accuracy == rows[0].evaluation.accuracy
    assert (by_folder.engine, by_folder.threads) == (model.engine, model.threads) == ("onnxruntime", 1)
    assert by_folder.latency_ms
    assert model.latency_ms
    assert model.details["selection"].endswith(", the last: no rows were held out to choose one by")
    assert "<h1>A run &amp; a model</h1>" in (tmp_path / "other" / "comparison.html").read_text(encoding="utf-8")


def test_a_network_that_cannot_be_timed_keeps_its_scores(
    finished: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("an operator without a symbol")

    monkeypatch.setattr("moue.export.graph.trace", fails)
    lines: list[str] = []
    [row] = compare([str(finished / "runs" / "demo-vit")], data=data, out=tmp_path, log=lines.append)
    assert (row.status, row.latency_ms, row.engine) == ("ok", None, None)
    assert any("not timed: " in line and "an operator without a symbol" in line for line in lines)


@pytest.mark.parametrize("known", [True, False])
def test_a_finished_run_keeps_its_row_without_the_source_of_its_weights(known: bool, data: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    published = tmp_path / "published"
    transformers.ViTForImageClassification(
        transformers.ViTConfig(**shape, image_size=16, patch_size=8)
    ).save_pretrained(published)
    config = Config().override([*TINY, "model.network=vit"], {"model.options": {"source": str(published)}})
    run = fit(config, load(data), tmp_path / "run")
    published.rename(tmp_path / "gone")
    if not known:
        record = {key: value for key, value in run.record().items() if key != "rebuild"}
        (run.folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    [row] = compare([str(run.folder)], data=data, out=tmp_path / "out")
    assert row.status == "ok"
    assert (row.gflop is not None) == known


@pytest.mark.usefixtures("figures")
def test_an_exported_run_keeps_its_curves_and_its_cost(data: str, tmp_path: Path) -> None:
    settings = [*TINY, "optim.epochs=3", "model.options={widths: [8, 16], blocks: [1]}"]
    [run] = compare(["recipe:compact"], data=data, out=tmp_path / "first", settings=settings)
    model = tmp_path / "model.onnx"
    assert main(["export", str(tmp_path / "first" / "runs" / "compact"), "-o", str(model)]) == 0
    [row] = compare([str(model)], data=data, out=tmp_path / "second")
    assert (row.hours, row.core_hours, row.epochs) == (run.hours, run.core_hours, 3)
    assert row.core_hours == row.hours, "one thread"
    assert row.history == run.history
    assert [epoch["epoch"] for epoch in row.history or ()] == [1, 2, 3]
    assert (tmp_path / "second" / "figures" / "model-curves-loss.svg").exists()
    spec = model.with_suffix(".json").read_text(encoding="utf-8")
    assert sum('_accuracy": [' in line for line in spec.splitlines()) == 2, "a curve is a line"
    damaged = json.loads(spec)
    damaged["trained"]["curves"]["train_loss"] = [1.0]
    model.with_suffix(".json").write_text(json.dumps(damaged), encoding="utf-8")
    [row] = compare([str(model)], data=data, out=tmp_path / "third")
    assert "trained.curves must be" in (row.reason or "")


def test_the_studys_numbers_are_shown_with_its_recipes_or_when_asked_for(data: str, tmp_path: Path) -> None:
    [row] = compare(["tiny"], data=data, out=tmp_path)
    assert row.status == "ok"
    assert row.gflop
    assert [row.status for row in compare(["tiny"], data=data, out=tmp_path, quote=True)] == ["ok", *["quoted"] * 3]


def test_a_set_with_a_test_part_of_its_own_is_compared_on_it(tmp_path: Path) -> None:
    own, without = synthetic(300, seed=4), tmp_path / "without.npz"
    save(hold_out_test(own.part("train"), 0.2), tmp_path / "own.npz")
    [row] = compare(["tiny"], data=str(tmp_path / "own.npz"), out=tmp_path / "out")
    assert row.evaluation is not None
    assert (row.evaluation.split, row.evaluation.n) == ("test", 49)
    save(own.part("train"), without)
    with pytest.raises(DataError, match="--test"):
        compare(["tiny"], data=str(without), out=tmp_path / "out")


def test_each_network_sees_the_images_in_its_own_size_and_color(tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    for name, color in (("reddish", (130, 0, 0)), ("greenish", (0, 66, 0))):
        for split in ("train", "test"):
            (faces / split / name).mkdir(parents=True)
            for i in range(30):
                # Equal in gray, so that only the color distinguishes them.
                image = np.random.default_rng(i).integers(0, 60, (16, 16, 1)) + np.array(color)
                Image.fromarray(image.astype(np.uint8)).save(faces / split / name / f"{i}.png")
    colored = tmp_path / "colored.yaml"
    colored.write_text(
        "data: {augment: false}\nmodel: {network: googlenet, options: {color: rgb, width: 0.125}}\n"
        "optim: {name: adam, lr: 0.003, epochs: 8, batch_size: 8}\nrun: {threads: 1}\n"
    )
    [row] = compare(
        [str(colored)], data=str(faces), out=tmp_path / "out", reading=ReadingOptions("folders"), split="test"
    )
    assert row.evaluation is not None
    assert row.evaluation.accuracy > 0.9


def test_the_labels_suit_what_is_compared(tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    for split in ("train", "test"):
        for shade, name in ((20, "dull"), (220, "keen")):
            (faces / split / name).mkdir(parents=True)
            for i in range(12):
                image = np.random.default_rng(i).integers(0, 30, (48, 48)) + shade
                Image.fromarray(image.astype(np.uint8)).save(faces / split / name / f"{i}.png")
    config = load_recipe("compact").override([*TINY, "model.options={widths: [8, 16]}"])
    fit(config, load(faces, labels="folders"), tmp_path / "run")
    [row] = compare([str(tmp_path / "run")], data=str(faces), out=tmp_path / "out", split="test")
    assert row.evaluation is not None
    assert row.evaluation.labels == ("dull", "keen")


def test_runs_are_compared_on_what_they_held_out_if_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = tmp_path / "faces"
    table = synthetic(200, seed=4)
    for i, image in enumerate(table.images[:, 0]):
        (faces / table.label_set.labels[table.labels[i]]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(faces / table.label_set.labels[table.labels[i]] / f"{i}.png")
    small = [*TINY, "model.options={widths: [8, 16]}"]
    for name, more in (("a", "run.seed=0"), ("b", "run.seed=1"), ("c", "data.split_seed=9")):
        config = load_recipe("compact").override([*small, more])
        fit(config, load(faces), tmp_path / name)
    runs = [str(tmp_path / name) for name in "abc"]
    rows = compare(runs, data=str(faces), out=tmp_path / "out", split="validation")
    assert [row.status for row in rows] == ["ok", "ok", "not run"]
    assert "data.split_seed" in str(rows[2].reason)
    assert rows[0].evaluation is not None
    monkeypatch.setitem(sys.modules, "moue_models", None)
    further = compare(["full", runs[0], runs[2]], data=str(faces), out=tmp_path / "further", split="validation")
    assert "not that of a:" in str(further[2].reason), "the first that ran"
    page = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert f"validation, {rows[0].evaluation.n} rows" in page


def test_a_trained_model_takes_precedence_over_the_recipe_of_its_name(data: str, tmp_path: Path) -> None:
    small = [
        *TINY,
        "model.options={widths: [8, 16], blocks: [1]}",
        "optim.votes_weight=0",
        "optim.progressive_sizes=[]",
    ]
    rows = compare(["default", "recipe:default"], data=data, out=tmp_path, settings=small)
    assert [row.name for row in rows] == ["default", "recipe:default"]
    assert len(rows[0].history or ()) == rows[0].epochs, "a model carries the curves of its training"
    assert [r["epoch"] for r in rows[1].history or ()] == [1]
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["default"]


def test_a_recipe_that_starts_from_a_shipped_model_is_compared_on_own_classes(tmp_path: Path) -> None:
    mine, drawn = tmp_path / "mine", synthetic(120, seed=8)
    for i, (image, label) in enumerate(zip(drawn.images, drawn.labels.tolist(), strict=True)):
        folder = mine / ("test" if i % 4 == 0 else "train") / ("smile" if label == 3 else "none")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(folder / f"{i}.png")
    settings = ["optim.epochs=1", "optim.steps=1", "run.threads=1", "model.init=tiny"]
    [row] = compare(["finetune"], data=str(mine), out=tmp_path / "out", settings=settings)
    assert row.evaluation is not None, row.reason
    assert row.evaluation.labels == ("none", "smile")
    assert row.network == "compact"
    with pytest.raises(UsageError, match=r"the recipe finetune starts from votes: .*Did you mean full/votes"):
        compare(["finetune"], data=str(mine), out=tmp_path / "no", settings=[*settings[:3], "model.init=votes"])


def test_the_members_of_an_ensemble_are_read_from_its_graph(data: str, tmp_path: Path) -> None:
    whole = load(data)
    for kind in ("soft", "majority"):
        merge(["tiny", "default"], tmp_path / f"{kind}.onnx", kind=kind)
    names = [str(tmp_path / "soft.onnx"), str(tmp_path / "majority.onnx"), "tiny", "default"]
    soft, majority, *alone = compare(names, data=data, out=tmp_path / "out")
    for result in (soft, majority):
        assert result.ensemble is not None
        found = result.ensemble.gain
        assert found is not None
        assert found.accuracies == tuple(result.accuracy for result in alone)
        predicted = [r.predictions.class_ids for r in alone if r.predictions is not None]
        assert found.disagreement[0][1] == pytest.approx((predicted[0] != predicted[1]).mean())
        assert [member.weight for member in result.ensemble.members] == [0.5, 0.5]
    assert alone[0].ensemble is None
    part = whole.part("public_test")
    stack = ModelSpec.load(tmp_path / "soft.json")
    assert member_logits(tmp_path / "soft.onnx", stack.replace(trained={}), part.images) is None


def test_predictions_stand_for_what_made_them(finished: Path, data: str, tmp_path: Path) -> None:
    run = finished / "runs" / "demo-vit"
    for suffix in ("csv", "parquet"):
        wanted = ["evaluate", str(run), "--data", data, "--split", "public_test"]
        assert main([*wanted, "--predictions", str(tmp_path / f"then.{suffix}")]) == 0
    own, saved = compare([str(run), str(tmp_path / "then.parquet")], data=data, out=tmp_path / "page")
    assert saved.name == "then"
    assert saved.evaluation is not None
    assert own.evaluation is not None
    assert saved.evaluation.accuracy == own.evaluation.accuracy
    assert (saved.network, saved.hours, saved.parameters) == (own.network, own.hours, own.parameters)
    assert list(saved.history) == list(own.history)
    assert saved.latency_ms is None
    assert saved.correct is not None
    content = json.loads((tmp_path / "page" / "comparison.json").read_text(encoding="utf-8"))
    assert [row["accuracy"] for row in content["rows"]] == [own.accuracy, own.accuracy]
    table, model = compare([str(tmp_path / "then.csv"), "tiny"], data=data, out=tmp_path / "other")
    assert table.accuracy == own.accuracy
    assert model.latency_ms
    (tmp_path / "page" / "comparison.csv").write_bytes((tmp_path / "then.csv").read_bytes())
    with pytest.raises(UsageError, match=r"comparison\.csv"):
        compare([str(tmp_path / "page" / "comparison.csv")], data=data, out=tmp_path / "page")
    with pytest.raises(UsageError, match="is missing"):
        compare([str(tmp_path / "nowhere.csv")], data=data, out=tmp_path / "page")
    (tmp_path / "wrong.csv").write_text("source,happy\n", encoding="utf-8")
    good, wrong = compare(["tiny", str(tmp_path / "wrong.csv")], data=data, out=tmp_path / "page")
    assert good.evaluation is not None
    assert wrong.reason is not None
    assert "wrong.csv" in wrong.reason
