"""The validation part: stratified, seeded, duplicates on one side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sets import table_of

from moue.data import Split, deduplicated, stratified_split
from moue.errors import DataError, UsageError

SETS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)), min_size=1, max_size=120)


@settings(deadline=None, max_examples=80)
@given(SETS, st.floats(0, 0.9), st.integers(0, 5))
def test_any_set_is_cut_cleanly(rows: list[tuple[int, int]], fraction: float, seed: int) -> None:
    table = table_of([d for d, _ in rows], [k for _, k in rows])
    split = stratified_split(table, fraction, seed)
    assert sorted([*split.train, *split.validation]) == list(range(len(table)))
    assert (np.diff(split.train) > 0).all()
    assert (np.diff(split.validation) > 0).all()
    assert deduplicated(table.take(split.validation), table.take(split.train)).all()
    counts = np.bincount(table.labels, minlength=7)
    held_out = np.bincount(table.labels[split.validation], minlength=7)
    assert (held_out <= np.rint(counts * fraction)).all()
    assert (held_out[counts > 0] < counts[counts > 0]).all()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 6), min_size=20, max_size=200), st.integers(0, 5))
def test_without_duplicates_each_class_gives_its_share(labels: list[int], seed: int) -> None:
    table = table_of(range(len(labels)), labels)
    held_out = np.bincount(table.labels[stratified_split(table, 0.2, seed).validation], minlength=7)
    assert (held_out == np.rint(np.bincount(table.labels, minlength=7) * 0.2)).all()


def test_duplicates_are_held_out_together_and_shares_are_exact() -> None:
    # A tenth of the rows are duplicates, some with another label.
    digits = [*range(900), *range(100)]
    labels = [i % 5 for i in range(900)] + [(i + (i % 10 == 0)) % 5 for i in range(100)]
    table = table_of(digits, labels)
    split = stratified_split(table, 0.2, 0)
    counts, held_out = (np.bincount(x, minlength=5) for x in (table.labels, table.labels[split.validation]))
    assert np.abs(held_out - counts * 0.2).max() <= 1
    pairs = np.bincount(np.array(digits)[split.validation])
    assert 8 <= (pairs == 2).sum() <= 35


def test_the_seed_determines_the_result() -> None:
    table = table_of(range(100), [i % 4 for i in range(100)])
    first, again, other = (stratified_split(table, 0.2, seed) for seed in (1, 1, 2))
    assert (first.validation == again.validation).all()
    assert (first.validation != other.validation).any()


@settings(deadline=None, max_examples=40)
@given(SETS, st.sampled_from([(0.5, 2), (1 / 3, 3), (0.33, 3), (0.2, 5), (0.1, 10)]), st.integers(0, 5))
def test_the_folds_of_a_seed_are_all_of_training(
    rows: list[tuple[int, int]], cut: tuple[float, int], seed: int
) -> None:
    table = table_of([d for d, _ in rows], [k for _, k in rows])
    fraction, folds = cut
    splits = [stratified_split(table, fraction, seed, fold) for fold in range(folds)]
    assert (splits[0].validation == stratified_split(table, fraction, seed).validation).all()
    times = np.bincount(np.concatenate([split.validation for split in splits]), minlength=len(table))
    assert times.max() <= 1
    for split in splits:
        assert sorted([*split.train, *split.validation]) == list(range(len(table)))
        assert deduplicated(table.take(split.validation), table.take(split.train)).all()
        # In no fold a class is without training rows.
        assert set(table.labels[split.train]) == set(table.labels)
    # A class's only row is held out in none, nor is a group of duplicates that would leave its class with nothing.
    digits, counts = np.array([d for d, _ in rows]), np.bincount(table.labels)
    alone = np.bincount(digits)[digits] == 1
    assert (times[alone & (counts[table.labels] > 1)] == 1).all()


def test_folds_are_equally_large() -> None:
    table = table_of([*range(480), *range(20)], [i % 7 for i in range(500)])
    for fold in range(5):
        held_out = np.bincount(table.labels[stratified_split(table, 0.2, 3, fold).validation], minlength=7)
        assert np.abs(held_out - np.bincount(table.labels) / 5).max() <= 2


def test_a_fold_out_of_range() -> None:
    table = table_of(range(40), [i % 4 for i in range(40)])
    assert not len(stratified_split(table, 5e-324).validation)
    for fraction, fold in ((0.2, 5), (0.3, 3), (0, 1), (0.2, -1)):
        with pytest.raises(UsageError, match="fold must be between 0 and"):
            stratified_split(table, fraction, 0, fold)
    own = table_of([0, 1, 2, 3], [0, 1, 0, 1], ["train", "train", "validation", "validation"])
    with pytest.raises(UsageError, match="validation part of its own"):
        stratified_split(own, 0.2, 0, 1)


def test_only_training_rows_are_cut() -> None:
    table = table_of(range(40), [0] * 40, ["public_test"] * 10 + ["train"] * 20 + ["private_test"] * 10)
    split = stratified_split(table, 0.25)
    assert set(split.train) | set(split.validation) == set(range(10, 30))
    assert len(split.validation) == 5


def test_a_validation_part_of_its_own_is_kept() -> None:
    table = table_of([0, 1, 2, 3, 0], [0, 1, 0, 1, 1], ["train", "train", "train", "validation", "validation"])
    split = stratified_split(table, 0.5)
    assert split.validation.tolist() == [3, 4]
    # The first row is an exact duplicate of a validation row.
    assert split.train.tolist() == [1, 2]


def test_nothing_is_held_out_on_request() -> None:
    split = stratified_split(table_of(range(10), [0] * 10), 0)
    assert len(split.validation) == 0
    assert len(split.train) == 10


def test_usage_errors() -> None:
    with pytest.raises(UsageError, match="fraction"):
        stratified_split(table_of([1], [0]), 1.0)
    with pytest.raises(DataError, match="no rows in the split 'train'; it has public_test"):
        stratified_split(table_of([1], [0], "public_test"))


def test_a_saved_split_loads_and_checks_its_table(tmp_path: Path) -> None:
    table = table_of(range(50), [i % 3 for i in range(50)])
    split = stratified_split(table, 0.2, 7, 3)
    split.save(tmp_path / "split.json")
    back = Split.load(tmp_path / "split.json")
    assert (back.train == split.train).all()
    assert (back.validation == split.validation).all()
    assert (back.seed, back.fraction, back.fold, back.fingerprint) == (7, 0.2, 3, table.fingerprint)
    back.check(table)
    with pytest.raises(DataError, match="was not cut from"):
        back.check(table.take(np.arange(49)))


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"train": ["a"]}'])
def test_a_file_that_is_no_split(tmp_path: Path, text: str) -> None:
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(DataError, match="no saved split"):
        Split.load(tmp_path / "split.json")
    with pytest.raises(DataError, match="no saved split"):
        Split.load(tmp_path / "missing.json")


def test_deduplicated_looks_at_pixels_alone() -> None:
    part = table_of([1, 2, 3], [0, 0, 0], "public_test")
    assert deduplicated(part, table_of([2, 9], [5, 5])).tolist() == [True, False, True]
