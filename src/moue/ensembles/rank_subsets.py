"""Which models are worth averaging: scores of all subsets, on images that all members held out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moue.data.table import ImageTable
from moue.ensembles.members import SAME_ROWS, held_out_rows, require_compatible, require_distinct
from moue.errors import DataError, UsageError
from moue.evaluation.calibration import calibrate
from moue.evaluation.metrics import balanced_accuracy, negative_log_likelihood, standard_error
from moue.evaluation.scoring import truth_of
from moue.preprocess import to_inputs
from moue.progress import Report
from moue.runtime.results import softmax
from moue.trained.open import open_any
from moue.tta import tta_logits

#: Of more models there are too many subsets, and the best of them is too likely to be so by chance.
MAX_MEMBERS = 12


@dataclass(frozen=True)
class SubsetScore:
    """Some models averaged as by :func:`moue.ensembles.voting.merge`."""

    members: tuple[str, ...]
    n: int
    """Images that it was scored on."""
    accuracy: float
    """0 to 1."""
    accuracy_se: float
    balanced_accuracy: float
    """Mean recall over the classes that have images."""
    majority_baseline: float
    """Accuracy of always predicting the class that is most frequent in these images."""
    nll: float
    """Mean negative log-likelihood after one temperature, which is 1 where the images are too few to fit one."""
    disagreement: float | None
    """Mean share of images on which two members differ; None for one alone. Members that never differ gain nothing."""
    parameters: int


def rank_subsets(
    members: Sequence[str | Path], data: ImageTable, progress: Report | None = None, *, unseen: bool = False
) -> list[SubsetScore]:
    """Score all subsets.

    The score of the best of many is too high, by selection: score it once more on images that selected nothing.

    Args:
        members: 2 to 12 of what :func:`moue.ensembles.voting.merge` takes.
        data: the set that they were trained on.
        progress: called with the number of members whose logits are there, and of all.
        unseen: as of :func:`moue.ensembles.members.held_out_positions`.

    Returns:
        All subsets by negative log-likelihood, the lowest first: it is less noisy than accuracy.

    Raises:
        UsageError: for fewer than two members, more than twelve, or one that is given twice.
        ModelError: when members differ in what an ensemble must share, or cannot be opened.
        DataError: as :func:`moue.ensembles.members.held_out_positions`.
    """
    names = [str(member) for member in members]
    if not 2 <= len(names) <= MAX_MEMBERS:
        raise UsageError(f"subsets are ranked from 2 to {MAX_MEMBERS} models. Got {len(names)} instead.")
    require_distinct(names)
    models = [open_any(member) for member in members]
    specs = [model.spec for model in models]
    require_compatible(specs)
    held_out = held_out_rows(members, data, unseen)
    if not len(held_out):
        raise DataError(f"there is no image that every model held out, to rank them on. {SAME_ROWS}.")
    truth, views = truth_of(held_out, specs[0]), max(spec.views for spec in specs)
    majority = float(np.bincount(truth).max() / len(truth))
    images = to_inputs(held_out.images, specs[0].size, specs[0].color)
    logits: list[NDArray[np.floating]] = []
    for i, model in enumerate(models):
        # Without the members' own crops: an ensemble gives all of them the same views.
        logits.append(tta_logits(model.logits, images, views, 64) / model.spec.temperature)
        if progress is not None:
            progress(i + 1, len(models))
    predicted = [values.argmax(axis=1) for values in logits]
    scores = []
    for size in range(1, len(names) + 1):
        for subset in itertools.combinations(range(len(names)), size):
            mean = np.mean([logits[i] for i in subset], axis=0)
            p = softmax(mean, calibrate(mean, truth).temperature)
            right = mean.argmax(axis=1) == truth
            accuracy = float(right.mean())
            pairs = [float((predicted[a] != predicted[b]).mean()) for a, b in itertools.combinations(subset, 2)]
            scores.append(
                SubsetScore(
                    tuple(names[i] for i in subset),
                    len(truth),
                    accuracy,
                    standard_error(accuracy, len(truth)),
                    balanced_accuracy(right, truth),
                    majority,
                    negative_log_likelihood(p, truth),
                    float(np.mean(pairs)) if pairs else None,
                    sum(specs[i].parameters for i in subset),
                )
            )
    return sorted(scores, key=lambda score: score.nll)
