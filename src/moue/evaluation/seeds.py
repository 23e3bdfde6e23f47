"""Recipes that were trained several times: the spread of their scores over seeds, and whether two of them differ."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from moue.errors import require
from moue.evaluation.model_result import ModelResult
from moue.evaluation.significance import ALPHA, holm

#: The scores whose spread is shown.
SCORES = ("accuracy", "deduplicated_accuracy", "balanced_accuracy", "macro_f1", "nll", "ece")


class Spread(NamedTuple):
    """A score over seeds."""

    mean: float
    sd: float
    """Standard deviation, of a sample (n - 1)."""
    values: tuple[float, ...]


@dataclass(frozen=True)
class SeedPair:
    """Two recipes over their seeds, on the same images."""

    a: str
    b: str
    seeds_a: int
    seeds_b: int
    n: int
    """Images."""
    difference: float
    """Mean accuracy of ``a`` less that of ``b``, -1 to 1."""
    low: float
    """Lower end of the 95 % interval of the difference."""
    high: float
    """Upper end of it."""
    p: float
    """Two-sided p value, uncorrected."""
    p_holm: float
    """Corrected for all pairs that were tested together."""

    @property
    def significant(self) -> bool:
        """Whether the corrected p value is below :data:`moue.evaluation.significance.ALPHA`."""
        return self.p_holm < ALPHA

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return {**asdict(self), "significant": self.significant}


def spread(result: ModelResult, score: str) -> Spread | None:
    """Mean and standard deviation of one of :data:`SCORES`; None for fewer than two seeds, or where one has no such
    score.
    """
    values = [run.to_row()[score] for run in result.seeds]
    if len(values) < 2 or None in values:
        return None
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)), tuple(map(float, values)))


def compare_over_seeds(results: Sequence[ModelResult]) -> list[SeedPair]:
    """Test every two recipes that have two seeds or more.

    A difference of mean accuracies has three sources of chance: the seeds of each recipe, and the images, which all
    runs share. Their variances are added, s_a² / S_a + s_b² / S_b + s_d² / N, where s_d is the deviation over images of
    the difference between the two recipes' shares of right runs; the statistic has Student's distribution with the
    degrees of freedom of Satterthwaite ("An approximate distribution of estimates of variance components", 1946), as in
    Welch's test (1947), which leaves the images out. McNemar's test of two runs leaves the seeds out.

    Returns:
        A pair for every two recipes, in the order given; their p values are corrected by Holm's procedure.

    Raises:
        MissingExtra: without scipy.
    """
    tested = [r for r in results if len(r.seeds) > 1 and all(run.correct is not None for run in r.seeds)]
    pairs = [_pair(a, b) for a, b in itertools.combinations(tested, 2)]
    corrected = holm([pair.p for pair in pairs])
    return [replace(pair, p_holm=p) for pair, p in zip(pairs, corrected, strict=True)]


def _pair(a: ModelResult, b: ModelResult) -> SeedPair:
    student = require("scipy.stats", "train").t
    # (seeds, images) of 0 and 1.
    right_a, right_b = (np.stack([run.correct for run in r.seeds]).astype(float) for r in (a, b))  # type: ignore[misc]
    n = right_a.shape[1]
    difference = float(right_a.mean() - right_b.mean())
    parts = [
        (float(right_a.mean(axis=1).var(ddof=1)) / len(right_a), len(right_a) - 1),
        (float(right_b.mean(axis=1).var(ddof=1)) / len(right_b), len(right_b) - 1),
        (float((right_a.mean(axis=0) - right_b.mean(axis=0)).var(ddof=1)) / n if n > 1 else 0.0, max(1, n - 1)),
    ]
    variance = sum(v for v, _ in parts)
    if variance == 0:
        p, half = (1.0 if difference == 0 else 0.0), 0.0
    else:
        freedom = variance**2 / sum(v**2 / df for v, df in parts)
        error = math.sqrt(variance)
        p = float(2 * student.sf(abs(difference) / error, freedom))
        half = float(student.ppf(0.975, freedom)) * error
    return SeedPair(
        a.name, b.name, len(right_a), len(right_b), n, difference, difference - half, difference + half, p, p
    )
