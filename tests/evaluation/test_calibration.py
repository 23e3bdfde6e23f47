"""The temperature that makes answers as sure as they are right, and the threshold of uncertain ones."""

from __future__ import annotations

import numpy as np
import pytest

from moue.evaluation.calibration import fit_temperature, uncertain_threshold
from moue.runtime.results import softmax

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("true", [0.5, 2.0])
def test_the_temperature_that_the_labels_were_drawn_with_is_found(true: float) -> None:
    logits = RNG.normal(0, 2, (20_000, 7))
    labels = (softmax(logits, true).cumsum(axis=1) > RNG.uniform(size=(20_000, 1))).argmax(axis=1)
    assert fit_temperature(logits, labels) == pytest.approx(true, rel=0.04)


def test_the_mean_confidence_is_the_accuracy_whatever_the_spread() -> None:
    # Confident predictions are underconfident and the others overconfident: no temperature suits both.
    logits = np.repeat([[4.0, 0, 0], [1.0, 0, 0]], 500, axis=0)
    labels = np.zeros(1000, np.int64)
    labels[500:800] = 1
    temperature = fit_temperature(logits, labels)
    assert softmax(logits, temperature).max(axis=1).mean() == pytest.approx(0.7, abs=0.002)


def test_a_small_part_without_errors_does_not_ask_for_a_confidence_of_1() -> None:
    logits = np.eye(7)[np.arange(14) % 7] * 3
    temperature = fit_temperature(logits, np.arange(14) % 7)
    assert softmax(logits, temperature).max() == pytest.approx(15 / 16, abs=0.002)


def test_the_threshold_leaves_its_share_of_predictions_unmarked() -> None:
    logits = RNG.normal(0, 2, (1000, 7))
    surest = softmax(logits, 1.5).max(axis=1)
    assert (surest >= uncertain_threshold(logits, 1.5)).mean() == pytest.approx(0.8, abs=0.002)
    assert (surest >= uncertain_threshold(logits, 1.5, 0.5)).mean() == pytest.approx(0.5, abs=0.002)
