"""What a model's predictions of each class depend on: mean heatmaps of correctly classified images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.data.table import ImageTable
from moue.evaluation.scoring import truth_of
from moue.explain.explainer import Explainer, Explanation
from moue.explain.faithfulness import Faithfulness
from moue.preprocess import to_inputs
from moue.progress import Report


@dataclass(frozen=True, eq=False)
class ExplainedClass:
    """The mean explanation of a class."""

    n: int
    """Images that were explained."""
    passed: int
    """Of them, those whose heatmap is faithful: deletion below random."""
    image: NDArray[np.uint8]
    """Their mean, uint8 ``(C, S, S)``."""
    explanation: Explanation
    """Means of their probabilities, heatmaps and deletion tests."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types, without images."""
        return self.explanation.to_dict() | {"n": self.n, "passed": self.passed}


def explain_classes(
    explainer: Explainer, part: ImageTable, per_class: int, seed: int = 0, progress: Report | None = None
) -> list[ExplainedClass]:
    """Explain some images of each class, and average.

    Args:
        explainer: of a model.
        part: the images, in any size and color.
        per_class: how many of each class, drawn from the correctly classified ones; all of them where there are
            fewer, and classes without any are left out.
        seed: of the draw.
        progress: called with the number of explained images, and of all.

    Raises:
        UsageError: when the model does not know a class of the images.
    """
    spec = explainer.spec
    images = to_inputs(part.images, spec.size, spec.color)
    truth = truth_of(part, spec)
    correct = explainer.probabilities(images).argmax(axis=1) == truth
    rng = np.random.default_rng(seed)
    sampled = {k: rng.permutation(np.flatnonzero(correct & (truth == k)))[:per_class] for k in range(len(spec.labels))}
    total, done, classes = sum(map(len, sampled.values())), 0, []
    for k, rows in sampled.items():
        if not len(rows):
            continue
        explanations = []
        for row in rows:
            explanations.append(explainer.explain(images[row], spec.labels[k]))
            done += 1
            if progress is not None:
                progress(done, total)
        classes.append(_mean(images[rows], explanations))
    return classes


def _mean(images: NDArray[np.uint8], explanations: list[Explanation]) -> ExplainedClass:
    tests = np.array([e.faithfulness for e in explanations])
    mean = Explanation(
        explanations[0].label,
        float(np.mean([e.probability for e in explanations])),
        explanations[0].method,
        np.mean([e.heatmap for e in explanations], axis=0),
        Faithfulness(*tests.mean(axis=0).tolist()),
    )
    image = images.mean(axis=0).round().astype(np.uint8)
    return ExplainedClass(len(explanations), int((tests[:, 0] < tests[:, 1]).sum()), image, mean)
