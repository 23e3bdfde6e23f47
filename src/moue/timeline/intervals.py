"""Means over independent units, with Student's t intervals.

A unit is a person, say: what is alike inside of it, such as the frames of a person or the events that a person sees,
is averaged first and does not count as independent. With n units, their mean m and standard deviation s, the interval
is m ± t(n - 1) s / sqrt(n). It holds the true mean as often as it says where values are normal, and less often where
they are skewed and units few (91 % of five, 93 % of thirty draws from a beta distribution with a mean of 0.2). For few
units it is wider than a bootstrap's, which holds a normal mean in 75 % of three and in 91 % of five draws. An interval
belongs to one value alone: of many, such as the points of a curve, some will miss.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moue.evaluation.intervals import t_quantile
from moue.runtime.validation import check_number


class Means(NamedTuple):
    """Means of some values; NaN where there is nothing to average."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    """float64, of the shape of a unit's values: means, and ends of intervals, NaN for fewer than two units."""
    n: NDArray[np.int64]
    """int64: how many units have each value."""


def mean_over_units(
    values: NDArray[np.float64], *, confidence: float = 0.95, bounds: tuple[float, float] = (0.0, 1.0)
) -> Means:
    """Average over N units, each of which counts the same.

    Args:
        values: float64 ``(N, …)``; NaN where a unit lacks a value.
        confidence: of the intervals, above 0 and below 1.
        bounds: between which all values lie; intervals end there.

    Raises:
        UsageError: when ``confidence`` is out of its range.
    """
    check_number("confidence", confidence, 0, 0.9999, exclusive=True)
    there = np.isfinite(values)
    n = there.sum(axis=0)
    filled = np.where(there, values, 0.0)
    mean = np.full(n.shape, np.nan)
    np.divide(filled.sum(axis=0), n, out=mean, where=n > 0)
    squares = (np.where(there, filled - np.nan_to_num(mean), 0.0) ** 2).sum(axis=0)
    half = np.full(n.shape, np.nan)
    for number in set(n.ravel().tolist()) - {0, 1}:
        t = t_quantile((1 + confidence) / 2, number - 1)
        half[n == number] = t * np.sqrt(squares[n == number] / (number - 1) / number)
    return Means(mean, np.maximum(mean - half, bounds[0]), np.minimum(mean + half, bounds[1]), n)
