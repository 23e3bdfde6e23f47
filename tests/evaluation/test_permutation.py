from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from moue.evaluation.permutation import Rows, count, gap_test


def rows(hits: str, classes: str, groups: str, persons: str | None = None) -> Rows:
    """Rows from strings of digits."""
    digits = [np.array([int(c) for c in text], np.int64) for text in (hits, classes, groups)]
    own = None if persons is None else np.array([int(c) for c in persons], np.int64)
    return Rows(digits[0].astype(bool), digits[1], digits[2], own)


def shuffles(table: Rows) -> list[NDArray[np.int64]]:
    """Every way to exchange groups within classes: brute force."""
    by_class = [np.flatnonzero(table.classes == k) for k in np.unique(table.classes)]
    orders = [list(itertools.permutations(table.groups[where])) for where in by_class]
    found = []
    for chosen in itertools.product(*orders):
        groups = table.groups.copy()
        for where, values in zip(by_class, chosen, strict=True):
            groups[where] = values
        found.append(groups)
    return found


def gap_of(table: Rows, groups: NDArray[np.int64], pooled: bool) -> float:
    shares = []
    for group in np.unique(groups):
        own = groups == group
        parts = [table.hits[own & (table.classes == k)] for k in np.unique(table.classes)]
        shares.append(table.hits[own].mean() if pooled else np.mean([p.mean() for p in parts if len(p)]))
    return float(max(shares) - min(shares))


@pytest.mark.parametrize("pooled", [False, True])
def test_p_is_that_of_all_permutations(pooled: bool) -> None:
    table = rows("11001" + "1010", "00000" + "1111", "00112" + "0112")
    observed = gap_of(table, table.groups, pooled)
    every = [gap_of(table, groups, pooled) for groups in shuffles(table)]
    exact = float(np.mean([gap >= observed - 1e-12 for gap in every]))
    gap, p = gap_test(table, pooled=pooled, resamples=40_000)
    assert gap == pytest.approx(observed)
    assert 0.05 < exact < 1
    assert p == pytest.approx(exact, abs=0.015)


def test_p_by_hand() -> None:
    # Three right in one group, three wrong in the other: 2 of the 20 ways to choose three of six are as far apart.
    gap, p = gap_test(rows("111000", "000000", "000111"), resamples=40_000)
    assert gap == 1.0
    assert p == pytest.approx(0.1, abs=0.01)


def test_whole_persons_are_exchanged() -> None:
    # Four persons of three images: 2 of the 6 ways to choose two of them are as far apart, however many images.
    gap, p = gap_test(rows("1" * 6 + "0" * 6, "0" * 12, "0" * 6 + "1" * 6, "000111222333"), resamples=20_000)
    assert gap == 1.0
    assert p == pytest.approx(1 / 3, abs=0.015)
    assert gap_test(rows("1" * 6 + "0" * 6, "0" * 12, "0" * 6 + "1" * 6), resamples=20_000)[1] < 0.01


def test_a_person_in_two_groups_is_compared_with_itself() -> None:
    # Each of three persons is right in light 0 and wrong in light 1, twice: only their own images are exchanged.
    table = rows("1100" * 3, "0" * 12, "0011" * 3, "000011112222")
    gap, p = gap_test(table, resamples=60_000)
    assert gap == 1.0
    assert p == pytest.approx(2 / 6**3, abs=0.003), "one of six ways a person, in either direction"


def test_another_mix_of_classes_is_no_gap() -> None:
    # The easy class is always right, the hard one half of the time, in both groups; one has mostly easy images.
    easy, hard = "1" * 40, "10" * 10
    table = rows(easy + hard[:4] + "1" * 4 + hard, "0" * 40 + "1" * 4 + "0" * 4 + "1" * 20, "0" * 44 + "1" * 24)
    assert gap_test(table, resamples=2000) == (0.0, 1.0)
    gap, p = gap_test(table, pooled=True, resamples=2000)
    assert gap > 0.3
    assert p > 0.2, "permuted within classes, the mix stays"


def test_a_seed_gives_the_same_p_and_p_is_never_0() -> None:
    table = rows("1" * 30 + "0" * 30, "0" * 60, "0" * 30 + "1" * 30)
    assert gap_test(table, resamples=499, seed=3) == gap_test(table, resamples=499, seed=3) == (1.0, 1 / 500)


def test_counts_are_those_of_the_rows() -> None:
    found = count(rows("1011", "0101", "0011"), 2, 2)
    assert found.hits.tolist() == [[[1, 0], [1, 1]]]
    assert found.rows.tolist() == [[[1, 1], [1, 1]]]
    assert found.gaps().tolist() == [0.5]


@pytest.mark.parametrize("clustered", [False, True])
def test_where_groups_mean_nothing_p_is_uniform(clustered: bool) -> None:
    rng, found = np.random.default_rng(1), []
    for seed in range(150):
        persons = np.repeat(np.arange(24), 5)
        skill = rng.beta(1, 1, 24) if clustered else np.full(24, 0.7)
        of_person = rng.permutation(np.arange(24) % 3) if clustered else None
        groups = of_person[persons] if of_person is not None else rng.integers(0, 3, 120)
        hits = rng.random(120) < skill[persons]
        table = Rows(hits, rng.integers(0, 2, 120), groups, persons if clustered else None)
        found.append(gap_test(table, resamples=199, seed=seed)[1])
    p = np.array(found)
    # About three standard errors of 150 draws.
    assert abs((p <= 0.05).mean() - 0.05) < 0.05
    assert abs((p <= 0.5).mean() - 0.5) < 0.12


def persons_of_unequal_mix(seed: int, worse: float, mix: float = 0.3) -> Rows:
    """40 persons of ten images; one group has mostly the easy class, the other mostly the hard one, and is worse."""
    rng = np.random.default_rng(seed)
    persons = np.repeat(np.arange(40), 10)
    groups = (persons >= 20).astype(np.int64)
    classes = (rng.random(400) < np.where(groups == 0, mix, 1 - mix)).astype(np.int64)
    return Rows(rng.random(400) < np.where(classes == 0, 0.9, 0.5) - worse * groups, classes, groups, persons)


def test_persons_with_few_rows_of_a_class_do_not_make_a_gap() -> None:
    # The mean recall of a group of which 20 % are of a class varies more than that of another.
    p = np.array([gap_test(persons_of_unequal_mix(s, 0, 0.2), resamples=199, seed=s)[1] for s in range(150)])
    assert abs((p <= 0.05).mean() - 0.05) < 0.04
    assert abs((p <= 0.5).mean() - 0.5) < 0.12


def test_with_persons_another_mix_of_classes_is_no_gap_and_a_real_gap_is_one() -> None:
    gap, _ = gap_test(persons_of_unequal_mix(0, 0), pooled=True, resamples=199)
    assert gap > 0.1, "the gap is that of the groups' shares as they are"
    null, real = (
        np.array([gap_test(persons_of_unequal_mix(s, worse), pooled=True, resamples=199)[1] for s in range(60)])
        for worse in (0, 0.25)
    )
    assert (null <= 0.05).mean() <= 0.12
    assert 0.3 < np.median(null) < 0.7
    assert (real <= 0.05).mean() > 0.8
