"""One model of a comparison: its scores, a publication's claims about it, or why it could not be evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from moue.errors import UsageError
from moue.evaluation.ensemble_result import EnsembleResult
from moue.evaluation.metrics import Evaluation
from moue.runtime.results import Predictions


@dataclass(frozen=True)
class PublishedClaims:
    """What a publication reports of its model: never measured here, never tested against.

    Raises:
        UsageError: when the accuracy is no fraction of 1.
    """

    accuracy: float
    """Fraction of 1."""
    hardest: Sequence[str] = ()
    """The classes with the lowest recall, the lowest first."""
    easiest: Sequence[str] = ()
    """The classes with the highest recall, the highest first."""
    recalls: Mapping[str, float] = field(default_factory=dict)
    """Recall by class, fraction of 1, where a number is given."""
    network: str = ""
    """What was trained there, in words; "" where it is not known, as of the next two."""
    split: str = ""
    """The rows of the accuracy."""
    selection: str = ""
    """How the epoch or the model was chosen."""
    overfits: bool | None = None
    """Whether the publication reads overfitting from its curves; None where it does not say."""

    def __post_init__(self) -> None:
        if not 0 <= self.accuracy <= 1:
            raise UsageError(f"a published accuracy must be a fraction from 0 to 1. Got {self.accuracy!r} instead.")


@dataclass(frozen=True)
class ModelResult:
    """What a comparison knows of one model: exactly one of ``evaluation``, ``published`` and ``reason`` is set.

    Raises:
        UsageError: when none or several of them are.
    """

    name: str
    """Unique among the models of a comparison."""
    network: str
    evaluation: Evaluation | None = None
    """The scores of a model that was evaluated here."""
    published: PublishedClaims | None = None
    """The claims of a publication about its own model."""
    reason: str | None = None
    """Why the model was not run, as it reads after "not run: " ("needs google/vit-base-patch16-224")."""
    predictions: Predictions | None = None
    """Of the evaluated rows; needed with ``truth`` for significance tests and the reliability diagram."""
    truth: NDArray[np.int64] | None = None
    """int64 ``(N,)``: positions in ``predictions.labels``."""
    history: Sequence[Mapping[str, Any]] = ()
    """One mapping an epoch: epoch (from 1), train_loss, train_accuracy, validation_loss, validation_accuracy, and
    what else a run logs; a value may be missing or None."""
    hours: float | None = None
    """Wall time of the training."""
    core_hours: float | None = None
    """Training time times processor cores; None where another device did the work, or where it is unknown."""
    epochs: float | None = None
    parameters: int | None = None
    gflop: float | None = None
    """Billions of floating-point operations for one view of an image, forward."""
    latency_ms: float | None = None
    """Milliseconds for one image, with all the views that the evaluation averages."""
    engine: str | None = None
    """What the latency was measured in: "onnxruntime" or "openvino". Latencies compare within one engine alone."""
    threads: int | None = None
    """On how many threads the latency was measured."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """How it was made: seed, machine, settings."""
    ensemble: EnsembleResult | None = None
    """Its members, where it is an ensemble."""
    seeds: Sequence[ModelResult] = ()
    """A recipe that was trained several times: the result of each of its runs, this one among them."""

    def __post_init__(self) -> None:
        if [self.evaluation, self.published, self.reason or None].count(None) != 2:
            raise UsageError(f"the result of {self.name!r} needs one of evaluation, published claims, or a reason.")

    @property
    def status(self) -> Literal["ok", "quoted", "not run"]:
        """ "ok" for a model that was evaluated here, "quoted" for a published one."""
        return "ok" if self.evaluation is not None else "quoted" if self.published is not None else "not run"

    @property
    def accuracy(self) -> float | None:
        """Fraction of 1, measured or published; None for a model that was not run."""
        scores = self.evaluation or self.published
        return scores.accuracy if scores is not None else None

    @property
    def correct(self) -> NDArray[np.bool_] | None:
        """bool ``(N,)``: which images it gets right; None where predictions or truth are missing."""
        if self.predictions is None or self.truth is None:
            return None
        return np.asarray(self.predictions.class_ids == self.truth)

    def to_row(self) -> dict[str, Any]:
        """Plain numbers for a table: fractions of 1, hours, milliseconds; None where there is none."""
        e = self.evaluation
        d = e.deduplicated if e is not None else None
        return {
            "model": self.name,
            "network": self.network,
            "status": self.status,
            "reason": self.reason,
            "split": e and e.split,
            "n": e and e.n,
            "accuracy": self.accuracy,
            "accuracy_se": e and e.accuracy_se,
            "majority_baseline": e and e.majority_baseline,
            "deduplicated_n": d and d.n,
            "deduplicated_accuracy": d and d.accuracy,
            "deduplicated_accuracy_se": d and d.accuracy_se,
            **{key: e and getattr(e, key) for key in ("balanced_accuracy", "macro_f1", "top2", "nll", "ece")},
            "accuracy_at_80": e and e.accuracy_at_80,
            "training_hours": self.hours,
            **{key: getattr(self, key) for key in ("core_hours", "epochs", "parameters", "gflop", "latency_ms")},
            "engine": self.engine,
            "threads": self.threads,
        }


def recalls_by_model(results: Sequence[ModelResult]) -> dict[str, dict[str, float | None]]:
    """The recall of each class, by model: of those that were evaluated, and of the published ones that report any.

    Returns:
        Model to class to a fraction of 1, None where there is no number; empty where the models know different classes.
    """
    recalls: dict[str, dict[str, float | None]] = {
        result.name: {name: c.recall for name, c in result.evaluation.per_class.items()}
        for result in results
        if result.evaluation is not None
    }
    classes = list(next(iter(recalls.values()), {}))
    if not classes or any(list(own) != classes for own in recalls.values()):
        return {}
    for result in results:
        if result.published is not None and result.published.recalls:
            recalls[result.name] = {name: result.published.recalls.get(name) for name in classes}
    return recalls
