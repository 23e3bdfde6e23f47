"""Makes probabilities mean what they say: one temperature, and the threshold under which an answer is uncertain."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from moue.runtime.results import softmax

#: The share of answers that are not marked uncertain.
COVERAGE = 0.8


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The temperature whose softmax has the least negative log-likelihood (Guo et al., "On calibration", 2017).

    Args:
        logits: ``(N, K)``, after views and members are averaged.
        labels: int64 ``(N,)``.

    Returns:
        A temperature between 0.1 and 10, by golden-section search: the likelihood has one minimum in log temperature.
    """

    def nll(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / math.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(labels)), labels]))

    low, high = math.log(0.1), math.log(10.0)
    ratio = (math.sqrt(5) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    value_a, value_b = nll(a), nll(b)
    while high - low > 1e-4:
        if value_a < value_b:
            high, b, value_b = b, a, value_a
            a = high - ratio * (high - low)
            value_a = nll(a)
        else:
            low, a, value_a = a, b, value_b
            b = low + ratio * (high - low)
            value_b = nll(b)
    return math.exp((low + high) / 2)


def uncertain_threshold(logits: NDArray[np.floating], temperature: float, coverage: float = COVERAGE) -> float:
    """The top probability that ``coverage`` of the answers reach: below it an answer is marked uncertain.

    Args:
        logits: ``(N, K)`` of the validation part.
        temperature: as fitted.
        coverage: share of answers to leave unmarked, 0 to 1.
    """
    return float(np.quantile(softmax(logits, temperature).max(axis=1), 1 - coverage))
