"""Description of a data set: counts, exact duplicates, label conflicts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.data.duplicates import duplicate_groups
from moue.data.near_copies import near_copies
from moue.data.table import SPLITS, ImageTable


def describe(table: ImageTable, near: bool = False) -> dict[str, Any]:
    """A data set in numbers, in plain types ready for JSON.

    Args:
        table: the set.
        near: whether to look for near copies, too: some seconds for tens of thousands of images, and four times as long
            for twice as many.

    Returns:
        ``n``; ``image_size`` in pixels; ``splits`` as ``{split: {class: n}}`` with every class in each; ``left_out``
        as a list of ``{source, reason}``; ``duplicates`` in rows: ``within`` (``{split: n}``) are those that repeat an
        earlier row of the same split, ``across`` (``{"train-public_test": n}``) those of the second split whose
        pixels are in the first, ``conflicting`` those with an exact duplicate under another label. With ``near`` also
        ``near_copies``: ``across`` in the same way, of images with a near copy (:mod:`moue.data.near_copies`) or an
        exact one.
    """
    groups = duplicate_groups(table)
    splits = [s for s in SPLITS if (table.split == s).any()]
    pairs = [(a, b) for i, a in enumerate(splits) for b in splits[i + 1 :]]
    distinct = {s: np.unique(groups[table.split == s]) for s in splits}
    return {
        "n": len(table),
        "image_size": table.size,
        "splits": {s: class_counts(table, table.split == s) for s in splits},
        "duplicates": {
            "within": {s: int((table.split == s).sum()) - len(distinct[s]) for s in splits},
            "across": {f"{a}-{b}": int(np.isin(groups[table.split == b], distinct[a]).sum()) for a, b in pairs},
            "conflicting": _conflicting(groups, table.labels),
        },
        **({"near_copies": {"across": _near_copies(table, pairs)}} if near else {}),
        "left_out": [{"source": row.source, "reason": row.reason} for row in table.left_out],
    }


def _near_copies(table: ImageTable, pairs: list[tuple[str, str]]) -> dict[str, int]:
    parts = {s: table.take(np.flatnonzero(table.split == s)) for pair in pairs for s in pair}
    return {f"{a}-{b}": int(near_copies(parts[b], parts[a]).sum()) for a, b in pairs}


def class_counts(table: ImageTable, rows: NDArray[np.bool_]) -> dict[str, int]:
    """How many of the rows each class has, in the label set's order."""
    counts = np.bincount(table.labels[rows], minlength=len(table.label_set))
    return {name: int(n) for name, n in zip(table.label_set.labels, counts, strict=True)}


def _conflicting(groups: NDArray[np.int64], labels: NDArray[np.int64]) -> int:
    if not len(groups):
        return 0
    low = np.full(int(groups.max()) + 1, np.iinfo(np.int64).max)
    high = np.full(len(low), -1)
    np.minimum.at(low, groups, labels)
    np.maximum.at(high, groups, labels)
    return int((low != high)[groups].sum())
