"""Class weights and oversampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moue.data.balance import bootstrap, class_weights, oversample, repeats
from moue.errors import DataError


def test_weights_are_those_of_scikit_learn() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    assert class_weights(labels, 3).tolist() == pytest.approx([6 / 9, 2, 1])
    assert class_weights(labels, 3)[labels].mean() == pytest.approx(1)
    assert class_weights(labels, 3).dtype == np.float32


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 3))
def test_every_class_is_drawn_as_often_as_the_largest(labels: list[int], seed: int) -> None:
    rows = np.array([*labels, 0, 1, 2, 3])
    drawn = oversample(rows, 4, np.random.default_rng(seed))
    counts = np.bincount(rows)
    assert (np.bincount(rows[drawn]) == counts.max()).all()
    # Within a class no row comes more than once oftener than another.
    times = np.bincount(drawn, minlength=len(rows))
    for label in range(4):
        assert np.ptp(times[rows == label]) <= 1
        assert times[rows == label].min() >= 1


def test_a_bootstrap_sample_has_as_many_rows_of_each_class_and_leaves_some_out() -> None:
    labels = np.repeat([0, 2, 1, 5], [500, 300, 200, 1])
    rows = bootstrap(labels, np.random.default_rng(0))
    assert (np.bincount(labels[rows]) == np.bincount(labels)).all()
    assert len(np.unique(rows)) / len(rows) == pytest.approx(1 - np.exp(-1), abs=0.05)
    assert (rows == bootstrap(labels, np.random.default_rng(0))).all()
    assert (rows != bootstrap(labels, np.random.default_rng(1))).any()
    assert len(bootstrap(labels[:0], np.random.default_rng(0))) == 0


def test_repeats_are_counted_in_their_order() -> None:
    assert repeats(np.array([4, 1, 4, 0, 4, 1])).tolist() == [0, 0, 1, 0, 2, 1]
    assert repeats(np.array([], np.int64)).tolist() == []


def test_the_generator_determines_the_result() -> None:
    rows = np.repeat([0, 1], [30, 7])
    first, again, other = (oversample(rows, 2, np.random.default_rng(s)) for s in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_an_empty_class_is_named() -> None:
    labels = np.array([0, 2])
    with pytest.raises(DataError, match="class 'disgust' has none"):
        class_weights(labels, 3, ("angry", "disgust", "fear"))
    with pytest.raises(DataError, match="class 1 has none"):
        oversample(labels, 3, np.random.default_rng(0))
    with pytest.raises(DataError, match=r"between 0 and 1\. Got 2"):
        class_weights(labels, 2)
