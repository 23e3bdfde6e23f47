"""`cross-validate`: every training row is predicted once, by the run that did not see it."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from moue import cross_validation
from moue.cli.main import main
from moue.cross_validation import OUT_OF_FOLD, PREDICTIONS, OutOfFold, cross_validate
from moue.data.duplicates import duplicate_groups
from moue.data.readers.store import save
from moue.data.readers.synth import synthetic
from moue.data.splits import stratified_split
from moue.data.table import ImageTable
from moue.errors import DataError, UsageError
from moue.run_folder import WEIGHTS
from moue.spec import ModelSpec
from moue.trained.open import open_any
from moue.trained.split_of import split_of
from moue.training.config import Config
from moue.training.run_folder import Run
from moue.tta import tta_logits

SETTINGS = {
    "optim.epochs": 1,
    "optim.steps": 3,
    "run.threads": 1,
    "data.augment": False,
    "model.options": {"widths": [8, 8, 8], "blocks": [1, 1]},
}


@pytest.fixture(scope="module")
def table() -> ImageTable:
    return synthetic(240, seed=3)


@pytest.fixture(scope="module")
def finished(table: ImageTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("folds")
    cross_validate(Config().override(changes=SETTINGS), table, out, 3)
    return out


def test_each_training_row_is_held_out_once_and_predicted_by_that_run(table: ImageTable, finished: Path) -> None:
    found = OutOfFold.load(finished / OUT_OF_FOLD)
    assert found.rows.tolist() == np.flatnonzero(table.split == "train").tolist()
    assert found.truth.tolist() == table.labels[found.rows].tolist()
    assert sorted(set(found.folds)) == [0, 1, 2]
    groups = duplicate_groups(table)
    for fold in range(3):
        run, mine = finished / f"fold-{fold}", found.folds == fold
        split = split_of(run, table)
        assert split is not None
        assert not set(split.train) & set(found.rows[mine])
        assert not set(groups[split.train]) & set(groups[found.rows[mine]])
        logits = tta_logits(open_any(run).logits, table.images[found.rows[mine]], 2, 64)
        assert np.allclose(found.logits[mine], logits, atol=1e-4)


class Memory:
    """A model that knows the images that it was trained on, and nothing of others."""

    def __init__(self, table: ImageTable, rows: NDArray[np.int64]) -> None:
        self.spec = ModelSpec(
            name="m", network="compact", labels=table.label_set.labels, size=48, parameters=1, views=2
        )
        self.known = {table.images[row].tobytes(): table.labels[row] for row in rows}

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = np.zeros((len(images), len(self.spec.labels)), np.float32)
        for i, image in enumerate(images):
            if (label := self.known.get(image.tobytes())) is not None:
                found[i, label] = 10
        return found


def test_a_model_that_memorizes_shows_chance_out_of_fold_and_mixed_up_folds_would_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (210, 1, 48, 48), dtype=np.uint8)
    table = dataclasses.replace(synthetic(210, seed=3), images=images, split=np.full(210, "train"), _digests=[])
    runs = [tmp_path / f"fold-{fold}" for fold in range(3)]
    models = {}
    for fold, run in enumerate(runs):
        run.mkdir()
        split = stratified_split(table, 1 / 3, 0, fold)
        split.save(run / "split.json")
        models[run] = Memory(table, split.train)
    monkeypatch.setattr(cross_validation, "open_any", models.__getitem__)
    found = cross_validation._out_of_fold(runs, table)
    chance = np.bincount(table.labels).max() / 210
    assert (found.logits.argmax(1) == found.truth).mean() <= chance
    # With the model of another fold each row is one that it was trained on.
    others = dict(zip(runs, [*list(models.values())[1:], models[runs[0]]], strict=True))
    monkeypatch.setattr(cross_validation, "open_any", others.__getitem__)
    mixed = cross_validation._out_of_fold(runs, table)
    assert (mixed.logits.argmax(1) == mixed.truth).mean() == 1


def test_scores_are_means_over_folds_and_the_rows_are_written(finished: Path) -> None:
    scores = json.loads((finished / "cross-validation.json").read_text())
    accuracies = [fold["accuracy"] for fold in scores["folds"]]
    assert scores["mean"]["accuracy"] == pytest.approx(np.mean(accuracies))
    assert scores["sd"]["accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    with open(finished / PREDICTIONS, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == scores["n"] == sum(fold["n"] for fold in scores["folds"])
    found = OutOfFold.load(finished / OUT_OF_FOLD)
    assert [int(row["fold"]) for row in rows] == found.folds.tolist()
    right = sum(row["correct"].lower() == "true" for row in rows)
    assert right / len(rows) == pytest.approx(scores["pooled"]["accuracy"])


def test_finished_folds_are_taken_and_a_missing_one_is_trained_again_to_the_same(
    table: ImageTable, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "again"
    shutil.copytree(finished, out)
    shutil.rmtree(out / "fold-1")
    kept = (out / "fold-0" / WEIGHTS).stat().st_mtime_ns
    cross_validate(Config().override(changes=SETTINGS), table, out, 3)
    assert (out / "fold-0" / WEIGHTS).stat().st_mtime_ns == kept
    before, after = OutOfFold.load(finished / OUT_OF_FOLD), OutOfFold.load(out / OUT_OF_FOLD)
    assert np.array_equal(before.logits, after.logits)
    changed = Config().override(changes=SETTINGS | {"optim.lr": 0.5})
    with pytest.raises(UsageError, match=r"optim\.lr"):
        cross_validate(changed, table, out, 3, settings=["optim.lr"])


def test_what_cannot_be_cross_validated_is_refused_before_any_training(table: ImageTable, tmp_path: Path) -> None:
    config = Config().override(changes=SETTINGS)
    with pytest.raises(UsageError, match="between 2 and 20"):
        cross_validate(config, table, tmp_path / "a", 1)
    with pytest.raises(UsageError, match="bootstrap"):
        cross_validate(config.override(changes={"data.bootstrap": True}), table, tmp_path / "a", 3)
    for setting in ("data.fold=2", "data.validation"):
        with pytest.raises(UsageError, match=f"sets {setting.partition('=')[0]} itself"):
            cross_validate(config, table, tmp_path / "a", 3, settings=[setting])
    with pytest.raises(DataError, match="moue cross-validate writes it"):
        OutOfFold.load(tmp_path / OUT_OF_FOLD)
    (tmp_path / OUT_OF_FOLD).write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="damaged"):
        OutOfFold.load(tmp_path / OUT_OF_FOLD)
    assert not (tmp_path / "a").exists()


def test_a_folder_of_something_else_is_refused(
    table: ImageTable, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config().override(changes=SETTINGS)
    with pytest.raises(UsageError, match="a cross-validation with 3 folds, not 4"):
        cross_validate(config, table, finished, 4)
    with pytest.raises(UsageError, match="holds a run of moue train"):
        cross_validate(config, table, finished / "fold-0", 3)
    photo = finished / "photo.png"
    Image.new("L", (48, 48)).save(photo)
    for command in (["predict", str(photo), "--model", str(finished)], ["export", str(finished)]):
        assert main(command) == 2
        assert f"{finished} is not a run, but holds" in capsys.readouterr().err


def test_what_the_scores_do_not_say_is_said(finished: Path) -> None:
    scores = json.loads((finished / "cross-validation.json").read_text())
    assert "not significantly above the majority baseline" in scores["remarks"][0]
    assert scores["mean"]["majority_baseline"] == pytest.approx(scores["pooled"]["majority_baseline"], abs=0.02)


def test_the_command_prints_folds_and_their_mean(
    table: ImageTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(table, tmp_path / "set.npz")
    settings = [f"--set={name}={json.dumps(value)}" for name, value in SETTINGS.items()]
    command = ["cross-validate", "compact", "--data", str(tmp_path / "set.npz"), "--out", str(tmp_path / "cv")]
    fast = ["--set=optim.votes_weight=0", "--set=optim.progressive_sizes=[]", "--folds", "2"]
    assert main([*command, *settings, *fast]) == 0
    printed = capsys.readouterr()
    assert "mean ± sd" in printed.out
    assert "majority" in printed.out
    assert "%" in printed.out
    assert main([*command, *settings, *fast, "--format", "json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert len(values["folds"]) == 2
    assert Run(tmp_path / "cv" / "fold-1").config().data.fold == 1


def test_no_epoch_is_chosen_on_the_rows_that_are_scored_unless_asked_for(table: ImageTable, tmp_path: Path) -> None:
    config = Config().override(changes=SETTINGS | {"optim.epochs": 2, "optim.keep": "best", "optim.patience": 1})
    plain, asked = tmp_path / "plain", tmp_path / "asked"
    result = cross_validate(config, table, plain, 2)
    for run in result.runs:
        assert (Run(run).config().optim.keep, Run(run).config().optim.patience) == ("last", None)
    assert not any("chosen on the rows" in remark for remark in result.remarks)
    named = ["optim.keep=best", "optim.patience"]
    result = cross_validate(config, table, asked, 2, settings=named)
    assert Run(asked / "fold-1").config().optim.keep == "best"
    assert "the epoch of each run was chosen on the rows that it is scored on" in result.remarks[0]
    # A fold that is added later is trained as the others were.
    shutil.rmtree(asked / "fold-0")
    assert cross_validate(config, table, asked, 2).selected
    assert Run(asked / "fold-0").config().optim.patience == 1
    with pytest.raises(UsageError, match=r"fold-0 holds a run with optim\.keep=last, not best"):
        cross_validate(config, table, plain, 2, settings=named)


def test_a_set_too_small_for_so_many_folds_is_refused_before_any_training(table: ImageTable, tmp_path: Path) -> None:
    few = table.take(
        np.concatenate([np.flatnonzero((table.split == "train") & (table.labels == k))[:2] for k in (0, 1)])
    )
    with pytest.raises(UsageError, match=r"holds out none of .*angry 2.*Take fewer --folds, or add images"):
        cross_validate(Config().override(changes=SETTINGS), few, tmp_path / "a", 5)
    assert not (tmp_path / "a").exists()
