from __future__ import annotations

import math

import numpy as np
import pytest

from moue.evaluation.intervals import share_of, t_quantile, wilson


def hits(k: int, n: int) -> np.ndarray:
    return np.arange(n) < k


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_that_of_published_tables(k: int, n: int, low: float, high: float) -> None:
    found = share_of(hits(k, n))
    assert (found.n, found.share) == (n, k / n)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_the_interval_of_everything_mirrors_that_of_nothing() -> None:
    none, everything = share_of(hits(0, 12)), share_of(hits(12, 12))
    assert (none.low, everything.high) == (0.0, 1.0)
    assert none.high == pytest.approx(1 - (everything.low or 0))


def test_without_rows_there_is_no_share() -> None:
    assert share_of(hits(0, 0))[1:] == (None, None, None)
    assert share_of(hits(0, 0), np.zeros(0, np.int64))[1:] == (None, None, None)


def test_one_person_has_no_interval() -> None:
    assert share_of(hits(3, 10), np.zeros(10, np.int64)) == (10, 0.3, None, None)


def test_persons_whose_images_are_all_alike_count_as_one_row_each() -> None:
    # Six persons of ten images, all right or all wrong: the variance of a mean of six shares of 0 and 1.
    persons = np.repeat(np.arange(6), 10)
    right = np.repeat([True, True, True, True, False, False], 10)
    share = 4 / 6
    variance = sum((x - share) ** 2 for x in (1, 1, 1, 1, 0, 0)) / 6 / 5
    expected = wilson(share, share * (1 - share) / variance, t_quantile(0.975, 5))
    found = share_of(right, persons)
    assert (found.low, found.high) == pytest.approx(expected)
    assert share * (1 - share) / variance == pytest.approx(5)
    independent = share_of(right)
    assert found.low is not None
    assert independent.low is not None
    assert found.low < independent.low - 0.1


def test_persons_with_no_variance_between_them_are_worth_no_more_than_their_rows() -> None:
    # Each is right half of the time exactly, so that their totals do not vary at all: as if independent.
    persons, right = np.repeat(np.arange(30), 2), np.tile([True, False], 30)
    found, independent = share_of(right, persons), share_of(right)
    assert found.low == pytest.approx(independent.low, abs=0.01)
    everything = share_of(np.ones(60, bool), persons)
    assert everything.low == pytest.approx(wilson(1.0, 30, t_quantile(0.975, 29))[0])


def test_intervals_over_persons_hold_the_true_share_about_as_often_as_they_say() -> None:
    rng, held, naive, times = np.random.default_rng(0), 0, 0, 400
    persons = np.repeat(np.arange(25), 8)
    for _ in range(times):
        skill = rng.beta(2, 1, 25)  # Mean 2/3, very different persons.
        right = rng.random(200) < skill[persons]
        found, independent = share_of(right, persons), share_of(right)
        assert found.low is not None
        assert found.high is not None
        assert independent.low is not None
        assert independent.high is not None
        held += found.low <= 2 / 3 <= found.high
        naive += independent.low <= 2 / 3 <= independent.high
    assert 0.91 <= held / times <= 0.99
    assert naive / times < 0.85, "rows of one person are not independent"


def test_the_normal_quantile_is_the_limit_of_students() -> None:
    assert t_quantile(0.975, 2000) == pytest.approx(1.959964, abs=2e-3)
    assert math.isclose(t_quantile(0.975, 1), 12.706, abs_tol=2e-2)
