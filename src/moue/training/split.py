"""The validation part that a config asks for."""

from __future__ import annotations

import numpy as np

from moue.data.splits import Split, stratified_split
from moue.data.table import ImageTable
from moue.errors import UsageError, shortened
from moue.training.config import DataConfig


def configured_split(table: ImageTable, data: DataConfig) -> Split:
    """Cut the validation part that a config asks for from a set; see :func:`moue.data.splits.stratified_split`.

    Raises:
        DataError, UsageError: as of that function.
    """
    return stratified_split(table, data.validation, data.split_seed, data.fold, data.duplicates)


def require_validation(split: Split, table: ImageTable, why: str, remedy: str) -> None:
    """Refuse a split that holds out nothing, as where its share is less than an image of every class.

    Args:
        split: of the table.
        table: the whole set.
        why: what the held-out rows are needed for, a sentence without its end.
        remedy: what to do, such a sentence.

    Raises:
        UsageError: says how many images each class has.
    """
    if len(split.validation):
        return
    counts = np.bincount(table.labels[split.train], minlength=len(table.label_set))
    classes = shortened(", ".join(f"{name} {n:,}" for name, n in zip(table.label_set.labels, counts, strict=True)))
    raise UsageError(
        f"{why}, but data.validation={split.fraction:.3g} holds out none of {table.name or 'this set'} ({classes}). "
        f"{remedy}, or add images."
    )
