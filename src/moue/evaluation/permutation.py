"""Permutation tests of gaps: how often groups of these sizes differ as much where the groups mean nothing.

Under the null hypothesis rows of the same stratum can be exchanged between groups (Good, "Permutation, parametric and
bootstrap tests of hypotheses", 2005). Strata are the true classes, so that groups may hold the classes in other shares.
Whole persons have rows of several classes, see :func:`person_statistics`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Counts(NamedTuple):
    """Hits and rows of G groups in C classes; of B permutations, or of what was observed (B = 1)."""

    hits: NDArray[np.float64]
    """``(B, G, C)``."""
    rows: NDArray[np.float64]
    """``(B or 1, G, C)``."""

    def gaps(self, pooled: bool = False) -> NDArray[np.float64]:
        """``(B,)``: the largest less the smallest of the groups' shares of hits; 0 where fewer than two have rows.

        Args:
            pooled: whether a group's share is that of all its rows, instead of the mean over the classes that it has.
        """
        hits, rows = (self.hits.sum(2, keepdims=True), self.rows.sum(2, keepdims=True)) if pooled else self
        known = np.broadcast_to(rows > 0, hits.shape)
        shares = np.divide(hits, rows, out=np.zeros(hits.shape), where=known)
        classes = known.sum(2)
        means = shares.sum(2) / np.maximum(classes, 1)
        highest = np.where(classes > 0, means, -np.inf).max(1)
        lowest = np.where(classes > 0, means, np.inf).min(1)
        gaps: NDArray[np.float64] = np.maximum(highest - lowest, 0)
        return gaps


class Rows(NamedTuple):
    """N rows of a test."""

    hits: NDArray[np.bool_]
    """``(N,)``."""
    classes: NDArray[np.int64]
    """``(N,)``: 0 to C - 1, each of which has rows."""
    groups: NDArray[np.int64]
    """``(N,)``: 0 to G - 1, each of which has rows."""
    persons: NDArray[np.int64] | None = None
    """``(N,)``: a number for each person, from 0; None where rows are independent."""


def gap_test(rows: Rows, *, pooled: bool = False, resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Test the gap between groups.

    Where persons are known and each is in one group, whole persons are exchanged, and the gap is tested in its standard
    errors; where one is in several, as a person in two kinds of light, only that person's own rows are.

    Args:
        rows: of at least two groups.
        pooled: see :meth:`Counts.gaps`.
        resamples: permutations.
        seed: of the permutations.

    Returns:
        The gap, see :meth:`Counts.gaps`, and its p value: (1 + permutations with at least this gap) / (1 + all), which
        is never below 1 / (1 + ``resamples``) (Phipson and Smyth, "Permutation p-values should never be zero", 2010).
    """
    rng = np.random.default_rng(seed)
    n_groups, n_classes = int(rows.groups.max()) + 1, int(rows.classes.max()) + 1
    gap = float(count(rows, n_groups, n_classes).gaps(pooled)[0])
    if rows.persons is not None and _one_group_each(rows.persons, rows.groups):
        observed, *drawn = person_statistics(rows, pooled, resamples, rng)
    else:
        observed, drawn = gap, [*permute_rows(rows, n_groups, n_classes, resamples, rng).gaps(pooled)]
    # What is equal up to rounding counts as equal.
    return gap, float((1 + (np.array(drawn) >= observed - 1e-9).sum()) / (1 + resamples))


def count(rows: Rows, n_groups: int, n_classes: int) -> Counts:
    """Hits and rows as they were observed."""
    cell = rows.groups * n_classes + rows.classes
    size = n_groups * n_classes
    hits = np.bincount(cell, weights=rows.hits, minlength=size).reshape(1, n_groups, n_classes)
    totals = np.bincount(cell, minlength=size).reshape(1, n_groups, n_classes)
    return Counts(np.asarray(hits, np.float64), totals.astype(np.float64))


def permute_rows(rows: Rows, n_groups: int, n_classes: int, resamples: int, rng: np.random.Generator) -> Counts:
    """Exchange rows of one class between groups; where persons are known, of one class and person.

    The hits of the groups in a stratum then have a multivariate hypergeometric distribution, from which they are drawn.
    """
    totals = count(rows, n_groups, n_classes).rows
    hits = np.zeros((resamples, n_groups, n_classes))
    persons = np.zeros(len(rows.hits), np.int64) if rows.persons is None else rows.persons
    strata, where = np.unique(persons * n_classes + rows.classes, return_inverse=True)
    sizes = np.bincount(where * n_groups + rows.groups, minlength=len(strata) * n_groups).reshape(-1, n_groups)
    for stratum, size, hit in zip(strata, sizes, np.bincount(where, weights=rows.hits), strict=True):
        drawn = rng.multivariate_hypergeometric(size, int(hit), size=resamples)
        hits[:, :, stratum % n_classes] += drawn
    return Counts(hits, totals)


def person_statistics(rows: Rows, pooled: bool, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Exchange whole persons between groups, which keep their numbers of persons.

    Persons have several rows, and take them along with their mix of classes. A pooled share is therefore that above the
    rate of each row's class in all groups. And where the persons of one group have fewer rows than those of another,
    its share varies more: a gap is divided by its standard error, without which a permutation test of unlike groups
    rejects too often or too seldom (Chung and Romano, "Exact and asymptotically robust permutation tests", 2013).

    Args:
        rows: of persons who are in one group each.
        pooled: see :meth:`Counts.gaps`.
        resamples: permutations.
        rng: draws them.

    Returns:
        ``(1 + resamples,)``: the largest difference of two groups' shares in its standard errors, as observed and of
        each permutation.
    """
    assert rows.persons is not None
    _, first, person = np.unique(rows.persons, return_index=True, return_inverse=True)
    n_persons, n_classes = len(first), int(rows.classes.max()) + 1
    cell, size = person * n_classes + rows.classes, n_persons * n_classes
    hits = np.bincount(cell, weights=rows.hits, minlength=size).reshape(-1, n_classes).astype(np.float64)
    totals = np.bincount(cell, minlength=size).reshape(-1, n_classes).astype(np.float64)
    if pooled:
        above = hits - totals * (hits.sum(0) / totals.sum(0))
        hits, totals = above.sum(1, keepdims=True), totals.sum(1, keepdims=True)
    # Groups lie one after the other, so that each is a run of the persons, in their order or shuffled.
    order = np.argsort(rows.groups[first], kind="stable")
    both, difference = np.hstack([hits, totals]), _Differences(np.bincount(rows.groups[first]))
    orders = (order if i == 0 else rng.permutation(n_persons) for i in range(1 + resamples))
    return np.array([difference.largest(both[chosen]) for chosen in orders])


class _Differences:
    """Differences of groups in their standard errors.

    Args:
        sizes: ``(G,)``, persons of each group.
    """

    def __init__(self, sizes: NDArray[np.int64]) -> None:
        self._starts = np.cumsum(sizes) - sizes
        self._group = np.repeat(np.arange(len(sizes)), sizes)
        self._pairs = np.triu_indices(len(sizes), 1)

    def largest(self, persons: NDArray[np.float64]) -> float:
        """The largest difference of two groups' mean shares, in its standard errors.

        Args:
            persons: ``(P, 2 C)``: hits and rows of each person and class, the persons of a group one after the other.
        """
        hits, rows = np.split(persons, 2, axis=1)
        group_hits, group_rows = np.split(np.add.reduceat(persons, self._starts), 2, axis=1)
        known = group_rows > 0
        shares = np.divide(group_hits, group_rows, out=np.zeros(known.shape), where=known)
        # Each class that a group has counts the same, and in it each row.
        classes = np.asarray(known.sum(axis=1))
        weights = np.divide(1, group_rows * classes[:, None], out=np.zeros(known.shape), where=known)
        residuals = ((hits - rows * shares[self._group]) * weights[self._group]).sum(axis=1)
        variance = np.add.reduceat(residuals**2, self._starts)
        means = shares.sum(axis=1) / np.maximum(classes, 1)
        a, b = self._pairs
        compared = np.flatnonzero((classes[a] > 0) & (classes[b] > 0))
        a, b = a[compared], b[compared]
        # Where nobody differs from anybody, a difference of any size is beyond chance, and none is none.
        difference, error = np.abs(means[a] - means[b]), np.sqrt(variance[a] + variance[b])
        ratio = np.divide(difference, error, out=np.where(difference > 1e-12, np.inf, 0.0), where=error > 1e-12)
        return float(ratio.max(initial=0))


def _one_group_each(persons: NDArray[np.int64], groups: NDArray[np.int64]) -> bool:
    return len(np.unique(persons)) == len(np.unique(np.stack([persons, groups]), axis=1).T)
