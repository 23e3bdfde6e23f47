"""Borders of `moue.data.splits` that its other tests leave open."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from moue.data.readers.synth import synthetic
from moue.data.splits import Split, stratified_sample, stratified_split
from moue.data.table import ImageTable
from moue.errors import DataError, UsageError
from moue.labels import FER2013


def table_of(counts: list[int]) -> ImageTable:
    """Distinct images, so many of each class, all of Training."""
    n = sum(counts)
    images = np.random.default_rng(0).integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)
    labels = np.repeat(np.arange(len(counts)), counts)
    return ImageTable(images, labels, np.full(n, "train"), [f"row {i}" for i in range(n)], FER2013)


@pytest.mark.parametrize(("fraction", "last"), [(0.3, 30), (0.33, 34), (0.25, 25), (0.2, 20)])
def test_the_last_fold_takes_a_small_remainder_and_no_large_one(fraction: float, last: int) -> None:
    table = table_of([100] * 2)
    folds = int(1 / fraction + 1e-6)
    assert len(stratified_split(table, fraction, fold=folds - 1).validation) == 2 * last


def test_one_row_of_each_class_stays_in_training() -> None:
    split = stratified_split(table_of([2, 10]), 0.9)
    assert len(split.validation) == 1 + 9
    assert len(stratified_split(table_of([1, 10]), 0.9).validation) == 0 + 9


def test_a_position_just_beyond_the_table_is_refused() -> None:
    table = synthetic(20)
    inside = Split(np.arange(19), np.array([19]), 0, 0.05, table.fingerprint)
    inside.check(table)
    # An empty side has no position beyond.
    Split(np.array([], np.int64), np.arange(20), 0, 0.5, table.fingerprint).check(table)
    Split(np.arange(20), np.array([], np.int64), 0, 0.0, table.fingerprint).check(table)
    for train, validation in ((np.arange(19), np.array([20])), (np.array([20]), np.arange(19))):
        with pytest.raises(DataError, match="beyond the 20 rows"):
            Split(train, validation, 0, 0.05, table.fingerprint).check(table)


BAD_ROWS = ({"train": [0.5]}, {"train": [-1]}, {"train": [True]}, {"train": {"0": 1}}, {"validation": [1, 1]})
BAD_FRACTIONS = ({"fraction": 1}, {"fraction": -0.1}, {"fraction": "0"})


@pytest.mark.parametrize("changes", [*BAD_ROWS, *BAD_FRACTIONS])
def test_a_saved_split_that_is_none_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    path = tmp_path / "split.json"
    Split(np.array([0, 1]), np.array([2]), 3, 0.0, "f").save(path)
    back = Split.load(path)
    assert (back.train.tolist(), back.validation.tolist(), back.seed, back.fraction) == ([0, 1], [2], 3, 0.0)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(DataError):
        Split.load(path)


def test_a_sample_takes_equal_steps_through_each_class() -> None:
    labels = np.repeat([0, 1], [30, 10])
    rows = stratified_sample(labels, 8)
    assert np.bincount(labels[rows]).tolist() == [6, 2]
    assert rows.tolist() == sorted(rows.tolist())
    assert len(stratified_sample(labels, 100)) == 40
    assert len(stratified_sample(labels, 1)) == 1
    with pytest.raises(UsageError):
        stratified_sample(labels, 0)
