"""One line of the comparison: a model that ran, one that could not, or a number quoted from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from moue.errors import UsageError
from moue.evaluation.metrics import Evaluation
from moue.runtime.results import Predictions


@dataclass(frozen=True)
class PublishedClaims:
    """What a publication says of its model beside the accuracy; the verdict checks each against the models here."""

    hardest: Sequence[str]
    """The classes that it gets wrong most often, the worst first."""
    easiest: Sequence[str]
    """Those that it gets right most often."""
    recalls: Mapping[str, float] = field(default_factory=dict)
    """Share of a class's images that it gets right, fraction of 1, where a number is given."""
    over_fits: bool | None = None
    """Whether the publication reads over-fitting from its curves; None where it does not say."""


@dataclass(frozen=True)
class Row:
    """What the comparison knows of one model.

    Raises:
        UsageError: when a row that ran has no evaluation, or one that did not has no reason.
    """

    name: str
    """How the page calls it; no two rows may share one."""
    network: str
    status: Literal["ok", "not run"] = "ok"
    reason: str | None = None
    """Why it did not run, as it reads after "not run: " ("needs google/vit-base-patch16-224")."""
    evaluation: Evaluation | None = None
    predictions: Predictions | None = None
    """Of the evaluated rows; with ``truth``, what tests the differences and draws the reliability diagram."""
    truth: NDArray[np.int64] | None = None
    """int64 ``(N,)``: positions in ``predictions.labels``."""
    history: Sequence[dict[str, Any]] | None = None
    """One dictionary an epoch: epoch (from 1), train_loss, train_accuracy, validation_loss, validation_accuracy, and
    what else a run notes; a value may be missing or None."""
    hours: float | None = None
    """Wall time of the training."""
    core_hours: float | None = None
    """Training time times processor cores: what it cost, wherever it ran; None where another device did the work, or
    nobody knows."""
    epochs: float | None = None
    parameters: int | None = None
    gflop: float | None = None
    """Billions of floating-point operations for one view of an image, forward."""
    latency_ms: float | None = None
    """Milliseconds for one image, with all the views that the evaluation is of."""
    engine: str | None = None
    """What they were measured in: "torch", "onnxruntime" or "openvino"; only equal ones compare networks alone."""
    quoted: bool = False
    """A number from a publication: never measured here, never tested against."""
    quoted_accuracy: float | None = None
    """Fraction of 1; for quoted rows."""
    remarks: PublishedClaims | None = None
    """For quoted rows."""
    details: dict[str, Any] = field(default_factory=dict)
    """How it was made, for the page's end: command, recipe, seed, run folder, device."""

    def __post_init__(self) -> None:
        if self.quoted:
            if self.quoted_accuracy is None:
                raise UsageError(f"the quoted row {self.name!r} needs its quoted_accuracy.")
        elif self.status == "ok" and self.evaluation is None:
            raise UsageError(f"the row {self.name!r} needs its evaluation, or status='not run' and a reason.")
        elif self.status == "not run" and not self.reason:
            raise UsageError(f"the row {self.name!r} was not run and needs the reason why.")

    @property
    def ran(self) -> bool:
        """Whether it was trained or opened, and evaluated, here."""
        return self.status == "ok" and not self.quoted

    @property
    def accuracy(self) -> float | None:
        """Fraction of 1, measured or quoted; None for a row that was not run."""
        return self.evaluation.accuracy if self.evaluation is not None else self.quoted_accuracy

    @property
    def latency(self) -> str | None:
        """The time for one image in words, with its engine; None where it was not measured."""
        if not self.latency_ms:
            return None
        return f"{self.latency_ms:.3g} ms" + (f" ({self.engine})" if self.engine else "")

    @property
    def correct(self) -> NDArray[np.bool_] | None:
        """bool ``(N,)``: which images it gets right; None where predictions or truth are missing."""
        if self.predictions is None or self.truth is None:
            return None
        return np.asarray(self.predictions.class_ids == self.truth)


#: What the study that the recipes of ``study/`` follow reports for FER-2013 (Dang Kieu Trinh, Vu Duc Hung and Luyen
#: Minh Khanh, "Facial Expression Recognition (FER) with deep learning approaches", project report, 2023); for
#: orientation beside one's own rows.
STUDY = (
    Row(
        "GoogLeNet (the study)",
        "googlenet",
        quoted=True,
        quoted_accuracy=0.55,
        hours=2.0,
        epochs=60,
        remarks=PublishedClaims(("fear", "sad"), ("happy", "neutral", "surprise"), over_fits=False),
    ),
    Row(
        "ResNet50V2 (the study)",
        "resnet50v2",
        quoted=True,
        quoted_accuracy=0.68,
        hours=3.5,
        epochs=25,
        remarks=PublishedClaims(
            ("fear", "disgust"),
            ("happy", "surprise"),
            {"happy": 0.8812, "surprise": 0.7833, "disgust": 0.5495, "fear": 0.4677},
        ),
    ),
    Row(
        "ViT (the study)",
        "vit",
        quoted=True,
        quoted_accuracy=0.69,
        hours=25.0,
        epochs=30,
        remarks=PublishedClaims(
            ("fear", "sad"),
            ("happy", "surprise"),
            {"happy": 0.8732, "surprise": 0.8183, "sad": 0.5638, "fear": 0.5166},
            over_fits=False,
        ),
    ),
)


def recalls(rows: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    """The recall of each class, by row: of the models that ran, and of the quoted ones that name any.

    Returns:
        Name to class to a fraction of 1, None where there is no number; empty where the models know different classes.
    """
    found: dict[str, dict[str, float | None]] = {
        row.name: {c: score.recall for c, score in row.evaluation.per_class.items()}
        for row in rows
        if row.evaluation is not None
    }
    classes = next(iter(found.values()), {})
    if any(list(own) != list(classes) for own in found.values()):
        return {}
    for row in rows:
        if found and row.remarks is not None and row.remarks.recalls:
            found[row.name] = {c: row.remarks.recalls.get(c) for c in classes}
    return found
