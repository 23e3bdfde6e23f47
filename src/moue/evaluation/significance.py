"""Whether the difference between two models on the same rows is significant.

Two tests for each pair: a paired bootstrap of the difference in accuracy (Efron and Tibshirani, "An introduction to
the bootstrap", 1993), which gives an interval, and McNemar's test on the rows that just one of the two gets right
(McNemar, 1947; Dietterich, "Approximate statistical tests for comparing supervised classification learning algorithms",
1998), which gives the p value. Holm's procedure (1979) corrects the latter for the number of pairs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.errors import UsageError

#: From as many discordant rows on, the corrected chi-squared approximation stands in for the exact binomial test.
EXACT_BELOW = 25
#: A pair whose corrected p value is below this differs significantly.
ALPHA = 0.05


@dataclass(frozen=True)
class Pair:
    """Two models on the same rows."""

    a: str
    b: str
    n: int
    """Rows."""
    only_a: int
    """Rows that ``a`` alone gets right."""
    only_b: int
    """Rows that ``b`` alone gets right."""
    difference: float
    """Accuracy of ``a`` less that of ``b``, -1 to 1."""
    low: float
    """Lower end of the bootstrap's 95 % interval of the difference."""
    high: float
    """Upper end of it."""
    p_bootstrap: float
    """Two-sided p value of the bootstrap, uncorrected."""
    p_mcnemar: float
    """Two-sided p value of McNemar's test, uncorrected."""
    p_holm: float
    """McNemar's p value corrected for all pairs that were tested together."""

    @property
    def significant(self) -> bool:
        """Whether the corrected p value is below :data:`ALPHA`."""
        return self.p_holm < ALPHA

    def swapped(self) -> Pair:
        """The same test with ``b`` first."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            only_a=self.only_b,
            only_b=self.only_a,
            difference=-self.difference,
            low=-self.high,
            high=-self.low,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return {**asdict(self), "significant": self.significant}


def compare_pairs(correct: Mapping[str, NDArray[np.bool_]], *, resamples: int = 10_000, seed: int = 0) -> list[Pair]:
    """Test every pair of models.

    Args:
        correct: by model name, bool ``(N,)``: which rows it gets right; the same N rows in the same order for all.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        A pair for every two models, in the order given.

    Raises:
        UsageError: when the models were not scored on the same number of rows.
    """
    sizes = {len(c) for c in correct.values()}
    if len(sizes) > 1:
        counts = ", ".join(map(str, sorted(sizes)))
        raise UsageError(f"models can be compared on the same rows only. Got {counts} rows.")
    rng = np.random.default_rng(seed)
    pairs = []
    for (a, right_a), (b, right_b) in itertools.combinations(correct.items(), 2):
        n, only_a, only_b = len(right_a), int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
        low, high, p_bootstrap = bootstrap(n, only_a, only_b, resamples, rng)
        p = mcnemar(only_a, only_b)
        pairs.append(Pair(a, b, n, only_a, only_b, (only_a - only_b) / n, low, high, p_bootstrap, p, p))
    corrected = holm([pair.p_mcnemar for pair in pairs])
    return [replace(pair, p_holm=p) for pair, p in zip(pairs, corrected, strict=True)]


def bootstrap(
    n: int, only_a: int, only_b: int, resamples: int = 10_000, rng: np.random.Generator | None = None
) -> tuple[float, float, float]:
    """Paired bootstrap of a difference in accuracy.

    Rows on which both models are right, or both wrong, do not change the difference. So resampling N rows with
    replacement is drawing three counts from a multinomial distribution.

    Returns:
        Lower and upper end of the 95 % percentile interval of accuracy a - accuracy b, and the two-sided p value
        (never below 2 / (resamples + 1)).
    """
    rng = rng or np.random.default_rng(0)
    drawn = rng.multinomial(n, [only_a / n, only_b / n, (n - only_a - only_b) / n], size=resamples)
    differences = (drawn[:, 0] - drawn[:, 1]) / n
    low, high = np.percentile(differences, [2.5, 97.5])
    tail = min((differences <= 0).sum(), (differences >= 0).sum())
    return float(low), float(high), min(1.0, 2 * (float(tail) + 1) / (resamples + 1))


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided p value of McNemar's test.

    Args:
        only_a: rows that the first model alone gets right.
        only_b: rows that the second model alone gets right.

    Returns:
        The exact binomial p value below :data:`EXACT_BELOW` discordant rows, else that of chi-squared with one degree
        of freedom and Edwards' continuity correction.
    """
    discordant, least = only_a + only_b, min(only_a, only_b)
    if discordant < EXACT_BELOW:
        tail: int = sum(math.comb(discordant, i) for i in range(least + 1))
        return min(1.0, 2 * tail / float(2**discordant))
    chi = max(0, abs(only_a - only_b) - 1) / math.sqrt(discordant)
    return math.erfc(chi / math.sqrt(2))


def holm(p: Sequence[float]) -> list[float]:
    """P values corrected for their number, in the order given (Holm, "A simple sequentially rejective test", 1979)."""
    corrected, running = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = running
    return corrected
