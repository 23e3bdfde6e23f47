"""A time budget becomes a number of epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import SMALL

from moue.data.table import ImageTable
from moue.models import create
from moue.models.base import InputSpec
from moue.training import budget
from moue.training.batch import Batch
from moue.training.loop import fit
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
        fitted = budget.fit_to_time(config, create("compact", 7, widths=[8, 16]), task, rows, None, 10, "fp32")
        assert fitted.optim.epochs == found


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
        fitted = budget.fit_to_time(config, create("compact", 7, widths=[8, 16]), task, rows, None, 10, "fp32")
        found.append(fitted.optim.epochs)
        seen.clear()
    # 570 s at 20 s each; four at 20 s, the rest at 5.
    assert found == [28, 102]
