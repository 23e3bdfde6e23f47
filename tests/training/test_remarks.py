"""What is said of a run whose accuracy is not what it seems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import SMALL

from moue.data.readers.synth import synthetic
from moue.evaluation.metrics import Scores, scores
from moue.runtime.results import Predictions
from moue.training.loop import fit
from moue.training.remarks import remarks


def held_out(right: int, n: int = 100) -> Scores:
    """A model of two equally frequent classes that is right about this many images."""
    truth = np.arange(n) % 2
    return scores(
        Predictions(np.eye(2, dtype=np.float32)[np.where(np.arange(n) < right, truth, 1 - truth)], ("a", "b")), truth
    )


def curve(*accuracies: float) -> list[dict[str, Any]]:
    return [{"epoch": i, "validation_accuracy": a} for i, a in enumerate(accuracies, 1)]


@pytest.mark.parametrize(
    ("last", "keep", "words"),
    [
        # 2 standard errors of the difference between 80 and 68 % on 100 images are 12.3 points.
        (0.68, "best", None),
        (0.67, "best", "right for 67.0% of the validation images, far below epoch 2 with 80.0%"),
        (0.67, "best", "The run kept epoch 2"),
        (0.67, "last", "--set optim.keep=best keeps the best"),
    ],
)
def test_a_last_epoch_far_below_the_best_is_told(last: float, keep: str, words: str | None) -> None:
    config = SMALL.override([f"optim.keep={keep}", "optim.epochs=6"])
    found = remarks(config, curve(0.5, 0.8, 0.78, 0.77, 0.76, last), held_out(80))
    assert [words in text for text in found] == [True] if words else found == []


def test_a_budget_of_few_epochs_and_an_accuracy_of_chance_are_told() -> None:
    config = SMALL.override(["optim.epochs=3", "run.minutes=0.5"])
    [few, chance] = remarks(config, curve(0.5, 0.5, 0.5), held_out(52))
    assert few.startswith("only 3 epochs fit into 0.5 minutes")
    assert "validation, 52.0%, is not significantly above the majority baseline of 50.0% (always a)" in chance
    # Where the recipe has no more, minutes would not help.
    assert remarks(config, curve(0.8, 0.8, 0.8), held_out(80), most=3) != []
    assert not any("fit into" in text for text in remarks(config, curve(0.8, 0.8, 0.8), held_out(80), most=3))
    # Few epochs that were asked for are no surprise, and five are enough.
    assert remarks(config.override(["run.minutes=null"]), curve(0.8, 0.8, 0.8), held_out(80)) == []
    assert remarks(config.override(["optim.epochs=5"]), curve(*[0.8] * 5), held_out(80)) == []
    assert remarks(config.override(["run.minutes=null"]), [], None) == []


def test_a_budget_that_is_not_used_up_is_told() -> None:
    config = SMALL.override(["optim.epochs=6", "run.minutes=10"])
    history = [{**row, "seconds": 70} for row in curve(*[0.8] * 6)]
    [found] = remarks(config, history, held_out(80), most=6)
    assert found == (
        "it ended after 7 of 10 minutes, as the recipe has 6 epochs at most: --set optim.epochs=N allows more"
    )
    # It was used up, or the epochs are those that fitted, or none was asked for.
    assert remarks(config.override(["run.minutes=8"]), history, held_out(80), most=6) == []
    assert remarks(config, history, held_out(80), most=7) == []
    assert remarks(config.override(["run.minutes=null"]), history, held_out(80), most=6) == []


def test_an_early_epoch_that_few_images_chose_is_told() -> None:
    config = SMALL.override(["optim.keep=best", "optim.epochs=6"])
    accuracies = (0.5, 0.6, 0.8, 0.78, 0.77, 0.79)
    [found] = remarks(config, curve(*accuracies), held_out(48, 60))
    assert found.startswith("epoch 3 of 6 is kept, as it is the best on 60 validation images, which are few")
    assert remarks(config, curve(*accuracies), held_out(80, 100)) == [], "enough images"
    assert remarks(config, curve(*sorted(accuracies)), held_out(48, 60)) == [], "a late epoch"
    assert remarks(config.override(["optim.keep=last"]), curve(*accuracies), held_out(48, 60)) == []


def test_a_class_without_a_held_out_image_is_told() -> None:
    truth = np.arange(100) % 2
    found = remarks(SMALL, curve(1), scores(Predictions(np.eye(3, dtype=np.float32)[truth], ("a", "b", "c")), truth))
    assert found == ["no image of c is held out: the accuracy on validation says nothing of it"]


def test_a_run_on_a_small_set_finishes_with_a_remark_in_place_of_a_temperature(tmp_path: Path) -> None:
    small = synthetic(300, seed=3)
    rows = np.concatenate([np.flatnonzero((small.labels == k) & (small.split == "train"))[:20] for k in range(7)])
    run = fit(SMALL.override(["optim.epochs=1", "data.validation=0.25"]), small.take(rows), tmp_path / "run")
    spec = run.spec()
    n = spec.trained["data"]["validation"]
    assert 0 < n < 50
    assert spec.temperature == 1
    assert 0 < spec.uncertain_below < 1
    assert f"stays 1: fitting one takes 50 held-out images, and these were {n}" in spec.trained["remarks"][-1]
    assert sum(spec.trained["data"]["classes"].values()) == spec.trained["data"]["train"]
    assert spec.scores.keys() == {"validation", "validation_se", "validation_majority_baseline"}
