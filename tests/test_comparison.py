"""`compare`: one page from recipes, runs and models."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sets import broken, simple_csv

from moue.cli.main import main
from moue.comparison import compare
from moue.data import ReadingOptions, hold_out_test, load
from moue.data.readers.store import save
from moue.data.readers.synth import synthetic
from moue.ensembles.inside import member_logits
from moue.ensembles.voting import merge
from moue.errors import DataError, TrainingError, UnknownName, UsageError
from moue.spec import ModelSpec
from moue.training.config import Config
from moue.training.loop import fit
from moue.training.recipe import load_recipe
from moue.training.run_folder import Run

TINY = ["optim.epochs=1", "run.threads=1", "data.augment=false", "run.minutes=null", "optim.steps=4"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("set") / "faces.npz"
    save(synthetic(400, seed=2), path)
    return str(path)


def leave_out_figures(patch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all else that these tests do."""
    patch.setattr("moue.report.write.comparison_figures", lambda *_: [])
    patch.setattr("moue.report.write.model_figures", lambda *_: [])


@pytest.fixture
def figures() -> None:
    """For a test that looks at the figures."""


@pytest.fixture(autouse=True)
def _without_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "figures" not in request.fixturenames:
        leave_out_figures(monkeypatch)


@pytest.fixture(scope="module")
def finished(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished comparison."""
    with pytest.MonkeyPatch.context() as patch:
        leave_out_figures(patch)
        out = tmp_path_factory.mktemp("finished")
        compare(["demo/vit"], data=data, out=out, settings=TINY)
    return out


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


def test_missing_weights_are_a_row_with_the_reason(data: str, tmp_path: Path) -> None:
    settings = [*TINY, "model.options={weights: absent.h5}"]
    rows = compare(["study/resnet50v2"], data=data, out=tmp_path, settings=settings)
    assert rows[0].status == "not run"
    assert rows[0].reason is not None
    assert "absent.h5" in rows[0].reason
    assert [row.status for row in rows[1:]] == ["quoted"] * 3
    markdown = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert "**Not run.** resnet50v2: needs published weights: " in markdown
    assert ".." not in markdown.partition("**Not run.**")[2].partition("\n")[0], "one full stop ends it"


def test_the_studys_numbers_are_shown_with_its_recipes_or_when_asked_for(data: str, tmp_path: Path) -> None:
    [row] = compare(["tiny"], data=data, out=tmp_path)
    assert row.status == "ok"
    assert row.gflop
    assert [row.status for row in compare(["tiny"], data=data, out=tmp_path, quote=True)] == ["ok", *["quoted"] * 3]


def test_a_run_on_other_data_is_refused(finished: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    save(synthetic(300, seed=3), other)
    with pytest.raises(UsageError, match="--out"):
        compare(["demo/vit"], data=str(other), out=finished, settings=TINY)


def test_unknown_names_are_refused_before_any_training(data: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="googlenet"):
        compare(["demo/vit", "googlenot"], data=data, out=tmp_path, settings=TINY)
    with pytest.raises(UnknownName, match="Known: ") as caught:
        compare(["zzz"], data=data, out=tmp_path)
    assert str(caught.value).count(" default,") == 1
    assert not (tmp_path / "runs").exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="file is a file"):
        compare(["tiny"], data=data, out=tmp_path / "file")
    with pytest.raises(UsageError, match="once"):
        compare(["demo/vit", "demo/vit"], data=data, out=tmp_path)


def test_the_page_replaces_nothing_that_is_compared(tiny_onnx: Path, data: str, tmp_path: Path) -> None:
    for suffix in (".onnx", ".json"):
        shutil.copy(tiny_onnx.with_suffix(suffix), tmp_path / f"comparison{suffix}")
    shutil.copy(data, tmp_path / "comparison.csv")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match=r"comparison\.json is read or written by this command"):
        compare([str(tmp_path / "comparison.onnx")], data=data, out=tmp_path)
    with pytest.raises(UsageError, match=r"comparison\.csv is read or written by this command"):
        compare(["tiny"], data=str(tmp_path / "comparison.csv"), out=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_rows_that_could_not_be_read_change_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (csv := tmp_path / "bad.csv").write_text(broken(simple_csv(), 4, "3,", "9,"))
    command = ["compare", "tiny", "--data", str(csv), "--out", str(tmp_path / "out")]
    assert main(command) == 2
    capsys.readouterr()
    assert main([*command, "--skip-bad"]) == 3
    assert capsys.readouterr().err.count(f"moue: left out {csv}, row 4: ") == 1


def test_two_recipes_never_share_a_run(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exps").mkdir()
    for name in ("exps/a.yaml", "exps-a.yaml"):
        (tmp_path / name).write_text("model: {network: compact}\n")
    with pytest.raises(UsageError, match=r"exps/a\.yaml and exps-a\.yaml, .*exps-a: compare one"):
        compare(["exps/a.yaml", "exps-a.yaml"], data=data, out=tmp_path / "out", settings=TINY)
    with pytest.raises(UsageError, match="demo/vit and recipe:demo/vit"):
        compare(["demo/vit", "recipe:demo/vit"], data=data, out=tmp_path / "out", settings=TINY)
    assert not (tmp_path / "out").exists()


def test_a_known_model_that_is_not_installed_is_a_row(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "moue_models", None)
    rows = compare(["tiny", "full"], data=data, out=tmp_path)
    assert [row.status for row in rows] == ["ok", "not run"]
    assert "pip install 'moue[models]'" in str(rows[1].reason)


def test_what_a_recipe_lacks_is_an_error_before_the_first_is_trained(data: str, tmp_path: Path) -> None:
    for other, settings, words in (
        ("recipe:default", TINY, "--votes fer2013new.csv"),
        ("recipe:ferplus", TINY, "--labels ferplus"),
        ("compact", [*TINY, f"optim.teachers=[{tmp_path / 'absent'}]"], "absent"),
    ):
        with pytest.raises(UsageError, match=words):
            compare(["demo/vit", other], data=data, out=tmp_path / "out", settings=settings)
    assert not (tmp_path / "out").exists()


def test_a_run_with_other_settings_is_refused(data: str, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"optim\.lr=.*not 0\.5"):
        compare(["demo/vit"], data=data, out=finished, settings=[*TINY, "optim.lr=0.5"])
    compare(["demo/vit"], data=data, out=finished, settings=[*TINY, "run.threads=2"])
    own = tmp_path / "own.yaml"
    for rate in ("0.01", "0.02"):
        own.write_text(f"model: {{network: compact, options: {{widths: [8, 16]}}}}\noptim: {{lr: {rate}}}\n")
        if rate == "0.01":
            compare([str(own)], data=data, out=tmp_path / "own", settings=TINY)
    with pytest.raises(UsageError, match=r"a recipe with optim\.lr=0\.01, not 0\.02"):
        compare([str(own)], data=data, out=tmp_path / "own", settings=TINY)


def test_a_training_that_fails_is_a_row_and_the_others_keep_theirs(data: str, tmp_path: Path) -> None:
    blown = tmp_path / "blown.yaml"
    blown.write_text("model: {network: compact, options: {widths: [8, 16]}}\noptim: {name: sgd, lr: 1.0e+12}\n")
    rows = compare(["demo/vit", str(blown)], data=data, out=tmp_path / "out", settings=TINY)
    assert rows[0].evaluation is not None
    assert rows[1].status == "not run"
    assert "no longer finite" in str(rows[1].reason)
    assert "no longer finite" in (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")


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


def test_the_exit_code_says_whether_all_could_be_compared(data: str, tmp_path: Path) -> None:
    gone = "model.options={weights: absent.h5}"
    asked = ["--data", data, "--out", str(tmp_path / "out"), *(w for s in TINY for w in ("--set", s))]
    assert main(["compare", "study/resnet50v2", *asked, "--set", gone]) == 2
    assert main(["compare", "study/resnet50v2", "tiny", *asked, "--set", gone]) == 3
    assert main(["compare", "tiny", "--data", data, "--out", str(tmp_path / "out")]) == 0


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


def test_a_recipe_is_trained_with_several_seeds_which_are_resumed(
    data: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seeds"
    shutil.copytree(finished, out)
    first = out / "runs" / "demo-vit" / "weights.safetensors"
    before = first.stat().st_mtime_ns
    settings = [f"--set={setting}" for setting in TINY]
    command = ["compare", "demo/vit", "tiny", "--data", data, "--out", str(out), *settings]
    assert main([*command, "--seeds", "2", "--format", "json"]) == 0
    assert first.stat().st_mtime_ns == before, "the run of the first seed is taken"
    second = out / "runs" / "demo-vit-seed-1" / "weights.safetensors"
    assert second.read_bytes() != first.read_bytes()
    content = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    vit, tiny = content["rows"]
    assert (vit["model"], [run["seed"] for run in vit["seeds"]]) == ("vit", [0, 1])
    assert tiny["seeds"] == []
    accuracies = [run["accuracy"] for run in vit["seeds"]]
    assert vit["accuracy"] == accuracies[0]
    assert vit["over_seeds"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert content["provenance"]["Seeds"].startswith("0, 1")
    times = [path.stat().st_mtime_ns for path in (first, second)]
    capsys.readouterr()
    assert main([*command, "--seeds", "2"]) == 0
    assert [path.stat().st_mtime_ns for path in (first, second)] == times
    mean, sd = np.mean(accuracies), np.std(accuracies, ddof=1)
    assert f"{mean:.2%} ± {sd:.2%}" in capsys.readouterr().out


def test_seeds_that_nothing_would_use_are_refused(data: str, tmp_path: Path) -> None:
    for seeds in (0, 21):
        with pytest.raises(UsageError, match="between 1 and 20"):
            compare(["demo/vit"], data=data, out=tmp_path, seeds=seeds)
    with pytest.raises(UsageError, match="only recipes are trained with several seeds"):
        compare(["tiny"], data=data, out=tmp_path, seeds=2)
    assert not list(tmp_path.iterdir())


def test_a_seed_that_fails_is_named_and_the_others_count(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit_or_fail(config: Config, *args: Any, **kwargs: Any) -> Run:
        if config.run.seed == 0:
            raise TrainingError("the loss is no longer finite")
        return fit(config, *args, **kwargs)

    monkeypatch.setattr("moue.training.loop.fit", fit_or_fail)
    [row] = compare(["demo/vit"], data=data, out=tmp_path, settings=TINY, seeds=2)
    assert (row.name, row.status, len(row.seeds)) == ("vit", "ok", 1)
    assert "vit was not run: the loss is no longer finite" in row.details["remarks"]


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
