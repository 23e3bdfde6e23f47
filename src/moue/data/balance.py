"""Class weights and oversampling against class imbalance, and bootstrap samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moue.errors import DataError, quoted


def class_weights(labels: NDArray[np.integer], k: int, names: Sequence[str] = ()) -> NDArray[np.float32]:
    """Loss weights inverse to class frequency: ``n / (k * count)``, scikit-learn's "balanced".

    Args:
        labels: int ``(N,)``, 0 to ``k - 1``.
        k: number of classes.
        names: class names, for the error message.

    Returns:
        float32 ``(k,)``; their mean over the rows is 1.

    Raises:
        DataError: for a class without rows; names it.
    """
    counts = _counts(labels, k, names)
    return (len(labels) / (k * counts)).astype(np.float32)


def oversample(
    labels: NDArray[np.integer], k: int, generator: np.random.Generator, names: Sequence[str] = ()
) -> NDArray[np.int64]:
    """Rows of one epoch in which every class is drawn as often as the largest one.

    Every row is repeated as often as the count of its class goes into the largest; the remainder is drawn without
    replacement. Augmentation makes the repeats differ.

    Args:
        labels: int ``(N,)``, 0 to ``k - 1``.
        k: number of classes.
        generator: of the draw and the order.
        names: class names, for the error message.

    Returns:
        int64 positions in ``labels``, ``(k * largest count,)``, shuffled.

    Raises:
        DataError: for a class without rows; names it.
    """
    largest = int(_counts(labels, k, names).max())
    drawn = []
    for label in range(k):
        rows = np.flatnonzero(labels == label)
        times, remainder = divmod(largest, len(rows))
        drawn += [np.tile(rows, times), generator.choice(rows, remainder, replace=False)]
    return generator.permutation(np.concatenate(drawn)).astype(np.int64)


def bootstrap(
    labels: NDArray[np.integer], generator: np.random.Generator, groups: NDArray[np.integer] | None = None
) -> NDArray[np.int64]:
    """A bootstrap sample: as many rows as there are, drawn with replacement, a class at a time so that none is lost.

    Of the rows 63 % are in it. Models of several samples, averaged, are bagged (Breiman, "Bagging predictors", 1996).

    Args:
        labels: int ``(N,)``.
        generator: of the draw.
        groups: int ``(N,)``: rows with the same number are drawn together, as duplicates must be: an image is then
            either in the sample or not. The sample has as many groups as there are, and about as many rows.

    Returns:
        int64 positions in ``labels``, ``(N,)``, ascending.
    """
    if groups is None:
        groups = np.arange(len(labels))
    # A group counts as its first row's class, where labels contradict each other.
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    labels = labels[first]
    drawn = [generator.choice(rows, len(rows)) for k in np.unique(labels) for rows in [np.flatnonzero(labels == k)]]
    times = np.bincount(np.concatenate([np.zeros(0, np.int64), *drawn]), minlength=len(first))
    return np.repeat(np.arange(len(group)), times[group])


def repeats(rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """How often each row has been drawn before: int64 ``(N,)``, 0 the first time."""
    order = np.argsort(rows, kind="stable")
    _, first, counts = np.unique(rows[order], return_index=True, return_counts=True)
    times = np.empty(len(rows), np.int64)
    times[order] = np.arange(len(rows)) - np.repeat(first, counts)
    return times


def _counts(labels: NDArray[np.integer], k: int, names: Sequence[str]) -> NDArray[np.int64]:
    counts = np.bincount(np.asarray(labels, np.int64), minlength=k)
    if len(counts) > k:
        raise DataError(f"labels must be between 0 and {k - 1}. Got {len(counts) - 1} instead.")
    if not counts.all():
        empty = int(counts.argmin())
        name = f"{quoted(names[empty])}" if len(names) == k else str(empty)
        raise DataError(
            f"every class needs at least one row to be balanced; class {name} has none. Add some, or do not balance."
        )
    return counts
