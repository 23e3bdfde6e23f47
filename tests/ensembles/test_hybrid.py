"""Hybrids: which rows a classifier is fitted on, that its graph decides as it does, and what its file says."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small import SMALL

from moue.cli.main import main
from moue.data.duplicates import duplicate_groups
from moue.data.readers.store import save
from moue.data.readers.synth import synthetic
from moue.data.splits import stratified_split
from moue.data.table import ImageTable
from moue.ensembles.classifiers import CLASSIFIERS
from moue.ensembles.classifiers.base import Classifier, Kind
from moue.ensembles.classifiers.knn_svm import NeighborSVM
from moue.ensembles.features import open_trunk
from moue.ensembles.hybrid import _sample, compute_features, fit_hybrid, hybrid
from moue.errors import DataError, MissingExtra, ModelError, UnknownName, UsageError
from moue.export import export
from moue.export.graph import tidy
from moue.models import create
from moue.runtime.engine import open_graph, open_model
from moue.spec import ModelSpec, file_sha256
from moue.trained.open import open_any
from moue.trained.split_of import split_of
from moue.training.loop import fit
from moue.training.run_folder import Run

KINDS = list(CLASSIFIERS)


def points(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of classes that overlap; the last one is constant."""
    labels = np.arange(n) % k
    x = np.random.default_rng(seed).normal(size=(n, 10)) + 1.2 * np.eye(k, 10)[labels]
    x = np.maximum(0, x).astype(np.float32)
    x[:, -1] = 3
    return x, labels


def graph_of(classifier: Classifier, k: int) -> bytes:
    nodes, constants = classifier.nodes("features")
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])
        for name, width in (("features", 10), ("logits", k))
    ]
    graph = helper.make_graph(nodes, "classifier", ports[:1], ports[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(tidy(model).SerializeToString())


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("name", KINDS)
def test_a_graph_decides_as_its_classifier(name: str, k: int) -> None:
    kind: Kind = CLASSIFIERS.load(name)()
    classifier = kind.fit(*points(240, k, 0), k, kind.defaults | ({"k": 30} if name == "knn-svm" else {}))
    x, labels = points(40, k, 1)
    exact = classifier.logits(x)
    graph = open_graph(graph_of(classifier, k), engine="onnxruntime")
    [together] = graph({"features": x})
    assert np.abs(together - exact).max() < 1e-4 * max(1, np.abs(exact).max())
    alone = np.concatenate([graph({"features": row[None]})[0] for row in x])
    assert np.allclose(alone, together, atol=1e-3)
    assert (together.argmax(1) == labels).mean() > 1.4 / k


@pytest.mark.parametrize("k", [2, 3])
def test_decisions_are_those_of_scikit_learn(k: int) -> None:
    x, labels = points(240, k, 0)
    for name in ("linear-svm", "gradient-boosting"):
        kind: Kind = CLASSIFIERS.load(name)()
        classifier = kind.fit(x, labels, k, kind.defaults)
        scaler = getattr(classifier, "scaler", lambda features: features)
        assert np.array_equal(classifier.logits(x).argmax(1), classifier.estimator.predict(scaler(x)))  # type: ignore[attr-defined]


def test_a_face_has_the_machine_of_its_neighbors() -> None:
    from sklearn.svm import LinearSVC

    x, labels = points(300, 3, 0)
    new, _ = points(6, 3, 1)
    local = NeighborSVM().fit(x, labels, 3, {"k": 40, "C": 0.5})
    rows, scaled = local.rows.astype(np.float64), local.scaler(new)
    for features, logits in zip(scaled / np.linalg.norm(scaled, axis=1, keepdims=True), local.logits(new), strict=True):
        nearest = np.argsort(-(rows @ features))[:40]
        for label in range(3):
            machine = LinearSVC(C=0.5, tol=1e-8, max_iter=100_000).fit(rows[nearest], labels[nearest] == label)
            assert logits[label] / 10 == pytest.approx(machine.decision_function([features])[0], abs=2e-3)


@pytest.fixture(scope="module")
def table() -> ImageTable:
    drawn = synthetic(400, seed=3)
    return drawn.take(np.concatenate([np.arange(len(drawn)), np.flatnonzero(drawn.split == "train")[:20]]))


@pytest.fixture(scope="module")
def run(table: ImageTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network") / "run"
    fit(SMALL.override(["optim.epochs=1", "data.validation=0.25"]), table, folder)
    export(folder)
    return folder


SMALL_GRIDS: dict[str, dict[str, list[float]]] = {
    "linear-svm": {},
    "svm": {"C": [1]},
    "gradient-boosting": {"iterations": [3, 6]},
    "knn-svm": {"k": [20], "C": [0.1, 1]},
}


@pytest.mark.parametrize("name", KINDS)
def test_a_hybrid_is_one_file_that_reads_as_any_model(name: str, run: Path, table: ImageTable, tmp_path: Path) -> None:
    settings = SMALL_GRIDS[name]
    result = hybrid(run / "model.onnx", tmp_path / "h.onnx", table, name, settings=settings)
    model = open_model(tmp_path / "h.onnx", engine="onnxruntime")
    images = table.images[:30]
    logits = model.logits(images)
    assert np.array_equal(open_model(tmp_path / "h.onnx", engine="onnxruntime").logits(images), logits)
    assert np.allclose(np.concatenate([model.logits(images[i : i + 1]) for i in range(30)]), logits, atol=1e-3)
    again = hybrid(run / "model.onnx", tmp_path / "again.onnx", table, name, settings=settings, name="h")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "h.onnx").read_bytes()
    assert again.trials == result.trials
    assert sum(trial.chosen for trial in result.trials) == 1
    chosen = next(trial for trial in result.trials if trial.chosen)
    assert chosen.log_loss == min(trial.log_loss for trial in result.trials)
    assert result.spec.trained["settings"] == chosen.settings
    assert ModelSpec.load(tmp_path / "h.json") == result.spec
    held_out, of_run = split_of(tmp_path / "h.onnx", table), split_of(run, table)
    assert held_out is not None
    assert of_run is not None
    assert np.array_equal(held_out.validation, of_run.validation)
    assert result.spec.views == Run(run).spec().views
    assert "validation" in result.spec.scores


def test_only_training_rows_are_fitted_on(
    run: Path, table: ImageTable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = []

    def fit_spied(
        self: Kind, features: np.ndarray, labels: np.ndarray, k: int, settings: dict[str, float]
    ) -> Classifier:
        seen.append(features)
        return own(self, features, labels, k, settings)

    kind = CLASSIFIERS.load("linear-svm")
    own = kind.fit
    monkeypatch.setattr(kind, "fit", fit_spied)
    fitting = compute_features(run, table)
    split = Run(run).split(table)
    assert np.array_equal(fitting.split.train, split.train)
    result = fit_hybrid(fitting, tmp_path / "h.onnx", "linear-svm")
    trunk, _ = open_trunk(run)(table.images[split.train])
    assert seen
    assert all(np.array_equal(features, trunk) for features in seen)
    groups = duplicate_groups(table)
    assert not set(groups[split.train]) & set(groups[split.validation])
    network = open_any(run)
    right = [
        (network.logits(part).mean(0).argmax() == label)
        for image, label in zip(table.images[split.validation], table.labels[split.validation], strict=True)
        for part in [np.stack([image, image[..., ::-1]])]
    ]
    gain = result.spec.trained["gain"]
    assert gain["best_member_accuracy"] == pytest.approx(np.mean(right), abs=0.012)
    assert gain["accuracy"] == pytest.approx(result.spec.scores["validation"], abs=1e-5)


def test_features_are_what_enters_the_last_layer(tmp_path: Path) -> None:
    import torch

    for i, (name, options) in enumerate(
        [
            ("compact", {"widths": [8, 16]}),
            ("vgg", {"widths": [8, 16]}),
            ("vit-compact", {"dim": 48, "depth": 1, "heads": 2}),
        ]
    ):
        from moue.export.files import write_model
        from moue.export.graph import trace

        network = create(name, 5, **options).eval()  # type: ignore[arg-type]
        spec = ModelSpec(name, name, ("a", "b", "c", "d", "e"))
        write_model(tmp_path / f"{i}.onnx", trace(network, spec), spec)
        entered: list[torch.Tensor] = []
        network.get_submodule("classifier").register_forward_pre_hook(
            lambda _, args, entered=entered: entered.append(args[0])
        )
        images = np.random.default_rng(0).integers(0, 256, (5, 1, 48, 48), dtype=np.uint8)
        with torch.no_grad():
            expected = network(torch.from_numpy(images)).numpy()
        features, logits = open_trunk(tmp_path / f"{i}.onnx")(images)
        assert np.allclose(features, entered[0].numpy(), atol=1e-4)
        assert np.allclose(logits, expected, atol=1e-4)


def test_a_network_that_was_trained_on_crops_is_judged_on_the_views_of_service(
    table: ImageTable, tmp_path: Path
) -> None:
    from moue.export.files import write_model
    from moue.export.graph import trace

    spec = ModelSpec("c", "compact", table.label_set.labels, views=10, crop_size=40)
    write_model(tmp_path / "c.onnx", trace(create("compact", 7, widths=[8, 16]).eval(), spec), spec)
    fitting = compute_features(tmp_path / "c.onnx", table)
    result = fit_hybrid(fitting, tmp_path / "h.onnx", "linear-svm", settings={"C": [1]})
    assert result.spec.crop_size == 40
    served = open_model(tmp_path / "h.onnx", engine="onnxruntime")
    logits = served.tta_logits(table.images[fitting.split.validation], 10)
    assert np.allclose(logits, fitting.held_out_logits(result.classifier), atol=1e-3)


def test_a_network_that_saw_all_rows_leaves_none_to_choose_on(table: ImageTable, tmp_path: Path) -> None:
    fit(SMALL.override(["optim.epochs=1", "data.validation=0"]), table, tmp_path / "all")
    result = hybrid(tmp_path / "all", tmp_path / "h.onnx", table, settings={"C": [0.05]})
    assert result.trials == ()
    assert "gain" not in result.spec.trained
    assert "validation" not in result.spec.scores
    remarks = " ".join(result.spec.trained["remarks"])
    assert "(C=0.05) are not chosen" in remarks
    assert "trained on all rows" in remarks
    assert "temperature stays 1" in remarks


def test_a_network_of_another_set_gets_new_classes(run: Path, tmp_path: Path) -> None:
    new = synthetic(300, seed=9)
    result = hybrid(run / "model.onnx", tmp_path / "h.onnx", new)
    assert result.spec.trained["data"]["validation"] == len(stratified_split(new, 0.2).validation)
    assert split_of(tmp_path / "h.onnx", new) is not None


def test_a_sample_has_every_class_in_its_proportion() -> None:
    labels = np.repeat([0, 1, 2], [600, 399, 1])
    rows = _sample(labels, 100)
    assert np.bincount(labels[rows]).tolist() == [60, 39, 1]
    assert len(np.unique(rows)) == len(rows)
    assert np.array_equal(_sample(labels, None), np.arange(1000))


def test_an_ensemble_has_no_last_layer(run: Path, table: ImageTable, tmp_path: Path) -> None:
    from moue.ensembles.voting import merge

    merge([run, run / "model.onnx"], tmp_path / "vote.onnx")
    with pytest.raises(ModelError, match=r"'vote' does not end in one linear layer.*one of its members"):
        hybrid(tmp_path / "vote.onnx", tmp_path / "h.onnx", table)


def test_a_class_without_training_rows_is_named(run: Path, table: ImageTable, tmp_path: Path) -> None:
    some = table.take(table.labels != 1)
    with pytest.raises(DataError, match="no training rows of the class disgust"):
        hybrid(run, tmp_path / "h.onnx", some)


def test_rows_that_a_model_may_have_seen_are_not_validated_on(table: ImageTable, tmp_path: Path) -> None:
    # Version 0.1.0 said on what a model was trained, but not how it was split.
    spec = ModelSpec("old", "x", table.label_set.labels, trained={"data": {"fingerprint": table.fingerprint}})
    path = tmp_path / "old.onnx"
    from moue.export.graph import trace

    onnx.save(trace(create("compact", 7, widths=[8, 8]), spec), path)
    spec.replace(sha256=file_sha256(path)).save(path.with_suffix(".json"))
    with pytest.raises(UsageError, match="nothing says which of these rows it held out"):
        hybrid(path, tmp_path / "h.onnx", table)


@pytest.mark.parametrize(
    ("classifier", "settings", "message"),
    [
        ("smv", {}, "no classifier named 'smv'. Did you mean svm"),
        ("svm", {"Gamma": [1.0]}, "no setting of svm named 'Gamma'. Did you mean gamma"),
        ("svm", {"C": [0.0]}, "C of svm must be above 0. Got 0.0"),
        ("knn-svm", {"k": [2.5]}, "k of knn-svm must be a whole number. Got 2.5"),
    ],
)
def test_settings_that_there_are_not_are_refused(
    classifier: str, settings: dict[str, list[float]], message: str, run: Path, table: ImageTable, tmp_path: Path
) -> None:
    with pytest.raises((UnknownName, UsageError), match=message):
        hybrid(run, tmp_path / "h.onnx", table, classifier, settings=settings)


def test_scikit_learn_is_named_where_it_is_missing(
    run: Path, table: ImageTable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtra, match=r"sklearn.*pip install 'moue\[train\]'"):
        hybrid(run, tmp_path / "h.onnx", table)


def test_the_command_prints_what_it_tried(
    run: Path, table: ImageTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(table, tmp_path / "set.npz")
    words = [
        "ensemble",
        "hybrid",
        str(run / "model.onnx"),
        "--data",
        str(tmp_path / "set.npz"),
        "-o",
        str(tmp_path / "h.onnx"),
    ]
    assert main([*words, "--set=C=0.001,0.1"]) == 0
    out = capsys.readouterr().out
    assert "linear-svm (C=" in out
    assert "run, its best member" in out
    assert re.search(r"h.onnx: hybrid\n.* 85 held-out images", out)
    assert main([*words, "--set=C=0.001,0.1", "--format", "json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [trial["C"] for trial in values["trials"]] == [0.001, 0.1]
    assert values["classifier"] == "linear-svm"
    data = ["--data", str(tmp_path / "set.npz")]
    assert (
        main(["evaluate", str(tmp_path / "h.onnx"), *data, "--split", "validation", "--card", str(tmp_path / "c.md")])
        == 0
    )
    assert "classifier: linear-svm" in (tmp_path / "c.md").read_text()
    capsys.readouterr()
    for bad in (["--set=C"], ["--set=C=x"]):
        assert main([*words, *bad]) == 2
        assert "a setting with a number or several" in capsys.readouterr().err
