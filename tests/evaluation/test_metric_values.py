"""Borders of `moue.evaluation.metrics` that its other tests leave open."""

from __future__ import annotations

import numpy as np
import pytest

from moue.evaluation.metrics import confusion_matrix, reliability, row_shares, top_k


def test_rows_of_one_image_and_of_none() -> None:
    confusion = confusion_matrix(np.array([0, 1, 1, 1]), np.array([2, 1, 1, 0]), 3)
    assert confusion.tolist() == [[0, 0, 1], [1, 2, 0], [0, 0, 0]]
    assert row_shares(confusion) == pytest.approx(np.array([[0, 0, 1], [1 / 3, 2 / 3, 0], [0, 0, 0]]))


def test_a_bin_of_one_row_has_its_confidence() -> None:
    counts, confidences, accuracies = reliability(np.array([0.55, 0.95]), np.array([True, False]), bins=10)
    assert counts.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert confidences[[5, 9]] == pytest.approx([0.55, 0.95])
    assert accuracies[[5, 9]].tolist() == [1, 0]


def test_a_confidence_on_a_border_belongs_to_the_bin_below() -> None:
    counts, _, _ = reliability(np.array([0.0, 0.5, 0.51, 1.0]), np.ones(4, bool), bins=2)
    assert counts.tolist() == [2, 2]


def test_of_equal_probabilities_the_first_class_is_higher() -> None:
    equal = np.full((3, 3), 1 / 3)
    assert top_k(equal, np.array([0, 1, 2]), 1) == pytest.approx(1 / 3)
    assert top_k(equal, np.array([0, 1, 2]), 2) == pytest.approx(2 / 3)
