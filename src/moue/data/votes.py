"""FER+ votes: ten annotators a face, one row for each row of the full ``fer2013.csv``, in its order.

Barsoum et al., "Training deep networks for facial expression recognition with crowd-sourced label distribution", 2016.
The majority as its authors take it: single votes are dropped as outliers, the class with more than half of what is left
wins, and rows won by "unknown" or "not a face", or by no class, are left out.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moue.damage import decoding, reason
from moue.data.table import SPLIT_NAMES, ImageTable, LeftOut
from moue.errors import DataError
from moue.labels import FER2013, FERPLUS

#: The vote columns by FER+'s names, in the order of :data:`moue.labels.FERPLUS`, and two that are no expression.
COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "nf")

#: How many consecutive rows are compared together, and the least share of them whose label must have most votes. Of
#: FER-2013's own rows it is 0.51 or more; where the votes are those of another row, 0.27 or less.
WINDOW, MIN_AGREEMENT = 200, 0.4


@dataclass(frozen=True)
class Votes:
    """The votes file."""

    counts: NDArray[np.int64]
    """``(M, 10)``: eight expressions, unknown, not a face."""
    split: NDArray[np.str_]
    """``(M,)``."""


def read_votes(path: Path) -> Votes:
    """Read ``fer2013new.csv``.

    Raises:
        DataError: when it is missing, empty, or no votes file; names the row.
    """
    try:
        with (
            decoding(path, lambda reason: DataError(f"{path} is not FER+'s votes file ({reason}). Download it again.")),
            open(path, encoding="utf-8-sig", newline="") as file,
        ):
            rows = list(csv.reader(file))
    except FileNotFoundError:
        raise DataError(f"the votes file {path} does not exist. Get fer2013new.csv from the FER+ repository.") from None
    columns = {name.strip().lower(): i for i, name in enumerate(rows[0])} if rows else {}
    missing = [name for name in ("usage", *COLUMNS) if name not in columns]
    if missing or len(rows) < 2:
        what = f"needs the columns {', '.join(missing)}" if missing else "has no rows"
        raise DataError(f"{path} is not FER+'s votes file: it {what}.")
    counts = np.zeros((len(rows) - 1, len(COLUMNS)), np.int64)
    splits = []
    for number, row in enumerate(rows[1:], start=1):
        try:
            counts[number - 1] = [int(row[columns[name]]) for name in COLUMNS]
            splits.append(SPLIT_NAMES[row[columns["usage"]].strip().lower()])
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            raise DataError(
                f"{path}, row {number}: must hold a Usage and ten whole numbers ({reason(error)})."
            ) from error
    if counts.min() < 0:
        raise DataError(f"{path}, row {int((counts < 0).any(axis=1).argmax()) + 1}: votes must not be negative.")
    return Votes(counts, np.array(splits))


def majority(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class of each row of votes ``(M, 10)``: 0 to 7 in FER+'s order, -1 where no expression has a majority."""
    kept = np.where(counts > 1, counts, 0)
    winner = kept.argmax(axis=1)
    has_majority = 2 * kept.max(axis=1) > kept.sum(axis=1)
    return np.where(has_majority & (winner < len(FERPLUS)), winner, -1).astype(np.int64)


def first_misaligned(counts: NDArray[np.int64], labels: NDArray[np.int64]) -> tuple[int, float] | None:
    """Where votes and labels cannot be those of the same images, as after a row too few or too many.

    Args:
        counts: votes ``(N, 10)``.
        labels: int64 ``(N,)`` in FER-2013's numbering.

    Returns:
        The first of :data:`WINDOW` positions of which too few agree, and the share that does; None where all is well,
        or there are too few rows to tell.
    """
    ferplus = np.array([FERPLUS.index(name) for name in FER2013.labels])
    sums = np.cumsum(np.r_[0, ferplus[labels] == counts[:, : len(FERPLUS)].argmax(axis=1)])
    shares = (sums[WINDOW:] - sums[:-WINDOW]) / WINDOW
    found = np.flatnonzero(shares < MIN_AGREEMENT)
    return (int(found[0]), float(shares[found[0]])) if len(found) else None


def vote_shares(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Votes ``(M, 10)`` to float32 ``(M, 8)``: shares of the eight expressions, single votes dropped; or zeros."""
    kept = np.where(counts > 1, counts, 0)[:, : len(FERPLUS)].astype(np.float64)
    total = kept.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(kept, total, out=np.zeros_like(kept), where=total > 0)
    return shares.astype(np.float32)


def votes_of(table: ImageTable, numbers: NDArray[np.int64], vote_file: Path, path: Path) -> NDArray[np.int64]:
    """The votes of a competition table's rows.

    Args:
        table: as read from the CSV.
        numbers: int64 ``(N,)``: the number of each of its rows in the CSV, from 1.
        vote_file: FER+'s votes.
        path: of the CSV, for messages.

    Returns:
        int64 ``(N, 10)``.

    Raises:
        DataError: when the two files' rows are not those of the same images.
    """
    votes = read_votes(vote_file)
    if numbers.max() > len(votes.counts):
        raise DataError(
            f"{vote_file} has {len(votes.counts):,} rows, {path} has row {numbers.max():,}: they do not match."
        )
    index = numbers - 1
    differs = votes.split[index] != table.split
    if differs.any():
        row = int(numbers[differs.argmax()])
        raise DataError(
            f"{path}, row {row}: Usage differs from row {row} of {vote_file}. Votes are joined by row, so the CSV "
            "must keep the original order of fer2013.csv."
        )
    counts = votes.counts[index]
    # Within one Usage a removed row moves all that follow it, which only the labels can show.
    if (misaligned := first_misaligned(counts, table.labels)) is not None:
        first, share = misaligned
        raise DataError(
            f"{path}, from row {numbers[first]} on: the labels of {WINDOW} rows agree with {vote_file} for "
            f"{share:.0%}, where FER-2013's do for 63 %. Votes are joined by row, so the CSV must keep the original "
            "order of fer2013.csv, with no row left out."
        )
    return counts


def majority_table(table: ImageTable, counts: NDArray[np.int64], path: Path) -> ImageTable:
    """The table with FER+'s labels and soft targets; rows without a majority are left out and listed.

    Raises:
        DataError: when no row has one.
    """
    winner = majority(counts)
    kept = winner >= 0
    if not kept.any():
        raise DataError(f"no row of {path} has a majority among FER+'s votes.")
    reason = "FER+'s votes have no majority for an expression"
    left_out = [LeftOut(f"{path}, {table.source[i]}", reason, by_rule=True) for i in np.flatnonzero(~kept).tolist()]
    return replace(
        table.take(kept),
        labels=winner[kept],
        targets=vote_shares(counts[kept]),
        label_set=FERPLUS,
        left_out=(*table.left_out, *left_out),
    )
