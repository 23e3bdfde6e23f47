"""What a model looks at in each class: the mean map of images that it gets right."""

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
    """A class."""

    n: int
    """Images that were explained."""
    below: int
    """Of them, those whose map passed its test: deletion below random."""
    face: NDArray[np.uint8]
    """Their mean, uint8 ``(C, S, S)``."""
    mean: Explanation
    """Means of their probabilities, maps and tests."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types, without images."""
        return self.mean.to_dict() | {"n": self.n, "passed": self.below}


def explain_classes(
    explainer: Explainer, part: ImageTable, per_class: int, seed: int = 0, progress: Report | None = None
) -> list[ExplainedClass]:
    """Explain some images of each class, and average.

    Args:
        explainer: of a model.
        part: the images, in any size and color.
        per_class: how many of each class, drawn from those that the model gets right; all of them where there are
            fewer, and a class of which it gets none right is left out.
        seed: of the draw.
        progress: told how many images are done.

    Raises:
        UsageError: when the model does not know a class of the images.
    """
    spec = explainer.spec
    images = to_inputs(part.images, spec.size, spec.color)
    truth = truth_of(part, spec)
    right = explainer.probabilities(images).argmax(axis=1) == truth
    draw = np.random.default_rng(seed)
    chosen = {k: draw.permutation(np.flatnonzero(right & (truth == k)))[:per_class] for k in range(len(spec.labels))}
    total, done, found = sum(map(len, chosen.values())), 0, []
    for k, rows in chosen.items():
        if not len(rows):
            continue
        said = []
        for row in rows:
            said.append(explainer.explain(images[row], spec.labels[k]))
            done += 1
            if progress is not None:
                progress(done, total)
        found.append(_mean(images[rows], said))
    return found


def _mean(faces: NDArray[np.uint8], said: list[Explanation]) -> ExplainedClass:
    tests = np.array([one.trust for one in said])
    mean = Explanation(
        said[0].label,
        float(np.mean([one.probability for one in said])),
        said[0].method,
        np.mean([one.heat for one in said], axis=0),
        Faithfulness(*tests.mean(axis=0).tolist()),
    )
    face = faces.mean(axis=0).round().astype(np.uint8)
    return ExplainedClass(len(said), int((tests[:, 0] < tests[:, 1]).sum()), face, mean)
