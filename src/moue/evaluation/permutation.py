"""Permutation tests of gaps: how often groups of these sizes differ as much where the groups mean nothing.

Under the null hypothesis rows of the same stratum can be exchanged between groups (Good, "Permutation, parametric and
bootstrap tests of hypotheses", 2005). Strata are the true classes, so that groups may hold the classes in other shares.
Whole persons have rows of several classes: a pooled share is then standardized to the classes of the group.
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

    def standardized(self, observed: Counts) -> Counts:
        """The groups' pooled shares, had each group its observed classes: hits and rows without classes, C = 1.

        To what the observed rows of a group would give at the classes' shares of all groups comes how far the group's
        rows here are above theirs.

        Args:
            observed: what these are permutations of.
        """
        rates = observed.hits.sum(1, keepdims=True) / observed.rows.sum(1, keepdims=True)
        above = (self.hits - self.rows * rates).sum(2) / self.rows.sum(2)
        rows = observed.rows.sum(2)
        return Counts(((observed.rows * rates).sum(2) + rows * above)[..., None], rows[..., None])


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

    Where persons are known and each is in one group, whole persons are exchanged; where one is in several, as a person
    in two kinds of light, only that person's own rows are.

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
    observed = count(rows, n_groups, n_classes)
    if rows.persons is not None and _one_group_each(rows.persons, rows.groups):
        drawn = permute_persons(rows, n_groups, n_classes, resamples, rng)
        # A person takes all rows along, and with them another mix of classes.
        drawn = drawn.standardized(observed) if pooled else drawn
    else:
        drawn = permute_rows(rows, n_groups, n_classes, resamples, rng)
    gap = float(observed.gaps(pooled)[0])
    # What is equal up to rounding counts as equal.
    return gap, float((1 + (drawn.gaps(pooled) >= gap - 1e-12).sum()) / (1 + resamples))


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


def permute_persons(rows: Rows, n_groups: int, n_classes: int, resamples: int, rng: np.random.Generator) -> Counts:
    """Exchange whole persons between groups, which keep their numbers of persons."""
    assert rows.persons is not None
    ids, first, person = np.unique(rows.persons, return_index=True, return_inverse=True)
    cell, size = person * n_classes + rows.classes, len(ids) * n_classes
    of_person = np.concatenate(
        [
            np.bincount(cell, weights=rows.hits, minlength=size).reshape(-1, n_classes),
            np.bincount(cell, minlength=size).reshape(-1, n_classes),
        ],
        axis=1,
    )
    # Groups lie one after the other, so that each is a run of the shuffled persons.
    sizes = np.bincount(rows.groups[first], minlength=n_groups)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    sums = np.empty((resamples, n_groups, 2 * n_classes))
    for i in range(resamples):
        sums[i] = np.add.reduceat(of_person[rng.permutation(len(ids))], starts, axis=0)
    return Counts(sums[:, :, :n_classes], sums[:, :, n_classes:])


def _one_group_each(persons: NDArray[np.int64], groups: NDArray[np.int64]) -> bool:
    return len(np.unique(persons)) == len(np.unique(np.stack([persons, groups]), axis=1).T)
