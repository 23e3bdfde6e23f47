"""Several evaluated models against each other: the most accurate, its lead, the cheapest, the hardest class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from moue.evaluation.model_result import ModelResult
from moue.evaluation.significance import Pair, compare_pairs


class Lead(NamedTuple):
    """How far the most accurate model is ahead of the second."""

    second: ModelResult
    difference: float
    """Of the accuracies, fraction of 1."""
    pair: Pair | None
    """The test of the difference, the better model first; None where it was not tested."""


class ClassDifficulty(NamedTuple):
    """The classes with the lowest and the highest recall, over all images of several models."""

    hardest: str
    hardest_recall: float
    confused_with: str | None
    """What the hardest class is most often predicted as; None where it is always recognized."""
    easiest: str
    easiest_recall: float


def rank(results: Sequence[ModelResult]) -> list[ModelResult]:
    """The models that were evaluated, the most accurate first."""
    return sorted((r for r in results if r.evaluation is not None), key=lambda r: -(r.accuracy or 0.0))


def winner(results: Sequence[ModelResult]) -> ModelResult | None:
    """The most accurate model; None where it is not significantly above the majority baseline."""
    best = next(iter(rank(results)), None)
    return best if best is not None and best.evaluation is not None and best.evaluation.above_majority else None


def compare_models(results: Sequence[ModelResult], *, resamples: int = 10_000, seed: int = 0) -> list[Pair]:
    """Test every pair of the evaluated models that have predictions, see :mod:`moue.evaluation.significance`.

    Raises:
        UsageError: when they were not evaluated on the same images.
    """
    correct = {r.name: r.correct for r in results if r.evaluation is not None}
    return compare_pairs({n: c for n, c in correct.items() if c is not None}, resamples=resamples, seed=seed)


def find_pair(pairs: Sequence[Pair], a: str, b: str) -> Pair | None:
    """The test of two models, with ``a`` as its first; None where they were not tested."""
    pair = next((pair for pair in pairs if {pair.a, pair.b} == {a, b}), None)
    return pair.swapped() if pair is not None and pair.a != a else pair


def find_lead(ranked: Sequence[ModelResult], pairs: Sequence[Pair]) -> Lead | None:
    """The lead of the first of the ranked models; None for fewer than two."""
    if len(ranked) < 2:
        return None
    first, second = ranked[:2]
    return Lead(second, accuracy_difference(first, second), find_pair(pairs, first.name, second.name))


def accuracy_difference(a: ModelResult, b: ModelResult) -> float:
    """The accuracy of ``a`` less that of ``b``, measured or published."""
    return (a.accuracy or 0.0) - (b.accuracy or 0.0)


def cheapest(ranked: Sequence[ModelResult], cost: Literal["hours", "latency_ms"]) -> ModelResult | None:
    """The model with the lowest training time or latency; None where fewer than two have one."""
    known = [(value, result) for result in ranked if (value := getattr(result, cost))]
    return min(known, key=lambda pair: pair[0])[1] if len(known) > 1 else None


def best_trade_off(ranked: Sequence[ModelResult], pairs: Sequence[Pair]) -> ModelResult:
    """Of the models that are not significantly worse than the most accurate, and are significantly above the majority
    baseline, the one that was trained fastest.
    """
    best = ranked[0]
    candidates = [best]
    for result in ranked[1:]:
        pair = find_pair(pairs, best.name, result.name)
        above = result.evaluation is not None and result.evaluation.above_majority
        if above and pair is not None and not pair.significant and result.hours:
            candidates.append(result)
    return min(candidates, key=lambda r: r.hours or float("inf"))


def class_difficulty(results: Sequence[ModelResult]) -> ClassDifficulty | None:
    """The hardest and the easiest class by recall over all models; None for models of different classes, or one class.

    Args:
        results: models that were evaluated.
    """
    evaluations = [r.evaluation for r in results if r.evaluation is not None]
    if not evaluations or any(e.labels != evaluations[0].labels for e in evaluations):
        return None
    labels = evaluations[0].labels
    confusion = np.sum([e.confusion for e in evaluations], axis=0)
    present = np.flatnonzero(confusion.sum(1))
    if len(present) < 2:
        return None
    recalls = confusion.diagonal()[present] / confusion.sum(1)[present]
    hardest, easiest = present[recalls.argmin()], present[recalls.argmax()]
    errors = confusion[hardest].copy()
    errors[hardest] = 0
    confused = labels[int(errors.argmax())] if errors.any() else None
    return ClassDifficulty(labels[hardest], float(recalls.min()), confused, labels[easiest], float(recalls.max()))


def counterpart(published: ModelResult, ranked: Sequence[ModelResult]) -> ModelResult | None:
    """The most accurate evaluated model of the network family of a published one ("vit-compact" is of "vit")."""
    return next((r for r in ranked if r.network.split("-")[0] == published.network), None)
