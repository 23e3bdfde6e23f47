"""Makes probabilities mean what they say: one temperature, and the threshold under which an answer is uncertain."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from moue.runtime.results import softmax

#: The share of answers that are not marked uncertain.
COVERAGE = 0.8


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The temperature whose answers are as sure, on average, as they are right.

    Clarté et al., "Expectation consistency for calibration of neural networks", 2023. The least negative log-likelihood
    (Guo et al., "On calibration of modern neural networks", 2017) trades this for the fit of rare, very wrong answers:
    where training smoothed its labels, it leaves answers 2 to 3 % too sure.

    Args:
        logits: ``(N, K)``, after views and members are averaged.
        labels: int64 ``(N,)``.

    Returns:
        A temperature between 0.1 and 10, by bisection: the mean confidence falls as it rises. Right answers are counted
        by Laplace's rule of succession, lest a small part that is all right asks for certainty.
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


def uncertain_threshold(logits: NDArray[np.floating], temperature: float, coverage: float = COVERAGE) -> float:
    """The top probability that ``coverage`` of the answers reach: below it an answer is marked uncertain.

    Args:
        logits: ``(N, K)`` of the validation part.
        temperature: as fitted.
        coverage: share of answers to leave unmarked, 0 to 1.
    """
    return float(np.quantile(softmax(logits, temperature).max(axis=1), 1 - coverage))
