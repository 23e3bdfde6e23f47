"""The scores of one model on images that get worse: what ``moue evaluate --robustness`` finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CorruptedScore:
    """The scores on the images of one corruption and severity; severity 0 is the images as they are."""

    corruption: str | None
    """One of :data:`moue.evaluation.corruptions.CORRUPTIONS`; None for severity 0."""
    severity: int
    """0 to 5."""
    strength: float | None
    """In the corruption's own unit; None for severity 0."""
    accuracy: float
    balanced_accuracy: float
    """Mean recall over the classes that have rows."""
    ece: float
    """Expected calibration error."""
    uncertain: float
    """Share of the predictions that are uncertain."""
    selective_accuracy: float | None
    """Accuracy of the others; None where all are uncertain."""


#: The scores of each condition.
SCORES = tuple(field.name for field in fields(CorruptedScore))[3:]


@dataclass(frozen=True)
class Robustness:
    """A model's scores under every corruption and severity."""

    n: int
    """Images in each."""
    clean: CorruptedScore
    corrupted: tuple[CorruptedScore, ...]
    """By corruption, then severity."""

    @property
    def mean_corruption_error(self) -> float:
        """Mean share of wrong predictions over all corruptions and severities; 0 to 1, not divided by another model's
        as in Hendrycks and Dietterich (2019).
        """
        return float(np.mean([1 - score.accuracy for score in self.corrupted]))

    @property
    def uncertainty_correlation(self) -> float | None:
        """Spearman's rank correlation of the share of wrong predictions with that of uncertain ones, over all images'
        conditions: 1 where the model is uncertain as often as it is wrong. None where either is constant.
        """
        scores = (self.clean, *self.corrupted)
        wrong = _ranks(np.array([1 - score.accuracy for score in scores]))
        uncertain = _ranks(np.array([score.uncertain for score in scores]))
        if wrong.std() == 0 or uncertain.std() == 0:
            return None
        return float(np.corrcoef(wrong, uncertain)[0, 1])

    def by_severity(self) -> tuple[list[int], list[float], list[float | None]]:
        """Severities from 0, which is the images as they are; the accuracy of each, averaged over the corruptions; and
        that of the predictions that are not uncertain, None where all are.
        """
        severities = sorted({score.severity for score in self.corrupted})
        groups = [[self.clean], *([s for s in self.corrupted if s.severity == n] for n in severities)]
        selective = [[s.selective_accuracy for s in g if s.selective_accuracy is not None] for g in groups]
        accuracies = [float(np.mean([s.accuracy for s in group])) for group in groups]
        return [0, *severities], accuracies, [float(np.mean(values)) if values else None for values in selective]

    def by_corruption(self) -> dict[str, float]:
        """The accuracy under each corruption, averaged over its severities."""
        names = dict.fromkeys(str(score.corruption) for score in self.corrupted)
        return {n: float(np.mean([s.accuracy for s in self.corrupted if s.corruption == n])) for n in names}

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return {
            "n": self.n,
            "mean_corruption_error": self.mean_corruption_error,
            "uncertainty_correlation": self.uncertainty_correlation,
            "clean": asdict(self.clean),
            "corrupted": [asdict(score) for score in self.corrupted],
        }

    def to_record(self) -> dict[str, Any]:
        """What a model's spec and ``results/`` keep: fractions to four digits, one list over the severities a score.

        ``{"n", "mean_corruption_error", "uncertainty_correlation", "clean": {score: value}, "corrupted": {corruption:
        {"strength" or score: [values]}}}``.
        """

        def rounded(value: float | None) -> float | None:
            return None if value is None else round(value, 4)

        corrupted: dict[str, dict[str, list[float | None]]] = {}
        for score in self.corrupted:
            columns = corrupted.setdefault(str(score.corruption), {name: [] for name in ("strength", *SCORES)})
            for name, values in columns.items():
                values.append(rounded(getattr(score, name)))
        return {
            "n": self.n,
            "mean_corruption_error": rounded(self.mean_corruption_error),
            "uncertainty_correlation": rounded(self.uncertainty_correlation),
            "clean": {name: rounded(getattr(self.clean, name)) for name in SCORES},
            "corrupted": corrupted,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Robustness:
        """The inverse of :meth:`to_record`, to its four digits.

        Raises:
            KeyError, TypeError, ValueError: for what is no such record.
        """
        corrupted = [
            CorruptedScore(name, severity, **{key: values[severity - 1] for key, values in columns.items()})
            for name, columns in record["corrupted"].items()
            for severity in range(1, len(columns["accuracy"]) + 1)
        ]
        return cls(record["n"], CorruptedScore(None, 0, None, **record["clean"]), tuple(corrupted))


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks from 0; equal values share their mean rank."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: NDArray[np.float64] = (ends - (counts + 1) / 2)[where]
    return ranks
