"""Noisy labels in a training: what is trained on, and that only Training changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from moue.data.table import ImageTable
from moue.errors import UsageError
from moue.labels import FERPLUS
from moue.training.config import Config
from moue.training.prepare import Plan, prepare
from moue.training.provenance import noise_of

SMALL = ("model.network=compact", "model.options={widths: [4, 8, 8], blocks: [0, 0]}", "data.validation=0.25")


def voted(table: ImageTable) -> ImageTable:
    """Votes that agree with the labels, but for every fifth row, which all take for happy, and every 25th, for none."""
    votes = np.zeros((len(table), len(FERPLUS)), np.float32)
    votes[np.arange(len(table)), [FERPLUS.index(table.label_set.labels[k]) for k in table.labels]] = 1
    votes[::5] = np.eye(len(FERPLUS))[FERPLUS.index("happy")]
    votes[::25] = 0
    return replace(table, votes=votes)


def planned(table: ImageTable, folder: Path, *settings: str) -> Plan:
    return prepare(Config().override([*SMALL, *settings]), table, folder)


def noisy_rows(plan: Plan) -> np.ndarray:
    """Which of the rows of Training's part are noisy."""
    table, happy = plan.table, plan.table.label_set.index("happy")
    rows = np.arange(len(table))
    noisy = ((rows % 5 == 0) & (table.labels != happy)) | (rows % 25 == 0)
    return np.asarray(noisy[plan.split.train])


def test_noisy_rows_are_dropped_weighted_or_relabeled_in_training_alone(table: ImageTable, tmp_path: Path) -> None:
    table = voted(table)
    kept = planned(table, tmp_path / "keep")
    noisy, labels = noisy_rows(kept), table.labels[kept.split.train]
    assert 0 < noisy.sum() < len(noisy)
    assert kept.train.labels.tolist() == labels.tolist()
    assert kept.train.weights is None

    dropped = planned(table, tmp_path / "drop", "data.noisy_labels=drop")
    assert dropped.train.labels.tolist() == labels[~noisy].tolist()

    weighted = planned(table, tmp_path / "weight", "data.noisy_labels=weight", "data.noisy_weight=0.25")
    assert weighted.train.weights is not None
    weights = weighted.train.weights.numpy()
    np.testing.assert_allclose(weights[noisy] / weights[~noisy].mean(), 0.25, rtol=1e-5)
    assert weights.mean() == pytest.approx(1, rel=1e-5)

    relabeled = planned(table, tmp_path / "relabel", "data.noisy_labels=relabel")
    unknown = kept.split.train % 25 == 0
    happy = table.label_set.index("happy")
    assert relabeled.train.labels.tolist() == np.where(noisy, happy, labels)[~unknown].tolist()
    assert torch.equal(relabeled.train.targets.argmax(1), relabeled.train.labels)

    for plan in (dropped, weighted, relabeled):
        assert plan.validation is not None
        assert plan.validation.labels.tolist() == table.labels[plan.split.validation].tolist()
        assert plan.validation.weights is None
        assert plan.split.train.tolist() == kept.split.train.tolist()


def test_the_record_says_how_many_rows_were_treated_and_how(table: ImageTable, tmp_path: Path) -> None:
    plan = planned(voted(table), tmp_path, "data.noisy_labels=drop")
    found = noise_of(plan.config, plan.table, plan.split.train)["noisy_labels"]
    assert found == {"rows": int(noisy_rows(plan).sum()), "agreement": 0.0, "treatment": "dropped"}
    assert noise_of(Config(), plan.table, plan.split.train) == {}


def test_without_votes_the_setting_is_an_error(table: ImageTable, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data.noisy_labels needs FER\+'s votes.*--set data.noisy_labels=keep"):
        planned(table, tmp_path, "data.noisy_labels=drop")
