"""Bagging and boosting: who was trained on what, with which weights."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from members import initializers
from sklearn.ensemble import AdaBoostClassifier
from sklearn.tree import DecisionTreeClassifier

from moue.cli.main import main
from moue.cross_validation import OUT_OF_FOLD, OutOfFold, cross_validate
from moue.data.balance import bootstrap
from moue.data.duplicates import duplicate_groups
from moue.data.readers.store import save
from moue.data.readers.synth import synthetic
from moue.data.splits import stratified_split
from moue.data.table import ImageTable
from moue.ensembles.bagging import Bag, bag, is_out_of_bag
from moue.ensembles.boosting import Boost, boost, reweighted, vote_weight
from moue.ensembles.stacking import choose_strength, fit_linear, stack
from moue.errors import DataError, TrainingError, UsageError
from moue.runtime.engine import open_model
from moue.spec import ModelSpec
from moue.trained.open import open_any
from moue.training.config import Config
from moue.training.prepare import bootstrap_rows, prepare
from moue.training.run_folder import Run
from moue.tta import tta_logits

SETTINGS = {
    "optim.epochs": 2,
    "optim.lr": 0.01,
    "run.threads": 1,
    "data.augment": False,
    "data.validation": 0.25,
    "model.options": {"widths": [8, 8, 8], "blocks": [1, 1]},
}


@pytest.fixture(scope="module")
def table() -> ImageTable:
    drawn = synthetic(300, seed=3)
    # Some images are there twice.
    return drawn.take(np.concatenate([np.arange(len(drawn)), np.flatnonzero(drawn.split == "train")[:40]]))


@pytest.fixture(scope="module")
def config() -> Config:
    return Config().override(changes=SETTINGS)


@pytest.fixture(scope="module")
def bagged(config: Config, table: ImageTable, tmp_path_factory: pytest.TempPathFactory) -> Bag:
    return bag(config, table, tmp_path_factory.mktemp("bag"), 3)


@pytest.fixture(scope="module")
def boosted(config: Config, table: ImageTable, tmp_path_factory: pytest.TempPathFactory) -> Boost:
    return boost(config, table, tmp_path_factory.mktemp("boost"), 3, learning_rate=0.5)


def test_a_bootstrap_sample_has_whole_groups() -> None:
    labels = np.repeat([0, 1], 50)
    groups = np.arange(100) // 2
    rows = bootstrap(labels, np.random.default_rng(0), groups)
    times = np.bincount(rows, minlength=100)
    assert (times[::2] == times[1::2]).all()
    assert 0.5 < (times > 0).mean() < 0.75
    alone = bootstrap(labels, np.random.default_rng(0))
    assert np.array_equal(alone, bootstrap(labels, np.random.default_rng(0), np.arange(100)))


def test_out_of_bag_rows_are_those_that_the_member_was_not_trained_on(bagged: Bag, table: ImageTable) -> None:
    groups = duplicate_groups(table)
    shares = []
    for i, folder in enumerate(bagged.runs):
        config = Run(folder).config()
        assert config.data.bootstrap
        assert config.run.seed == i
        split = Run(folder).split(table)
        # What the training takes, from the plan of a training with this configuration.
        planned = prepare(config, table, folder.parent / "planned").train.images.numpy()
        seen = {image.tobytes() for image in planned}
        out = is_out_of_bag(table, split.train, config.run.seed)
        assert not any(image.tobytes() in seen for image in table.images[split.train[out]])
        assert not set(groups[split.train[out]]) & set(groups[bootstrap_rows(table, split.train, i)])
        shares.append(out.mean())
    assert 0.25 < np.mean(shares) < 0.45


def test_with_near_copies_together_none_of_them_is_out_of_bag(
    config: Config, table: ImageTable, tmp_path: Path
) -> None:
    rows = np.flatnonzero(table.split == "train")[:100]
    images = np.concatenate([table.images[rows], table.images[rows][..., ::-1]])
    labels, split = np.tile(table.labels[rows], 2), np.full(200, "train")
    both = replace(
        table, images=images, labels=labels, split=split, source=[f"row {i}" for i in range(200)], _digests=[]
    )
    near = config.override(changes={"data.duplicates": "near", "data.bootstrap": True, "data.validation": 0})
    seen = {image.tobytes() for image in prepare(near, both, tmp_path / "x").train.images.numpy()}
    out = is_out_of_bag(both, np.arange(200), near.run.seed, near.data.duplicates)
    assert 0.2 < out.mean() < 0.5
    assert not any(form.tobytes() in seen for image in both.images[out] for form in (image, image[..., ::-1]))


def test_the_out_of_bag_estimate_is_the_mean_of_members_without_the_row(bagged: Bag, table: ImageTable) -> None:
    split = Run(bagged.runs[0]).split(table)
    masks = [is_out_of_bag(table, split.train, i) for i in range(3)]
    right, n = 0, 0
    models = [open_any(folder) for folder in bagged.runs]
    for position, row in enumerate(split.train):
        mine = [m for m, mask in zip(models, masks, strict=True) if mask[position]]
        if mine:
            image = table.images[[row]]
            z = [tta_logits(m.logits, image, 2, 64)[0] / m.spec.temperature for m in mine]
            p = np.mean([np.exp(v - v.max()) / np.exp(v - v.max()).sum() for v in z], axis=0)
            right += p.argmax() == table.labels[row]
            n += 1
    assert bagged.out_of_bag is not None
    assert bagged.out_of_bag.n == n
    assert bagged.out_of_bag.accuracy == pytest.approx(right / n)


def test_a_bag_is_averaged_in_one_file_and_goes_on_where_it_was(
    bagged: Bag, config: Config, table: ImageTable, tmp_path: Path
) -> None:
    folder = bagged.runs[0].parent
    mean = np.mean([open_any(r).logits(table.images[:9]) / open_any(r).spec.temperature for r in bagged.runs], axis=0)
    assert np.allclose(open_model(folder / "ensemble.onnx").logits(table.images[:9]), mean, atol=1e-3)
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "member-1")
    bag(config, table, copy, 3)
    assert (copy / "ensemble.onnx").read_bytes() == (folder / "ensemble.onnx").read_bytes()
    with pytest.raises(UsageError, match="between 2 and 100"):
        bag(config, table, tmp_path / "x", 1)


def test_a_round_raises_the_weight_of_missed_rows_as_the_formula_says() -> None:
    # By hand: 4 of 5 rows right of 3 classes: vote = log(4) + log(2) = log 8, so the missed row weighs 8 to 1.
    weights = np.full(5, 0.2)
    wrong = np.array([True, False, False, False, False])
    assert vote_weight(0.2, 3) == pytest.approx(np.log(8))
    assert np.allclose(reweighted(weights, wrong, vote_weight(0.2, 3)), np.array([8, 1, 1, 1, 1]) / 12)
    # A third of the vote: log 2.
    assert vote_weight(0.2, 3, 1 / 3) == pytest.approx(np.log(2))
    assert np.allclose(reweighted(weights, wrong, vote_weight(0.2, 3, 1 / 3)), np.array([2, 1, 1, 1, 1]) / 6)


@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_votes_and_errors_are_those_of_scikit_learn(rate: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    y = (x[:, 0] + 0.5 * x[:, 1] ** 2 > 0).astype(int) + (x[:, 2] > 0.8)
    tree = DecisionTreeClassifier(max_depth=2, random_state=0)
    theirs = AdaBoostClassifier(tree, n_estimators=6, learning_rate=rate, random_state=0).fit(x, y)
    weights = np.full(300, 1 / 300)
    for tree, error, vote in zip(theirs.estimators_, theirs.estimator_errors_, theirs.estimator_weights_, strict=True):
        wrong = tree.predict(x) != y
        assert weights @ wrong == pytest.approx(error)
        assert vote_weight(float(weights @ wrong), 3, rate) == pytest.approx(vote)
        weights = reweighted(weights, wrong, vote_weight(float(weights @ wrong), 3, rate))


def test_rounds_are_trained_on_the_weights_of_those_before(boosted: Boost, table: ImageTable) -> None:
    folder = Path(boosted.rounds[0].run).parent
    with open(folder / "weights.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(folder / "rounds.csv", newline="") as file:
        rounds = list(csv.DictReader(file))
    split = Run(folder / "round-0").split(table)
    assert [row["source"] for row in rows] == [table.source[i] for i in split.train]
    weights = np.array([[float(row[f"round-{i}"]) for i in range(len(rounds))] for row in rows])
    assert np.allclose(weights.mean(axis=0), 1, atol=1e-4)
    assert (weights[:, 0] == 1).all()
    for i, after in enumerate(rounds[1:], start=1):
        model = open_any(folder / f"round-{i - 1}")
        logits = tta_logits(model.logits, table.images[split.train], 2, 64)
        wrong = logits.argmax(1) != table.labels[split.train]
        ratio = weights[:, i] / weights[:, i - 1]
        vote = float(rounds[i - 1]["weight"])
        assert np.allclose(ratio[wrong] / ratio[~wrong][0], np.exp(vote), rtol=1e-3)
        assert float(rounds[i - 1]["error"]) == pytest.approx((weights[wrong, i - 1]).mean() * wrong.mean(), abs=1e-4)
        assert float(after["effective_rows"]) < len(rows)
        assert vote == pytest.approx(vote_weight(float(rounds[i - 1]["error"]), 7, 0.5))


def test_rounds_go_on_with_the_learning_rate_that_they_follow_from(
    boosted: Boost, config: Config, table: ImageTable, tmp_path: Path
) -> None:
    assert boosted.spec.trained["learning_rate"] == 0.5
    folder = tmp_path / "boost"
    shutil.copytree(Path(boosted.rounds[0].run).parent, folder)
    before = (folder / "rounds.csv").read_bytes()
    with pytest.raises(UsageError, match=r"follow from a learning rate of '0\.5'\. Got 1 instead"):
        boost(config, table, folder, 3)
    assert (folder / "rounds.csv").read_bytes() == before
    again = boost(config, table, folder, 3, learning_rate=0.5)
    assert [(r.error, r.weight) for r in again.rounds] == [(r.error, r.weight) for r in boosted.rounds]
    (folder / "rounds.csv").write_bytes(b"")
    with pytest.raises(UsageError, match=r"rounds\.csv is missing or damaged"):
        boost(config, table, folder, 3, learning_rate=0.5)
    # Another rate must not take rounds whose own is not known.
    (folder / "rounds.csv").unlink()
    with pytest.raises(UsageError, match=r"rounds\.csv is missing or damaged"):
        boost(config, table, folder, 3)
    for rate in (0, 1.5, float("nan")):
        with pytest.raises(UsageError, match="learning_rate must be a number above 0 to 1"):
            boost(config, table, tmp_path / "x", learning_rate=rate)


@pytest.mark.parametrize("setting", ["drop", "relabel"])
def test_boosting_weights_no_row_that_is_not_trained_on(
    setting: str, config: Config, table: ImageTable, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=rf"data\.noisy_labels .*Got {setting}: type --set data\.noisy_labels=keep"):
        boost(config.override(changes={"data.noisy_labels": setting}), table, tmp_path / "x", 3)


def test_sample_weights_reach_the_loss(config: Config, table: ImageTable, tmp_path: Path) -> None:
    weights = np.ones(len(table))
    rows = stratified_split(table, 0.25, 0, 0).train
    weights[rows[0]] = 5
    plan = prepare(config, table, tmp_path / "weighted", sample_weights=weights)
    assert plan.train.weights is not None
    assert float(plan.train.weights.mean()) == pytest.approx(1)
    assert float(plan.train.weights[0] / plan.train.weights[1]) == pytest.approx(5)
    assert prepare(config, table, tmp_path / "plain").train.weights is None


def test_the_ensemble_is_the_weighted_vote_of_its_rounds(boosted: Boost, table: ImageTable) -> None:
    folder = Path(boosted.rounds[0].run).parent
    total = sum(r.weight for r in boosted.rounds)
    expected = np.zeros((30, len(table.label_set)))
    for r in boosted.rounds:
        votes = open_any(r.run).logits(table.images[:30]).argmax(1)
        expected += r.weight / total * np.eye(expected.shape[1])[votes]
    got = open_model(folder / "ensemble.onnx").logits(table.images[:30])
    assert (np.abs(got - expected).max(axis=1) < 1e-4).mean() > 0.9
    assert boosted.spec.trained["ensemble"] == "boost"
    assert "validation" in boosted.spec.scores


def test_boosting_stops_with_words(config: Config, table: ImageTable, tmp_path: Path) -> None:
    # Networks that always name one class: the weights of its rows fall until it is chance.
    hopeless = config.override(changes={"optim.lr": 1e-9, "optim.epochs": 1, "optim.steps": 1})
    try:
        ended = boost(hopeless, table, tmp_path / "hopeless", 12).ended
    except TrainingError as error:
        ended = str(error)
    assert "no better than chance" in ended
    with pytest.raises(UsageError, match="bootstrap"):
        boost(config.override(changes={"data.bootstrap": True}), table, tmp_path / "b", 3)


def test_cross_validations_are_stacked_on_logits_of_runs_that_held_the_row_out(
    config: Config, table: ImageTable, tmp_path: Path
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for seed, folder in enumerate(folders):
        cross_validate(config.override(changes={"run.seed": seed}), table, folder, 2)
    spec = stack(folders, tmp_path / "stack.onnx", table)
    found = [OutOfFold.load(folder / OUT_OF_FOLD) for folder in folders]
    logits = np.concatenate([f.calibrated_logits for f in found], axis=1)
    strength, crossed = choose_strength(logits, found[0].truth)
    assert spec.trained["penalty"] == strength
    assert spec.scores["validation"] == pytest.approx((crossed.argmax(1) == found[0].truth).mean(), abs=1e-5)
    # In service each member is the mean of its runs.
    members = [
        np.mean([open_any(run).logits(table.images[:9]) / open_any(run).spec.temperature for run in runs], axis=0)
        for runs in (sorted(folder.glob("fold-*")) for folder in folders)
    ]
    matrix, bias = fit_linear(logits, found[0].truth, strength, 7)
    expected = np.concatenate(members, axis=1) @ matrix + bias
    assert np.allclose(open_model(tmp_path / "stack.onnx").logits(table.images[:9]), expected, atol=1e-2)
    # Folds that are mixed up are other data.
    with pytest.raises(DataError, match="cross-validated on another data set"):
        stack(folders, tmp_path / "x.onnx", synthetic(300, seed=4))


def test_the_commands_train(table: ImageTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(table, tmp_path / "set.npz")
    data = ["compact", "--data", str(tmp_path / "set.npz")]
    settings = [f"--set={name}={json.dumps(value)}" for name, value in SETTINGS.items()]
    settings += ["--set=optim.votes_weight=0", "--set=optim.progressive_sizes=[]"]
    out = str(tmp_path / "bag")
    assert main(["ensemble", "bag", *data, "--out", out, "--members", "2", *settings, "--format", "json"]) == 0
    values = json.loads(capsys.readouterr().out)
    members = ModelSpec.load(Path(out) / "ensemble.json").trained["gain"]
    assert [member["validation"] for member in values["members"]] == members["member_accuracies"]
    assert [member["balanced_accuracy"] for member in values["members"]] == members["member_balanced_accuracies"]
    assert 0 <= values["out_of_bag"]["accuracy"] <= 1
    out = str(tmp_path / "boost")
    boosting = ["ensemble", "boost", *data, "--out", out, "--rounds", "2", *settings]
    assert main([*boosting, "--learning-rate", "0.5"]) == 0
    printed = capsys.readouterr().out
    for words in (
        "weighted error",
        "training accuracy",
        "held-out balanced accuracy",
        "effective rows",
        "Effective rows: how many rows of equal weight",
    ):
        assert words in printed
    assert "its best member" in printed
    with open(Path(out) / "rounds.csv", newline="") as file:
        shares = [float(row["train_accuracy"]) for row in csv.DictReader(file)]
    assert all(f"{share:.2%}" in printed for share in shares), "a table is in percent, a file in fractions"
    assert main(boosting) == 2
    assert "follow from a learning rate of '0.5'. Got 1 instead" in capsys.readouterr().err


def test_what_is_written_of_a_bag_and_a_boost_reloads_bit_equal(bagged: Bag, boosted: Boost, table: ImageTable) -> None:
    for fitted, folder in ((bagged, bagged.runs[0].parent), (boosted, Path(boosted.rounds[0].run).parent)):
        assert ModelSpec.load(folder / "ensemble.json") == fitted.spec
        first, again = (open_model(folder / "ensemble.onnx") for _ in range(2))
        assert np.array_equal(first.logits(table.images[:20]), again.logits(table.images[:20]))
    weights = [r.weight for r in boosted.rounds]
    factors = initializers(Path(boosted.rounds[0].run).parent / "ensemble.onnx", r"member\d+/share_factor")
    assert [float(f) for f in factors] == [np.float32(w / sum(weights)) for w in weights]
    gain = bagged.spec.trained["gain"]
    assert gain["members"] == ["member-0", "member-1", "member-2"]
    assert gain["member_accuracies"] == pytest.approx([Run(run).spec().scores["validation"] for run in bagged.runs])
    assert gain["accuracy"] == pytest.approx(bagged.spec.scores["validation"], abs=1e-5)
    held_out = [r.validation for r in boosted.rounds]
    assert boosted.spec.trained["gain"]["member_accuracies"] == pytest.approx(held_out)
