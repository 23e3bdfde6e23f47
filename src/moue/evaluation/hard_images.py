"""The images that models get most wrong, and the classes that they confuse most often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from moue.evaluation.model_result import ModelResult


class HardImage(NamedTuple):
    """One image."""

    row: int
    """Its position among the evaluated rows."""
    truth: str
    predicted: str
    """By the first of the models."""
    probability: float
    """Of that prediction, 0 to 1."""
    wrong: int
    """How many of the models are wrong."""


class ConfusedPair(NamedTuple):
    """A class that is predicted as another one."""

    truth: str
    predicted: str
    n: int
    share: float
    """Of the images of the true class, 0 to 1."""
    images: list[HardImage]
    """The most confident of these predictions first."""


def hardest(results: Sequence[ModelResult], n: int) -> list[HardImage]:
    """The images whose truth is least probable: by the mean of its log-probability over models of the same classes.

    Args:
        results: models with predictions of the same rows, the most accurate first; those whose classes are not the
            first one's are left out.
        n: how many images at most. Images that no model gets wrong are not among them.
    """
    same = _alike(results)
    if not same:
        return []
    logs, wrong = _log_probabilities(same), _wrong(same)
    order = np.lexsort((np.arange(len(logs)), logs))
    return [_image(same[0], int(row), int(wrong[row])) for row in order if wrong[row]][:n]


def most_confused(results: Sequence[ModelResult], pairs: int, n: int) -> list[ConfusedPair]:
    """The confusions that are most frequent among the images of a class, of the first model.

    Args:
        results: as of :func:`hardest`.
        pairs: how many at most.
        n: images of each at most.
    """
    same = _alike(results)
    if not same:
        return []
    first, wrong = same[0], _wrong(same)
    evaluation, predictions, truth = first.evaluation, first.predictions, first.truth
    assert evaluation is not None
    assert predictions is not None
    assert truth is not None
    shares = evaluation.confusion / np.maximum(evaluation.confusion.sum(1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    found = []
    for cell in np.argsort(-shares, axis=None, kind="stable")[:pairs]:
        i, j = (int(k) for k in np.unravel_index(cell, shares.shape))
        if not shares[i, j]:
            break
        rows = np.flatnonzero((truth == i) & (predictions.class_ids == j))
        order = rows[np.argsort(-predictions.confidence[rows], kind="stable")][:n]
        images = [_image(first, int(row), int(wrong[row])) for row in order]
        labels = predictions.labels
        found.append(ConfusedPair(labels[i], labels[j], len(rows), float(shares[i, j]), images))
    return found


def _alike(results: Sequence[ModelResult]) -> list[ModelResult]:
    known = [r for r in results if r.predictions is not None and r.truth is not None]
    return [r for r in known if r.predictions is not None and r.predictions.labels == _labels(known[0])]


def _labels(result: ModelResult) -> tuple[str, ...]:
    return () if result.predictions is None else result.predictions.labels


def _log_probabilities(results: Sequence[ModelResult]) -> np.ndarray:
    """Mean log-probability of the truth, ``(N,)``."""
    logs = []
    for result in results:
        assert result.predictions is not None
        assert result.truth is not None
        own = result.predictions.probabilities[np.arange(len(result.truth)), result.truth].astype(np.float64)
        logs.append(np.log(np.maximum(own, np.finfo(np.float32).tiny)))
    return np.asarray(np.mean(logs, axis=0))


def _wrong(results: Sequence[ModelResult]) -> np.ndarray:
    """How many models are wrong about each row, ``(N,)``."""
    return np.asarray(np.sum([~result.correct for result in results if result.correct is not None], axis=0))


def _image(result: ModelResult, row: int, wrong: int) -> HardImage:
    assert result.predictions is not None
    assert result.truth is not None
    labels, predictions = result.predictions.labels, result.predictions
    predicted = int(predictions.class_ids[row])
    return HardImage(row, labels[result.truth[row]], labels[predicted], float(predictions.confidence[row]), wrong)
