from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from moue.errors import UsageError
from moue.evaluation.significance import bootstrap, compare_pairs, holm, mcnemar


@pytest.mark.parametrize(("b", "c"), [(0, 0), (3, 9), (12, 12), (0, 24), (1, 8)])
def test_few_discordant_rows_get_the_exact_binomial_test(b: int, c: int) -> None:
    expected = stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected)


@pytest.mark.parametrize(("b", "c"), [(10, 30), (400, 451), (100, 100), (20, 5)])
def test_many_get_the_corrected_chi_squared_test(b: int, c: int) -> None:
    expected = stats.chi2.sf(max(0, abs(b - c) - 1) ** 2 / (b + c), 1)
    assert mcnemar(b, c) == pytest.approx(expected)


def test_the_bootstrap_by_counts_is_that_of_rows() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(400) < 0.7, rng.random(400) < 0.62
    rows = rng.integers(0, 400, (10_000, 400))
    differences = (a.astype(float) - b)[rows].mean(1)
    low, high, p = bootstrap(400, int((a & ~b).sum()), int((b & ~a).sum()))
    assert (low, high) == pytest.approx(np.percentile(differences, [2.5, 97.5]), abs=0.006)
    by_rows = 2 * min((differences <= 0).mean(), (differences >= 0).mean())
    assert p == pytest.approx(by_rows, abs=0.02)


def test_the_bootstraps_p_value_is_never_below_its_floor() -> None:
    assert bootstrap(1000, 500, 0, 999)[2] == pytest.approx(2 / 1000)


def test_equal_models_do_not_differ() -> None:
    right = np.arange(50) % 3 > 0
    (pair,) = compare_pairs({"a": right, "b": right.copy()})
    assert (pair.difference, pair.low, pair.high) == (0, 0, 0)
    assert pair.p_bootstrap == pair.p_mcnemar == pair.p_holm == 1
    assert not pair.significant


def test_holm_keeps_order_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_every_pair_is_tested_once_with_a_signed_difference() -> None:
    rng = np.random.default_rng(1)
    right = {"a": rng.random(1000) < 0.5, "b": rng.random(1000) < 0.7, "c": rng.random(1000) < 0.71}
    pairs = compare_pairs(right)
    assert [(p.a, p.b) for p in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs[0].difference == pytest.approx(right["a"].mean() - right["b"].mean())
    assert pairs[0].low < pairs[0].difference < pairs[0].high < 0
    assert pairs[0].significant
    assert not pairs[2].significant
    assert pairs[0].p_holm >= pairs[0].p_mcnemar
    assert compare_pairs(right) == pairs, "seeded"


def test_models_of_other_rows_are_not_compared() -> None:
    with pytest.raises(UsageError, match="same rows"):
        compare_pairs({"a": np.ones(3, bool), "b": np.ones(4, bool)})
