"""A time budget becomes a number of epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import SMALL

from moue.data.table import ImageTable
from moue.models import create
from moue.models.base import InputSpec
from moue.training import budget
from moue.training.batch import Batch
from moue.training.budget import Budget
from moue.training.loop import fit
from moue.training.progress import Meter, Status
from moue.training.tasks import ClassificationTask


def test_a_time_budget_sets_the_epochs(table: ImageTable, tmp_path: Path) -> None:
    config = SMALL.override(["optim.epochs=500", "run.minutes=0.02"])
    run = fit(config, table, tmp_path / "run")
    epochs = run.config().optim.epochs
    assert 1 <= epochs < 500
    assert len(run.history()) == epochs
    # A budget below one epoch gives one short epoch.
    short = fit(config.override(["run.minutes=0.0005"]), table, tmp_path / "short").config().optim
    assert (short.epochs, short.steps is not None and short.steps < 12) == (1, True)


@pytest.mark.timeout(60)
def test_a_time_budget_is_found_among_any_number_of_epochs(table: ImageTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_median_time", lambda step, seeds: 0.5)
    rows = Batch.of(table, np.arange(4), InputSpec(), torch.device("cpu"))
    for most, minutes, found in ((100_000, 100, 1140), (100_000, 10**6, 100_000), (3, 100, 3)):
        config = SMALL.override([f"optim.epochs={most}", f"run.minutes={minutes}", "optim.progressive_sizes=[32, 48]"])
        task = ClassificationTask(config.optim)
        timed = budget.measure(config, create("compact", 7, widths=[8, 16]), task, rows, None, 10, "fp32")
        assert timed is not None
        assert timed.fit(config.optim).epochs == found


def test_a_time_budget_counts_a_teachers_time_only_until_its_views_come_again(
    table: ImageTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()

    def time(step: Any, seeds: range) -> float:
        known = seen.issuperset(seeds)
        seen.update(seeds)
        return 0.5 if known else 2.0

    monkeypatch.setattr(budget, "_median_time", time)
    rows = Batch.of(table, np.arange(4), InputSpec(), torch.device("cpu"))
    found = []
    for views in (0, 4):
        sizes = ["optim.progressive_sizes=[32, 48]", "optim.teachers=[default]", f"optim.teacher_views={views}"]
        config = SMALL.override(["optim.epochs=1000", "run.minutes=10", *sizes])
        task = ClassificationTask(config.optim)
        timed = budget.measure(config, create("compact", 7, widths=[8, 16]), task, rows, None, 10, "fp32")
        assert timed is not None
        found.append(timed.fit(config.optim).epochs)
        seen.clear()
    # 570 s at 20 s each; four at 20 s, the rest at 5.
    assert found == [28, 102]


@pytest.mark.parametrize(
    ("took", "epochs"),
    [
        (10.0, 10),  # As it was planned: 90 s are left for nine more.
        (20.0, 5),  # 80 s: four more.
        (5.0, 20),  # As many as the recipe has.
        (60.0, 2),  # Two thirds of another one fit: it is trained, with a rate that falls.
        (90.0, 1),  # A ninth fits.
        (500.0, 1),
    ],
)
def test_the_first_epoch_corrects_the_plan(took: float, epochs: int) -> None:
    timed = Budget(100.0, {48: 1.0}, {48: 1.0}, 0, checking=0.0, steps=10, size=48)
    optim = SMALL.override(["optim.epochs=20"]).optim
    assert timed.fit(optim).epochs == 10
    assert timed.refit(timed.fit(optim), 20, 1, took, took).epochs == epochs


def test_the_size_of_the_first_images_and_cached_teachers_are_allowed_for() -> None:
    # Small images take 1 s a step, large ones 2; cached teachers halve both. All takes twice as long as it should.
    timed = Budget(200.0, {32: 1.0, 48: 2.0}, {32: 0.5, 48: 1.0}, 2, checking=0.0, steps=10, size=48)
    optim = SMALL.override(["optim.epochs=100", "optim.progressive_sizes=[32, 48]"]).optim
    # 90 s at the planned speed: 10 for the second epoch, then 5 for small images and 10 for large ones.
    assert timed.refit(optim, 100, 1, 20.0, 20.0).epochs == 12


def test_a_run_is_planned_again_after_its_first_epoch_and_resumed_as_such(
    table: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timed steps said 1 ms; the first epoch takes a second, of eight that are planned."""
    monkeypatch.setattr(budget, "_median_time", lambda step, seeds: 1e-3)
    for name in ("seconds", "run_seconds"):
        monkeypatch.setattr(Meter, name, 1.0)
    config = SMALL.override(["optim.epochs=500", f"run.minutes={8 / 60 / budget.MARGIN}", "optim.steps=2"])
    run = fit(config, table, tmp_path / "run")
    history = run.history()
    assert (len(history), run.config().optim.epochs, run.spec().trained["epochs"]) == (8, 8, 8)
    assert max(row["lr"] for row in history) > 10 * history[-1]["lr"]
    # What the recipe asked for stays known, and is taken when the run is resumed.
    assert run.resume_config(config, config, ["optim.epochs"]).optim.epochs == 8

    def interrupt(status: Status) -> None:
        if status.epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config, table, tmp_path / "again", progress=interrupt)
    again = fit(config, table, tmp_path / "again", resume=True)
    assert len(again.history()) == 8
    one, other = (load_file(r.folder / "weights.safetensors") for r in (run, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
