"""What an ensemble gains over its best member, on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.evaluation.metrics import balanced_accuracy, standard_error
from moue.evaluation.significance import Pair, compare_pairs


@dataclass(frozen=True)
class Gain:
    """An ensemble beside its members."""

    members: tuple[str, ...]
    """Names of those that were given."""
    accuracies: tuple[float, ...]
    """Of each, 0 to 1."""
    balanced_accuracies: tuple[float, ...]
    """Of each: mean recall over the classes that have rows."""
    disagreement: tuple[tuple[float, ...], ...]
    """See :func:`disagreement`."""
    best: int
    """Position of the most accurate member. It is chosen on the same rows, which favors it."""
    pair: Pair
    """The test of the ensemble (a) against that member (b)."""
    accuracy: float
    """Of the ensemble."""
    balanced_accuracy: float
    """Of the ensemble."""
    fitted: bool = False
    """Whether the ensemble was fitted on these rows, which favors it."""

    @property
    def helps(self) -> bool:
        """Whether the ensemble is significantly more accurate than its best member."""
        return self.pair.significant and self.pair.difference > 0

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return {
            "n": self.pair.n,
            "accuracy": self.accuracy,
            "accuracy_se": standard_error(self.accuracy, self.pair.n),
            "balanced_accuracy": self.balanced_accuracy,
            "best": self.best,
            "best_member": self.members[self.best],
            "best_member_accuracy": self.accuracies[self.best],
            "best_member_accuracy_se": standard_error(self.accuracies[self.best], self.pair.n),
            "best_member_balanced_accuracy": self.balanced_accuracies[self.best],
            "difference": self.pair.difference,
            "low": self.pair.low,
            "high": self.pair.high,
            "p_mcnemar": self.pair.p_mcnemar,
            "only_ensemble": self.pair.only_a,
            "only_best_member": self.pair.only_b,
            "helps": self.helps,
            "members": list(self.members),
            "member_accuracies": list(self.accuracies),
            "member_balanced_accuracies": list(self.balanced_accuracies),
            "disagreement": [list(row) for row in self.disagreement],
            "fitted_on_these_rows": self.fitted,
        }


def gain(
    name: str,
    predicted: NDArray[np.integer],
    members: Sequence[tuple[str, NDArray[np.integer]]],
    truth: NDArray[np.int64],
    *,
    fitted: bool = False,
) -> Gain:
    """Test an ensemble against its most accurate member: McNemar's test, and a paired bootstrap for the interval.

    Args:
        name: the ensemble's.
        predicted: ``(N,)`` the class that it gives each row; N at least 1.
        members: name and predicted classes ``(N,)`` of each.
        truth: int64 ``(N,)``.
        fitted: whether the ensemble was fitted on these rows.
    """
    correct = [classes == truth for _, classes in members]
    accuracies = tuple(float(right.mean()) for right in correct)
    best = int(np.argmax(accuracies))
    ours = predicted == truth
    # Two models may have one name.
    other = members[best][0] if members[best][0] != name else f"{name} (member)"
    [pair] = compare_pairs({name: ours, other: correct[best]})
    matrix = disagreement([classes for _, classes in members])
    names = tuple(name for name, _ in members)
    return Gain(
        names,
        accuracies,
        tuple(balanced_accuracy(right, truth) for right in correct),
        tuple(map(tuple, matrix.tolist())),
        best,
        pair,
        float(ours.mean()),
        balanced_accuracy(ours, truth),
        fitted,
    )


def disagreement(predicted: Sequence[NDArray[np.integer]]) -> NDArray[np.float64]:
    """``(M, M)``: the share of rows on which two of M models differ; symmetric, 0 on the diagonal.

    Models that never differ gain nothing from being averaged (Kuncheva and Whitaker, "Measures of diversity in
    classifier ensembles", 2003).

    Args:
        predicted: the predicted class ``(N,)`` of each model, N at least 1.
    """
    classes = np.stack(predicted)
    return np.asarray((classes[:, None] != classes[None]).mean(axis=2))
