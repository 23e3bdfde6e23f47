"""Exact duplicates: images with the same pixels, which a set may hold under two labels and in two splits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moue.data.table import ImageTable


def duplicate_groups(table: ImageTable) -> NDArray[np.int64]:
    """int64 ``(N,)``: a number for each distinct image; rows with equal pixels share theirs."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(d, len(numbers)) for d in table.digests], np.int64)


def deduplicated(part: ImageTable, reference: ImageTable) -> NDArray[np.bool_]:
    """bool ``(len(part),)``: which rows' pixels have no exact duplicate in the reference."""
    known = set(reference.digests)
    return np.array([d not in known for d in part.digests], bool)
