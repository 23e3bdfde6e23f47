"""Which models are worth averaging: every subset of some, on images that all of them held out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moue.data.table import ImageTable
from moue.ensembles.voting import held_out, need_alike
from moue.errors import UsageError
from moue.evaluation.calibration import fit_temperature
from moue.evaluation.metrics import negative_log_likelihood, standard_error
from moue.evaluation.scoring import truth_of
from moue.preprocess import to_inputs
from moue.progress import Report
from moue.runtime.results import softmax
from moue.trained.open import open_any
from moue.tta import averaged

#: Of more models the subsets are too many to be looked at, and the best of them too likely to be so by chance.
MOST = 12


@dataclass(frozen=True)
class Choice:
    """Some models averaged, as :func:`moue.ensembles.voting.merge` would."""

    members: tuple[str, ...]
    n: int
    """Images that it was scored on."""
    accuracy: float
    """0 to 1."""
    accuracy_se: float
    nll: float
    """Mean negative log-likelihood after one temperature."""
    disagreement: float | None
    """Mean share of images on which two members differ; None for one alone. Members that never differ add nothing."""
    parameters: int


def rank_subsets(members: Sequence[str | Path], data: ImageTable, progress: Report | None = None) -> list[Choice]:
    """Score all subsets.

    The best of many is flattered by the choice: score what is chosen once, on images that chose nothing.

    Args:
        members: 2 to 12 of what :func:`moue.ensembles.voting.merge` takes.
        data: the set that they were trained on.
        progress: told how many members have answered.

    Returns:
        All subsets, the least likelihood loss first: it wavers less with the images than accuracy does.

    Raises:
        UsageError: for fewer than two members, more than twelve, or one that is named twice.
        ModelError: when members differ in what an ensemble must share, or cannot be opened.
        DataError: as :func:`moue.ensembles.voting.held_out`.
    """
    names = [str(member) for member in members]
    if not 2 <= len(names) <= MOST:
        raise UsageError(f"an ensemble is chosen from 2 to {MOST} models. Got {len(names)} instead.")
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"{min(twice)} is named twice.")
    models = [open_any(member) for member in members]
    specs = [model.spec for model in models]
    need_alike(specs)
    held = held_out(members, data)
    truth, views = truth_of(held, specs[0]), max(spec.views for spec in specs)
    images = to_inputs(held.images, specs[0].size, specs[0].color)
    answers: list[NDArray[np.floating]] = []
    for i, model in enumerate(models):
        answers.append(averaged(model.logits, images, views, batch=64) / model.spec.temperature)
        if progress is not None:
            progress(i + 1, len(models))
    tops = [answer.argmax(axis=1) for answer in answers]
    found = []
    for size in range(1, len(names) + 1):
        for subset in itertools.combinations(range(len(names)), size):
            mean = np.mean([answers[i] for i in subset], axis=0)
            p = softmax(mean, fit_temperature(mean, truth))
            accuracy = float((mean.argmax(axis=1) == truth).mean())
            pairs = [float((tops[a] != tops[b]).mean()) for a, b in itertools.combinations(subset, 2)]
            found.append(
                Choice(
                    tuple(names[i] for i in subset),
                    len(truth),
                    accuracy,
                    standard_error(accuracy, len(truth)),
                    negative_log_likelihood(p, truth),
                    float(np.mean(pairs)) if pairs else None,
                    sum(specs[i].parameters for i in subset),
                )
            )
    return sorted(found, key=lambda choice: choice.nll)
