"""Borders of `moue.evaluation.metrics` that its other tests leave open."""

from __future__ import annotations

import numpy as np
import pytest

from moue.errors import UsageError
from moue.evaluation.metrics import confusion_matrix, reliability, row_shares, scores, top_k
from moue.runtime.results import Predictions


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


def test_calibration_and_coverage_are_of_the_predictions_that_are_right() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.6], np.float32)
    predictions = Predictions(np.stack([confidence, 1 - confidence], axis=1), ("a", "b"))
    found = scores(predictions, np.array([0, 0, 0, 0, 1]))
    # Four of 0.9 that are right are off by 0.1, one of 0.6 that is wrong by 0.6.
    assert found.ece == pytest.approx((4 * 0.1 + 0.6) / 5, abs=1e-6)
    assert found.accuracy_at_80 == 1
    assert found.accuracy == pytest.approx(0.8)


@pytest.mark.parametrize("truth", [[2], [-1]])
def test_a_truth_beyond_the_classes_is_refused(truth: list[int]) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        scores(Predictions(np.array([[0.5, 0.5]], np.float32), ("a", "b")), np.array(truth))


def test_a_bin_is_one_of_those_that_there_are() -> None:
    counts, _, _ = reliability(np.array([1.0, np.nextafter(1.0, 2.0)]), np.ones(2, bool), bins=4)
    assert counts.tolist() == [0, 0, 0, 2]
