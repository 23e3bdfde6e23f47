"""Recipes over seeds: the spread of their scores, and a test that takes seeds and images for random."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from moue.evaluation.model_result import ModelResult
from moue.evaluation.seeds import compare_over_seeds, spread
from results import made_up


def over(name: str, skill: float, seeds: range) -> ModelResult:
    runs = [made_up(f"{name}, seed {i}", skill, i, details={"seed": i}) for i in seeds]
    return made_up(name, skill, seeds[0], seeds=runs)


def test_the_spread_is_mean_and_sample_deviation() -> None:
    result = over("a", 2.0, range(3))
    found = spread(result, "accuracy")
    accuracies = [run.accuracy or 0.0 for run in result.seeds]
    assert found is not None
    assert found.values == tuple(accuracies)
    assert found.mean == pytest.approx(np.mean(accuracies))
    assert found.sd == pytest.approx(np.std(accuracies, ddof=1))
    assert spread(made_up("alone", 2.0), "accuracy") is None
    assert spread(over("one", 2.0, range(1)), "accuracy") is None


def test_recipes_are_tested_over_their_seeds_and_the_images() -> None:
    a, b, single = over("a", 2.0, range(3)), over("b", 1.2, range(10, 14)), made_up("single", 1)
    [pair] = compare_over_seeds([a, single, b])
    assert (pair.a, pair.b, pair.seeds_a, pair.seeds_b, pair.n) == ("a", "b", 3, 4, 600)
    right_a, right_b = (np.stack([run.correct for run in r.seeds]).astype(float) for r in (a, b))  # type: ignore[misc]
    parts = [
        (right_a.mean(1).var(ddof=1) / 3, 2),
        (right_b.mean(1).var(ddof=1) / 4, 3),
        ((right_a.mean(0) - right_b.mean(0)).var(ddof=1) / 600, 599),
    ]
    error = math.sqrt(sum(v for v, _ in parts))
    freedom = error**4 / sum(v**2 / df for v, df in parts)
    assert pair.difference == pytest.approx(right_a.mean() - right_b.mean())
    assert pair.p == pytest.approx(2 * stats.t.sf(pair.difference / error, freedom))
    assert pair.high - pair.low == pytest.approx(2 * error * stats.t.ppf(0.975, freedom))
    assert pair.significant
    # Welch's test leaves the images out, and takes the difference for surer than it is.
    welch = stats.ttest_ind(right_a.mean(1), right_b.mean(1), equal_var=False)
    assert welch.statistic > pair.difference / error


def test_equal_recipes_do_not_differ_and_several_pairs_are_corrected() -> None:
    pairs = compare_over_seeds([over("a", 2.0, range(3)), over("b", 2.0, range(3)), over("c", 2.05, range(3, 6))])
    assert [(pair.a, pair.b) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert (pairs[0].difference, pairs[0].p) == (0, 1)
    assert not any(pair.significant for pair in pairs)
    assert all(pair.p_holm >= pair.p for pair in pairs)
    assert pairs[1].p_holm > pairs[1].p
