"""Scores of predictions against the truth: pure functions of numpy arrays, and :class:`Evaluation` that holds them all.

Every score is a fraction of 1 and nothing is ever NaN: a class without rows has ``None`` for its recall and is left out
of the balanced accuracy and of the macro F1; a class that is never predicted has ``None`` for its precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.errors import DataError, UsageError
from moue.evaluation.calibration import COVERAGE
from moue.evaluation.intervals import Z95, wilson
from moue.evaluation.robustness import Robustness
from moue.evaluation.significance import ALPHA, mcnemar
from moue.runtime.results import Predictions

#: Bins of the calibration error, as in Guo et al., "On calibration of modern neural networks" (2017).
BINS = 15


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 of one class."""

    n: int
    """Rows whose truth is this class."""
    precision: float | None
    """Share of the rows predicted as this class that are of it; None where it is never predicted."""
    recall: float | None
    """Share of its rows that are predicted as it; None where it has no rows."""
    f1: float | None
    """2 TP / (2 TP + FP + FN); None where the class neither occurs nor is predicted."""

    @property
    def recall_interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of the recall; None where it has no rows."""
        return None if self.recall is None else wilson(self.recall, self.n, Z95)


@dataclass(frozen=True)
class Scores:
    """All scores of one set of rows."""

    n: int
    accuracy: float
    accuracy_se: float
    """Standard error of the accuracy, sqrt(a (1 - a) / n)."""
    majority_baseline: float
    """The accuracy of always predicting the class that is most frequent in these rows."""
    balanced_accuracy: float
    """Mean recall over the classes that have rows."""
    macro_f1: float
    """Mean F1 over the classes that have rows."""
    top2: float
    """Share of rows whose truth is among the two most probable classes."""
    nll: float
    """Mean negative log-likelihood of the truth, in nats."""
    ece: float
    """Expected calibration error over :data:`BINS` equal bins of the top probability."""
    accuracy_at_80: float
    """Accuracy on the 80 % most confident predictions."""
    per_class: dict[str, ClassScore]
    """By class name, in label order."""
    confusion: NDArray[np.int64]
    """int64 ``(K, K)``: rows are the truth, columns the prediction."""

    @property
    def majority_class(self) -> str:
        """The class that is most frequent in these rows."""
        return max(self.per_class, key=lambda name: self.per_class[name].n)

    @property
    def above_majority(self) -> bool:
        """Whether the accuracy is significantly above the majority baseline, by McNemar's test on the same rows."""
        majority = int(self.confusion.sum(1).argmax())
        only_baseline = int(self.confusion[majority].sum() - self.confusion[majority, majority])
        only_model = int(self.confusion.trace() - self.confusion[majority, majority])
        return only_model > only_baseline and mcnemar(only_model, only_baseline) < ALPHA

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson(self.accuracy, self.n, Z95)

    @property
    def in_use(self) -> dict[str, ClassScore]:
        """The classes that some rows have or are predicted as, in label order."""
        return {name: score for name, score in self.per_class.items() if score.f1 is not None}

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(Scores)}
        values["per_class"] = {name: asdict(score) for name, score in self.per_class.items()}
        values["confusion"] = self.confusion.tolist()
        return values


@dataclass(frozen=True)
class Evaluation(Scores):
    """The scores of one model on one split: what ``moue evaluate --format json`` prints."""

    model: str
    network: str
    data: str
    """The data set's name."""
    split: str
    label_set: str
    """Whose labels the truth is: "fer2013", "ferplus", or "folders" for classes of one's own."""
    labels: tuple[str, ...]
    deduplicated: Scores | None
    """The same on the rows without an exact duplicate in Training; None where there is no Training to compare with,
    or no such row."""
    views: int
    """How many views of each face were averaged, one of :data:`moue.spec.VIEWS`."""
    seconds: float
    """Wall time of the predictions."""
    robustness: Robustness | None = None
    """Scores on corrupted images; None where they were not asked for."""
    without_near_copies: Scores | None = None
    """Scores on the rows without a near copy in Training (:mod:`moue.data.near_copies`); None where they were not asked
    for, where there is no Training to compare with, or no such row."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types in the order that ``moue evaluate`` documents; ``robustness`` and ``without_near_copies`` where
        they were asked for.
        """
        scores = super().to_dict()
        confusion = scores.pop("confusion")
        return {
            "model": self.model,
            "network": self.network,
            "data": self.data,
            "split": self.split,
            "label_set": self.label_set,
            **scores,
            "labels": list(self.labels),
            "confusion": confusion,
            "deduplicated": None if self.deduplicated is None else self.deduplicated.to_dict(),
            "views": self.views,
            "seconds": round(self.seconds, 3),
            **({} if self.robustness is None else {"robustness": self.robustness.to_dict()}),
            **({} if self.without_near_copies is None else {"without_near_copies": self.without_near_copies.to_dict()}),
        }


def evaluate(
    predictions: Predictions,
    truth: NDArray[np.int64],
    *,
    model: str = "",
    network: str = "",
    data: str = "",
    split: str = "",
    label_set: str = "",
    deduplicated: NDArray[np.bool_] | None = None,
    views: int = 1,
    seconds: float = 0.0,
) -> Evaluation:
    """All scores of predictions, and once more those of their deduplicated rows.

    Args:
        predictions: of N rows.
        truth: int64 ``(N,)``: positions in ``predictions.labels``.
        model: the model's name.
        network: its architecture's name.
        data: the data set's name.
        split: which rows these are.
        label_set: whose labels the truth is.
        deduplicated: bool ``(N,)``: rows without an exact duplicate in Training; None where there is nothing to
            compare with.
        views: how many views of a face were averaged.
        seconds: how long the predictions took.

    Raises:
        DataError: when there are no rows.
        UsageError: when predictions and truth disagree in length, or the truth lies outside of the labels.
    """
    deduplicated_scores = None
    if deduplicated is not None and deduplicated.any():
        if len(deduplicated) != len(truth):
            raise UsageError(f"deduplicated must have {len(truth)} rows. Got {len(deduplicated)} instead.")
        kept = Predictions(predictions.probabilities[deduplicated], predictions.labels, predictions.uncertain_below)
        deduplicated_scores = scores(kept, truth[deduplicated])
    whole = scores(predictions, truth)
    return Evaluation(
        **{f.name: getattr(whole, f.name) for f in fields(Scores)},
        model=model,
        network=network,
        data=data,
        split=split,
        label_set=label_set,
        labels=predictions.labels,
        deduplicated=deduplicated_scores,
        views=views,
        seconds=seconds,
    )


def scores(predictions: Predictions, truth: NDArray[np.int64]) -> Scores:
    """All scores of one set of rows; arguments and errors as in :func:`evaluate`."""
    n, k = len(predictions), len(predictions.labels)
    if len(truth) != n:
        raise UsageError(f"truth must have a row for each of the {n} predictions. Got {len(truth)} instead.")
    if not n:
        raise DataError("there are no rows to evaluate.")
    if truth.min() < 0 or truth.max() >= k:
        raise UsageError(f"truth must be between 0 and {k - 1}. Got {truth.min()} to {truth.max()} instead.")
    table = confusion_matrix(truth, predictions.class_ids, k)
    classes = per_class(table, predictions.labels)
    present = [c for c in classes.values() if c.n]
    accuracy = float(np.trace(table)) / n
    return Scores(
        n=n,
        accuracy=accuracy,
        accuracy_se=standard_error(accuracy, n),
        majority_baseline=float(table.sum(1).max()) / n,
        balanced_accuracy=sum(c.recall or 0.0 for c in present) / len(present),
        macro_f1=sum(c.f1 or 0.0 for c in present) / len(present),
        top2=top_k(predictions.probabilities, truth, 2),
        nll=negative_log_likelihood(predictions.probabilities, truth),
        ece=calibration_error(predictions.confidence, predictions.class_ids == truth),
        accuracy_at_80=accuracy_at(predictions.confidence, predictions.class_ids == truth),
        per_class=classes,
        confusion=table,
    )


def standard_error(accuracy: float, n: int) -> float:
    """Standard error of an accuracy (0 to 1) measured on ``n`` independent rows."""
    return math.sqrt(accuracy * (1 - accuracy) / n)


def balanced_accuracy(correct: NDArray[np.bool_], truth: NDArray[np.int64]) -> float:
    """Mean recall over the classes that have rows, 0 to 1.

    Args:
        correct: bool ``(N,)``: whether each row was predicted right; N at least 1.
        truth: int64 ``(N,)``.
    """
    return float(np.mean([correct[truth == k].mean() for k in np.unique(truth)]))


def confusion_matrix(truth: NDArray[np.int64], predicted: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """int64 ``(k, k)`` counts: rows are the truth, columns the prediction."""
    return np.bincount(truth * k + predicted, minlength=k * k).reshape(k, k).astype(np.int64)


def row_shares(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """A confusion matrix ``(K, K)`` as shares of each true class; 0 for a class without rows."""
    shares: NDArray[np.float64] = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    return shares


def per_class(confusion: NDArray[np.int64], labels: Sequence[str]) -> dict[str, ClassScore]:
    """Precision, recall and F1 of each class, by name, out of a confusion matrix ``(K, K)``."""
    rows, columns, right = confusion.sum(1), confusion.sum(0), confusion.diagonal()
    return {
        name: ClassScore(
            n=int(rows[i]),
            precision=_ratio(right[i], columns[i]),
            recall=_ratio(right[i], rows[i]),
            f1=_ratio(2 * right[i], rows[i] + columns[i]),
        )
        for i, name in enumerate(labels)
    }


def top_k(probabilities: NDArray[np.floating], truth: NDArray[np.int64], k: int) -> float:
    """Share of rows whose truth is among the ``k`` most probable classes; of equals the first counts as higher."""
    own = probabilities[np.arange(len(truth)), truth][:, None]
    earlier = np.arange(probabilities.shape[1])[None] < truth[:, None]
    rank = (probabilities > own).sum(1) + ((probabilities == own) & earlier).sum(1)
    return float((rank < k).mean())


def negative_log_likelihood(probabilities: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """Mean of -ln p(truth); what single precision rounded to 0 counts as its smallest number (87.3 nats)."""
    own = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean())


def reliability(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = BINS
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The accuracy of predictions of similar confidence, in bins.

    Args:
        confidence: ``(N,)`` top probabilities.
        correct: ``(N,)`` whether each prediction is right.
        bins: number of equal bins ``((i-1)/bins, i/bins]``.

    Returns:
        ``(bins,)`` each: number of rows, their mean confidence, their accuracy (both 0 where a bin has no rows).
    """
    where = np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(where, minlength=bins)
    rows = np.maximum(counts, 1)
    confidences = np.bincount(where, weights=confidence, minlength=bins) / rows
    accuracies = np.bincount(where, weights=correct, minlength=bins) / rows
    return counts.astype(np.int64), confidences, accuracies


def calibration_error(confidence: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error: the bins' distance between confidence and accuracy, weighted by their rows."""
    counts, confidences, accuracies = reliability(confidence, correct, bins)
    return float((counts * np.abs(confidences - accuracies)).sum() / counts.sum())


def risk_coverage(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The error rate when the least confident predictions are rejected (El-Yaniv and Wiener, "On the foundations of
    noise-free selective classification", 2010).

    Args:
        confidence: ``(N,)`` top probabilities.
        correct: ``(N,)`` whether each prediction is right.

    Returns:
        ``(N,)`` each, with the i + 1 most confident predictions kept: coverage (the share kept) and risk (the share of
        those that is wrong). Predictions of equal confidence count as their mean: their order changes nothing.
    """
    levels, where = np.unique(-confidence.astype(np.float64), return_inverse=True)
    rows = np.bincount(where, minlength=len(levels))
    wrong = np.bincount(where, weights=~correct, minlength=len(levels)) / np.maximum(rows, 1)
    kept = np.arange(1, len(confidence) + 1)
    return kept / max(len(confidence), 1), np.cumsum(np.repeat(wrong, rows)) / kept


def accuracy_at(confidence: NDArray[np.floating], correct: NDArray[np.bool_], coverage: float = COVERAGE) -> float:
    """Accuracy on the share ``coverage`` (above 0, to 1) of the predictions that is most confident, rounded up to whole
    rows; arguments as in :func:`risk_coverage`.
    """
    risk = risk_coverage(confidence, correct)[1]
    return float(1 - risk[index_at(len(risk), coverage)])


def coverage_at(confidence: NDArray[np.floating], threshold: float) -> float:
    """The share of predictions whose top probability reaches a threshold: those that are not uncertain."""
    return float((confidence >= threshold).mean())


def index_at(n: int, coverage: float) -> int:
    """The index into :func:`risk_coverage`'s arrays of ``n`` rows at a coverage, rounded up to whole rows."""
    return max(1, math.ceil(coverage * n - 1e-9)) - 1


def _ratio(part: int, whole: int) -> float | None:
    return float(part) / float(whole) if whole else None
