"""How far FER-2013's labels agree with what FER+'s ten annotators saw, and what that means for a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.data.table import ImageTable
from moue.labels import FER2013, FERPLUS


@dataclass(frozen=True)
class LabelAgreement:
    """The labels of N images beside their annotators' majorities."""

    labels: tuple[str, ...]
    n: int
    majority: int
    """Images of which more than half of the votes are for one expression."""
    agreeing: int
    """Of them, those whose label is that expression."""
    by_class: dict[str, float | None]
    """Of the images with a majority, the share whose label is it, by their label; None for a class without any."""
    table: NDArray[np.int64]
    """``(K, 9)``: labels by FER+'s eight majorities, and none."""
    agrees: NDArray[np.bool_]
    """``(N,)``: whether an image's label is the majority."""

    @property
    def share(self) -> float:
        """Of the images with a majority, those whose label is it: 0 to 1."""
        return self.agreeing / max(self.majority, 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return {
            "n": self.n,
            "majority": self.majority,
            "agreeing": self.agreeing,
            "share": self.share,
            "by_class": self.by_class,
            "columns": [*FERPLUS.labels, "none"],
            "table": self.table.tolist(),
        }


def label_agreement(part: ImageTable) -> LabelAgreement | None:
    """Compare the labels of some rows with their votes.

    Args:
        part: rows with the labels of FER-2013 and FER+'s votes beside them.

    Returns:
        None where there are no votes beside labels of FER-2013.
    """
    if part.votes is None or part.label_set != FER2013:
        return None
    best = part.votes.argmax(1)
    majority = np.where(part.votes.max(1) > 0.5, best, len(FERPLUS))
    same = np.array([FERPLUS.index(name) for name in FER2013.labels])
    agrees = same[part.labels] == majority
    table = np.zeros((len(FER2013), len(FERPLUS) + 1), np.int64)
    np.add.at(table, (part.labels, majority), 1)
    known = majority < len(FERPLUS)
    by_class = {
        name: float(agrees[own].mean()) if (own := known & (part.labels == k)).any() else None
        for k, name in enumerate(FER2013.labels)
    }
    return LabelAgreement(FER2013.labels, len(part), int(known.sum()), int(agrees.sum()), by_class, table, agrees)


def accuracy_by_agreement(correct: NDArray[np.bool_], agreement: LabelAgreement) -> tuple[float | None, float | None]:
    """The accuracy on the images whose label is the majority, and on the others; None without such images."""
    own, others = correct[agreement.agrees], correct[~agreement.agrees]
    return (float(own.mean()) if len(own) else None), (float(others.mean()) if len(others) else None)
