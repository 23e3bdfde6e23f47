"""Noisy labels: those of FER-2013 that FER+'s annotators, who looked at the same images, do not share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from moue.data.table import ImageTable
from moue.labels import FERPLUS


def noisy_labels(table: ImageTable, agreement: float = 0.0) -> NDArray[np.bool_]:
    """Which rows' labels have at most this share of FER+'s votes.

    Args:
        table: with ``votes``, and classes that FER+ has, too.
        agreement: 0 to 1. Votes of one annotator alone do not count, so 0 is a label that no two of ten share.

    Returns:
        bool ``(N,)``; true, too, for a row without votes for any expression, as most annotators saw no face there.
    """
    assert table.votes is not None
    column = np.array([FERPLUS.index(name) for name in table.label_set.labels])
    shares = table.votes[np.arange(len(table)), column[table.labels]]
    noisy: NDArray[np.bool_] = shares <= agreement + 1e-6  # Shares are rounded to float32.
    return noisy


def relabel(table: ImageTable, rows: NDArray[np.bool_]) -> tuple[ImageTable, NDArray[np.bool_]]:
    """The table with those rows labeled as more than half of FER+'s votes say.

    Args:
        table: with ``votes``.
        rows: bool ``(N,)``: which rows to label.

    Returns:
        The table, and bool ``(N,)``: false for those of the rows of which the votes name no class of the table.
    """
    assert table.votes is not None
    own = table.label_set.labels
    position = np.array([own.index(name) if name in own else -1 for name in FERPLUS.labels])
    named = np.where(table.votes.max(axis=1) > 0.5, position[table.votes.argmax(axis=1)], -1)
    labels = np.where(rows & (named >= 0), named, table.labels).astype(np.int64)
    return replace(table, labels=labels), ~rows | (named >= 0)
