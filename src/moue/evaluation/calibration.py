"""Calibration: one temperature, and the threshold below which a prediction is uncertain."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moue.runtime.results import softmax

#: The share of predictions that are not marked uncertain.
COVERAGE = 0.8


#: Rows that a temperature is fitted on at least: of fewer, the accuracy that it aims at is off by more than 7 points.
MIN_ROWS = 50


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The temperature at which the mean confidence equals the accuracy.

    Clarté et al., "Expectation consistency for calibration of neural networks", 2023. The least negative log-likelihood
    (Guo et al., "On calibration of modern neural networks", 2017) trades this for the fit of rare, very wrong
    predictions: after training with label smoothing, it leaves predictions 2 to 3 % overconfident.

    Args:
        logits: ``(N, K)``, after views and members are averaged.
        labels: int64 ``(N,)``.

    Returns:
        A temperature between 0.1 and 10, by bisection: the mean confidence falls as it rises. The accuracy is estimated
        by Laplace's rule of succession, as an accuracy of 1 on a small part would ask for a confidence of 1.
    """
    right = int((logits.argmax(axis=1) == labels).sum())
    accuracy = (right + 1) / (len(labels) + 2)
    low, high = math.log(0.1), math.log(10.0)
    while high - low > 1e-4:
        middle = (low + high) / 2
        if softmax(logits, math.exp(middle)).max(axis=1).mean() > accuracy:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


class Calibration(NamedTuple):
    """How a model's logits become probabilities, and when they are uncertain."""

    temperature: float
    uncertain_below: float
    remark: str
    """Why the temperature was not fitted; "" where it was."""


def calibrate(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> Calibration:
    """Temperature and threshold on held-out rows; the temperature stays 1 where they are too few to fit one.

    Args:
        logits: ``(N, K)``, after views and members are averaged, N at least 1.
        labels: int64 ``(N,)``.
    """
    few = len(labels) < MIN_ROWS
    remark = f"its temperature stays 1: fitting one takes {MIN_ROWS} held-out images, and these were {len(labels)}"
    temperature = 1.0 if few else fit_temperature(logits, labels)
    return Calibration(temperature, uncertain_threshold(logits, temperature), remark if few else "")


def uncertain_threshold(logits: NDArray[np.floating], temperature: float, coverage: float = COVERAGE) -> float:
    """The top probability that ``coverage`` of the predictions reach: below it a prediction is marked uncertain.

    Args:
        logits: ``(N, K)`` of the validation part.
        temperature: as fitted.
        coverage: share of predictions to leave unmarked, 0 to 1.
    """
    return float(np.quantile(softmax(logits, temperature).max(axis=1), 1 - coverage))
