"""The validation part that a run cuts from Training, with copies of an image on one side."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from moue.damage import decoding, read_json
from moue.data.duplicates import deduplicated, duplicate_groups
from moue.data.near_copies import near_copies, near_copy_groups
from moue.data.table import ImageTable
from moue.errors import DataError, UsageError, quoted
from moue.files import atomic_write

#: Which copies of an image are kept on one side of a split: those with the same pixels, or near copies, too.
Duplicates = Literal["exact", "near"]


@dataclass(frozen=True)
class Split:
    """Which rows of a table are trained on and which are held out."""

    train: NDArray[np.int64]
    """Ascending positions in the whole table."""
    validation: NDArray[np.int64]
    """Ascending positions in the whole table; none of them has a copy in ``train``, as ``duplicates`` says."""
    seed: int
    fraction: float
    """The requested share; the actual one is as close to it as whole groups of duplicates allow."""
    fingerprint: str
    """Of the table that the positions belong to."""
    fold: int = 0
    """Which of the 1 / ``fraction`` parts of Training was held out, from 0."""
    duplicates: Duplicates = "exact"
    """Which copies of an image are on one side."""

    def save(self, path: Path | str) -> None:
        """Write the split as JSON."""
        values = {
            "seed": self.seed,
            "fraction": self.fraction,
            "fold": self.fold,
            "duplicates": self.duplicates,
            "fingerprint": self.fingerprint,
            "train": self.train.tolist(),
            "validation": self.validation.tolist(),
        }
        with atomic_write(Path(path)) as part:
            part.write_text(json.dumps(values) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> Split:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: when the file is missing or no split.
        """

        def damaged(reason: str) -> DataError:
            return DataError(
                f"{path} is no saved split ({reason}). Give a folder with the split.json that its run wrote, or train "
                "the run again in another folder."
            )

        try:
            values = read_json(Path(path), damaged)
        except FileNotFoundError:
            raise damaged("it is missing") from None
        with decoding(path, damaged):
            train, validation = _positions(values["train"]), _positions(values["validation"])
            seed, fraction, fold, fingerprint = (
                values.get(key, 0) for key in ("seed", "fraction", "fold", "fingerprint")
            )
            duplicates = values.get("duplicates", "exact")
        if not (len(train) and type(seed) is type(fold) is int and isinstance(fingerprint, str)):
            raise damaged("train, seed, fold or fingerprint is not as a run writes it")
        if not (isinstance(fraction, (int, float)) and 0 <= fraction < 1):
            raise damaged("fraction must be at least 0 and below 1")
        if duplicates not in get_args(Duplicates):
            raise damaged('duplicates must be "exact" or "near"')
        return cls(train, validation, seed, float(fraction), fingerprint, fold, duplicates)

    def check(self, table: ImageTable) -> None:
        """Make sure that the positions belong to this table.

        Raises:
            DataError: when they were cut from another one.
        """
        if table.fingerprint != self.fingerprint:
            raise DataError(
                f"the saved split was not cut from {table.name or 'this data set'}: pixels, labels or splits differ. "
                "Give the set that the run was trained on, with the same labels, size and color."
            )
        if max(self.train.max(initial=-1), self.validation.max(initial=-1)) >= len(table):
            raise DataError(
                f"the saved split has positions beyond the {len(table):,} rows of {table.name or 'this data set'}. "
                "Its split.json is damaged: train the run again in another folder."
            )


def stratified_split(
    table: ImageTable, fraction: float = 0.2, seed: int = 0, fold: int = 0, duplicates: Duplicates = "exact"
) -> Split:
    """Cut a validation part from the table's "train" rows.

    Each class gives its share of rows; copies of an image stay on one side, whatever their labels. A table that has
    "validation" rows of its own keeps them, and "train" rows that are a copy of one of them are in neither part.

    Args:
        table: the whole set; only its "train" and "validation" rows are looked at.
        fraction: share of each class that is held out, 0 to below 1; 0 holds out nothing.
        seed: of the draw.
        fold: which of the 1 / ``fraction`` parts to hold out, from 0; those of one seed have no row in common, and
            where 1 / ``fraction`` is a whole number they are all of Training (k-fold cross-validation).
        duplicates: what counts as a copy: "exact", equal pixels; "near", also the same photo in another form, see
            :mod:`moue.data.near_copies`. N² correlations: 5 s for FER-2013.

    Raises:
        DataError: when the table has no "train" rows.
        UsageError: for a fraction or a fold outside of its range, or a fold of a table with "validation" rows.
    """
    if not 0 <= fraction < 1:
        raise UsageError(f"fraction must be at least 0 and below 1. Got {quoted(fraction)} instead.")
    # The reciprocal of the smallest numbers is infinite.
    folds = int(min(1 / fraction + 1e-6, 1e9)) if fraction else 1
    if not 0 <= fold < folds:
        raise UsageError(f"fold must be between 0 and {folds - 1} where {fraction:g} is held out. Got {fold} instead.")
    rows = np.flatnonzero(table.split == "train")
    if not len(rows):
        table.part("train")
    validation = np.flatnonzero(table.split == "validation")
    if len(validation):
        if fold:
            raise UsageError(f"{table.name or 'the set'} has a validation part of its own: fold must be 0. Got {fold}.")
        train = rows[without_copies(table.take(rows), table.take(validation), duplicates)]
        return Split(train, validation, seed, fraction, table.fingerprint, duplicates=duplicates)
    groups = copy_groups(table.take(rows), duplicates)
    rng = np.random.default_rng(seed)
    labels = table.labels[rows]
    counts = np.bincount(labels, minlength=len(table.label_set))
    order = rng.permutation(len(rows))
    _, first, size = np.unique(groups, return_index=True, return_counts=True)
    unique = np.zeros(len(rows), bool)
    unique[first[size == 1]] = True
    members: dict[int, list[int]] = {}
    for i in order[~unique[order]]:
        members.setdefault(int(groups[i]), []).append(int(i))
    free = np.ones(len(rows), bool)
    for part in range(fold + 1):
        # A remainder, as with 0.33, goes to the last part.
        last = part > 0 and part == folds - 1 and 1 - folds * fraction < fraction / 10
        due = counts if last else np.rint(counts * fraction * (part + 1)).astype(np.int64)
        # One row of each class stays in training at least.
        room = np.minimum(due - np.bincount(labels[~free], minlength=len(counts)), np.maximum(counts - 1, 0))
        chance = 1 if last else fraction / (1 - part * fraction)
        held_out = np.zeros(len(rows), bool)
        # Groups of copies are drawn first, while there is room for whole ones; unique rows then fill up exactly.
        for group in members.values():
            if free[group[0]]:
                size_by_class = np.bincount(labels[group], minlength=len(counts))
                if rng.random() < chance and (size_by_class <= room).all():
                    held_out[group] = True
                    room -= size_by_class
        for label, count in enumerate(room):
            candidates = order[(unique & free)[order] & (labels[order] == label)]
            held_out[candidates[:count]] = True
        free &= ~held_out
    return Split(rows[~held_out], rows[held_out], seed, fraction, table.fingerprint, fold, duplicates)


def copy_groups(table: ImageTable, duplicates: Duplicates = "exact") -> NDArray[np.int64]:
    """int64 ``(N,)``: a number for each group of copies.

    Args:
        table: N images.
        duplicates: what counts as a copy, as of :func:`stratified_split`.
    """
    return near_copy_groups(table) if duplicates == "near" else duplicate_groups(table)


def without_copies(part: ImageTable, reference: ImageTable, duplicates: Duplicates = "exact") -> NDArray[np.bool_]:
    """bool ``(len(part),)``: which rows have no copy in the reference.

    Args:
        part: the rows.
        reference: others.
        duplicates: what counts as a copy, as of :func:`stratified_split`.
    """
    return ~near_copies(part, reference) if duplicates == "near" else deduplicated(part, reference)


def stratified_sample(labels: NDArray[np.integer], n: int, seed: int = 0) -> NDArray[np.int64]:
    """Some rows, drawn at random, with each class in its share.

    Args:
        labels: int ``(N,)``.
        n: how many rows; N or more takes all.
        seed: of the draw.

    Returns:
        int64 positions in ``labels``, ascending, ``min(n, N)`` of them.

    Raises:
        UsageError: for a number below 1.
    """
    if n < 1:
        raise UsageError(f"a sample must have at least 1 row. Got {quoted(n)} instead.")
    # Every class next to each other, its rows in random order: equal steps then take from each class its share.
    order = np.lexsort((np.random.default_rng(seed).permutation(len(labels)), labels))
    n = min(n, len(labels))
    return np.sort(order[(2 * np.arange(n) + 1) * len(labels) // (2 * n)]) if n else order


def _positions(values: object) -> NDArray[np.int64]:
    """Rows as a saved split lists them."""
    if not isinstance(values, list) or not all(type(value) is int and value >= 0 for value in values):
        raise ValueError("rows must be whole numbers of at least 0")
    rows = np.array(values, np.int64)
    if len(np.unique(rows)) < len(rows):
        raise ValueError("no row may be listed twice")
    return rows
