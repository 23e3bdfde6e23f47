"""Beside every ensemble is its best member, with a test of the difference and what both cost."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from members import Make, table

from moue.cli.main import main
from moue.data.readers.store import save
from moue.data.splits import stratified_split
from moue.data.table import ImageTable
from moue.ensembles.gain import costs
from moue.ensembles.voting import merge
from moue.evaluation.gain import disagreement, gain
from moue.evaluation.significance import mcnemar
from moue.export.cost import Cost
from moue.report.gain import describe_gain
from moue.runtime.engine import open_model
from moue.spec import ModelSpec

TRUTH = np.zeros(200, np.int64)


def classes(*wrong: range) -> np.ndarray:
    """Predictions that are right but for some rows."""
    found = TRUTH.copy()
    for rows in wrong:
        found[list(rows)] = 1
    return found


def test_an_ensemble_is_tested_against_its_best_member() -> None:
    found = gain("both", classes(range(10)), [("a", classes(range(60))), ("b", classes(range(5, 45)))], TRUTH)
    assert (found.best, found.pair.b, found.accuracies, found.accuracy) == (1, "b", (0.7, 0.8), 0.95)
    # Rows 0 to 4 are right in b alone, rows 10 to 44 in the ensemble alone.
    assert (found.pair.only_a, found.pair.only_b) == (35, 5)
    assert found.pair.p_mcnemar == pytest.approx(mcnemar(35, 5))
    assert found.helps
    assert describe_gain(found).startswith("both is better than its best member, b (95.0% and 80.0% of 200 images; ")
    assert found.to_dict()["helps"] is True


def test_rare_classes_count_as_much_as_frequent_ones_in_the_balanced_accuracy() -> None:
    truth = np.repeat([0, 1], [8, 2])
    found = gain("both", np.zeros(10, np.int64), [("a", truth), ("b", np.repeat([0, 1], [4, 6]))], truth)
    assert (found.accuracy, found.balanced_accuracy) == (0.8, 0.5)
    assert (found.accuracies, found.balanced_accuracies) == ((1, 0.6), (1, 0.75))
    values = found.to_dict()
    assert values["best_member_balanced_accuracy"] == 1
    assert values["member_balanced_accuracies"] == [1, 0.75]


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        (classes(range(38)), "both is not significantly better than its best member, a, which costs less"),
        (classes(range(40)), "both does not help: its best member, a, is right as often, and costs no more"),
        (classes(range(42)), "both does not help: its best member, a, is more accurate, if not significantly"),
        (classes(range(90)), "both does not help: its best member, a, is significantly more accurate"),
    ],
)
def test_an_ensemble_that_does_not_help_is_said_to(ours: np.ndarray, words: str) -> None:
    found = gain("both", ours, [("a", classes(range(40))), ("b", classes(range(70)))], TRUTH)
    assert not found.helps
    assert describe_gain(found).startswith(words)
    assert "its weights were fitted" not in describe_gain(found)
    assert "its weights were fitted" in describe_gain(dataclasses.replace(found, fitted=True))


def test_disagreement_is_the_share_of_rows_that_differ() -> None:
    matrix = disagreement([np.array([0, 1, 2, 3]), np.array([0, 1, 2, 0]), np.array([1, 0, 3, 2])])
    assert matrix.tolist() == [[0, 0.25, 1], [0.25, 0, 1], [1, 1, 0]]


def test_costs_are_those_of_the_files(make: Make, tmp_path: Path) -> None:
    a, b = make("a", 1), make("b", 2)
    merge([a, b], tmp_path / "both.onnx")
    found = costs(tmp_path / "both.onnx", a)
    assert found["ensemble"].parameters == 2 * found["best_member"].parameters
    assert found["best_member"].megabytes == round(a.stat().st_size / 1e6, 2)
    assert found["best_member"].gflop == pytest.approx(2 * 7 * 144 / 1e9, abs=1e-4)
    assert all(cost.faces_per_second for cost in found.values())
    assert Cost(10, 1.5, 0.2, 90).times(3) == Cost(30, 4.5, 0.6, 30)


@pytest.fixture
def members(make: Make) -> tuple[ImageTable, list[Path]]:
    """A model that is right for two in three images, and one that knows nothing."""
    paths = [make("good", 1), make("noise", 2)]
    images = np.random.default_rng(5).integers(0, 256, (1200, 1, 12, 12), dtype=np.uint8)
    truth = open_model(paths[0]).logits(images).argmax(1).astype(np.int64)
    truth[::3] = (truth[::3] + 1) % 7
    truth[:70] = np.arange(70) % 7
    whole = dataclasses.replace(table(), images=images, labels=truth)
    split = stratified_split(whole, 0.4, seed=0)
    for path in paths:
        split.save(path.parent / "split.json")
    return whole, paths


@pytest.mark.parametrize("options", [[], ["--majority"], ["--fit"]])
def test_the_command_prints_the_best_member_beside_the_vote(
    options: list[str], members: tuple[ImageTable, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, (good, noise) = members
    save(whole, tmp_path / "set.npz")
    out = tmp_path / "vote.onnx"
    # The best member stands second, to tell positions apart.
    command = ["ensemble", "vote", str(noise), str(good), "--data", str(tmp_path / "set.npz"), "-o", str(out), *options]
    assert main([*command, "--format", "json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)["gain"]
    assert found["best_member"] == "good"
    assert found["helps"] is False
    assert found["summary"] in printed.err
    # The fit leaves the useless member out.
    times = 1 if options == ["--fit"] else 2
    assert found["cost"]["ensemble"]["parameters"] == times * found["cost"]["best_member"]["parameters"]
    spec = ModelSpec.load(out.with_suffix(".json"))
    assert spec.trained["gain"] == {key: value for key, value in found.items() if key != "cost"}
    assert spec.scores["validation"] == pytest.approx(found["accuracy"], abs=1e-5)
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "good, its best member" in text
    assert found["summary"] in text
    for key in ("accuracy", "balanced_accuracy", "best_member_accuracy", "best_member_balanced_accuracy"):
        assert f"{found[key]:.2%}" in text


def test_what_is_not_known_is_said(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = make("a", 1), make("b", 2)
    assert main(["ensemble", "vote", str(a), str(b), "-o", str(tmp_path / "v.onnx")]) == 0
    assert "whether it is better than its best member is not known" in capsys.readouterr().out
