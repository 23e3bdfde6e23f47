"""A test part for a set that has none: cut from Training once, and saved with the set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moue.data.splits import Duplicates, stratified_split, without_copies
from moue.data.table import ImageTable
from moue.errors import DataError, UsageError, quoted


def hold_out_test(
    table: ImageTable, fraction: float = 0.2, seed: int = 0, duplicates: Duplicates = "exact"
) -> ImageTable:
    """Move a share of the "train" rows to "test".

    Each class gives its share of rows, and none of them has a copy in what stays in "train" or "validation"; see
    :func:`moue.data.splits.stratified_split`.

    Args:
        table: a set without any test rows.
        fraction: share of each class, above 0 and below 1.
        seed: of the draw.
        duplicates: what counts as a copy, as of :func:`moue.data.splits.stratified_split`.

    Returns:
        The same rows in the same order, with another ``split``.

    Raises:
        UsageError: for a fraction outside of its range, or a negative seed.
        DataError: when the set has test rows already, has no "train" rows, or too few to give any.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"the share of the test part must be above 0 and below 1. Got {quoted(fraction)} instead.")
    if seed < 0:
        raise UsageError(f"the seed of the test part must be 0 or more. Got {quoted(seed)} instead.")
    name = table.name or "the data set"
    test_splits = sorted(set(table.split.tolist()) - {"train", "validation"})
    if test_splits:
        raise DataError(f"{name} has test rows of its own ({', '.join(test_splits)}). Leave --test out.")
    train, rows = table.part("train"), np.flatnonzero(table.split == "train")
    # Rows with a copy in the set's own validation part stay in training, whose runs leave them out.
    rows = rows[without_copies(train, table.take(table.split == "validation"), duplicates)]
    held_out = rows[stratified_split(table.take(rows), fraction, seed, duplicates=duplicates).validation]
    if not len(held_out):
        raise DataError(
            f"{name} has too few images to give {fraction:g} of any class. Add images, or ask for a larger share."
        )
    split = table.split.copy()
    split[held_out] = "test"
    return replace(table, split=split)
