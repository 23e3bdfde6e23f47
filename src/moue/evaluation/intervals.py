"""Shares with their intervals: Wilson's for independent rows, and wider ones where rows belong to the same persons."""

from __future__ import annotations

import functools
import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: The quantile of the normal distribution that a 95 % interval takes.
Z95 = NormalDist().inv_cdf(0.975)


class Share(NamedTuple):
    """A share of some rows."""

    n: int
    """Rows."""
    share: float | None
    """0 to 1; None without rows."""
    low: float | None
    """Lower end of the interval; None without rows, or where they are of a single person."""
    high: float | None
    """Upper end of it."""


def share_of(hits: NDArray[np.bool_], persons: NDArray[np.integer] | None = None, *, confidence: float = 0.95) -> Share:
    """The share of hits, with Wilson's interval.

    Rows of one person are alike, so that they are worth fewer independent ones. The variance is then that of a ratio of
    totals over P persons (linearized), the rows count as many as would have that variance (Korn and Graubard,
    "Confidence intervals for proportions with small expected number of positive counts estimated from survey data",
    1998), never more than there are, and the quantile is Student's with P - 1 degrees of freedom. Where all rows are
    hits, or none is, they show no variance: then each person counts as one row.

    Args:
        hits: bool ``(N,)``.
        persons: int ``(N,)``: a number for each person; None where rows are independent.
        confidence: of the interval, above 0 and below 1.
    """
    n, k = len(hits), int(hits.sum())
    if not n:
        return Share(0, None, None, None)
    if persons is None:
        return Share(n, k / n, *wilson(k / n, n, NormalDist().inv_cdf((1 + confidence) / 2)))
    _, person = np.unique(persons, return_inverse=True)
    rows = np.bincount(person)
    p, count = k / n, len(rows)
    if count < 2:
        return Share(n, p, None, None)
    residuals = np.bincount(person, weights=hits) - p * rows
    variance = count / (count - 1) * float((residuals**2).sum()) / n**2
    if 0 < p < 1:
        effective = min(float(n), p * (1 - p) / variance) if variance > 0 else float(n)
    else:
        effective = float(min(n, count))
    return Share(n, p, *wilson(p, effective, t_quantile((1 + confidence) / 2, count - 1)))


def wilson(share: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's score interval ("Probable inference, the law of succession, and statistical inference", 1927).

    Args:
        share: of the hits, 0 to 1.
        n: how many independent rows, above 0.
        z: the quantile of the interval, 1.96 for 95 %.
    """
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Rounding must not lift the lower end above 0, nor push the upper one below 1.
    return (0.0 if share == 0 else middle - half), (1.0 if share == 1 else middle + half)


@functools.lru_cache(maxsize=4096)
def t_quantile(p: float, df: int) -> float:
    """The quantile ``p``, at least a half, of Student's t distribution.

    With t = sqrt(df) tan(a), its density is proportional to cos(a)^(df - 1), which is integrated numerically.
    """
    angle = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(angle) ** (df - 1)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(df) * math.tan(float(np.interp(2 * p - 1, area / area[-1], angle)))
