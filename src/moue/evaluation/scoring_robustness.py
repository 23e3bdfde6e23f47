"""From a model and a table of images to its :class:`moue.evaluation.robustness.Robustness`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moue.data.splits import stratified_sample
from moue.data.table import ImageTable
from moue.errors import DataError
from moue.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from moue.evaluation.metrics import balanced_accuracy, calibration_error
from moue.evaluation.robustness import CorruptedScore, Robustness
from moue.evaluation.scoring import predict, truth_of
from moue.preprocess import to_inputs
from moue.progress import Report
from moue.runtime.results import Predictions
from moue.trained.open import Model


def score_robustness(
    model: Model,
    part: ImageTable,
    *,
    views: int | None = None,
    batch: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    progress: Report | None = None,
) -> Robustness:
    """Score a model on images as they are, and under every corruption in five severities.

    Args:
        model: what :func:`moue.trained.open.open_any` gives.
        part: the rows; they are brought to the model's size and color first.
        views: how many views of each face are averaged; by default what the spec says.
        batch: images that are read at a time; by default what suits the device of the model's engine.
        sample: how many of the rows, drawn at random with each class in its share; by default all.
        seed: of that draw, and of what the corruptions draw.
        progress: called after each batch, with images of all corruptions together.

    Raises:
        DataError: when there are no rows.
        UsageError: when the table holds a class that the model does not know, or for a sample below 1.
    """
    if not len(part):
        raise DataError(f"{part.name or 'the data set'} has no rows to evaluate.")
    if sample is not None:
        part = part.take(stratified_sample(part.labels, sample, seed))
    spec, truth = model.spec, truth_of(part, model.spec)
    views = spec.views if views is None else views
    images = to_inputs(part.images, spec.size, spec.color)
    conditions = [(None, 0), *((name, severity) for name in CORRUPTIONS for severity in range(1, SEVERITIES + 1))]

    def scored(index: int, name: str | None, severity: int) -> CorruptedScore:
        def advance(done: int, total: int | None) -> None:
            if progress:
                progress(index * len(part) + done, len(conditions) * len(part))

        shown = images if name is None else corrupt(images, name, severity, seed)
        strength = None if name is None else float(CORRUPTIONS[name][1][severity - 1])
        predictions = predict(model, shown, views=views, batch=batch, progress=advance)
        return _score(predictions, truth, name, severity, strength)

    clean, *corrupted = (scored(i, name, severity) for i, (name, severity) in enumerate(conditions))
    return Robustness(len(part), clean, tuple(corrupted))


def _score(
    predictions: Predictions, truth: NDArray[np.int64], name: str | None, severity: int, strength: float | None
) -> CorruptedScore:
    correct = predictions.class_ids == truth
    certain = ~predictions.uncertain
    return CorruptedScore(
        corruption=name,
        severity=severity,
        strength=strength,
        accuracy=float(correct.mean()),
        balanced_accuracy=balanced_accuracy(correct, truth),
        ece=calibration_error(predictions.confidence, correct),
        uncertain=float(1 - certain.mean()),
        selective_accuracy=float(correct[certain].mean()) if certain.any() else None,
    )
