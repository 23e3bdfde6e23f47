"""Gradient-boosted trees over histograms of the features (Friedman, "Greedy function approximation: a gradient boosting
machine", 2001; Ke et al., "LightGBM", 2017).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moue.ensembles.classifiers.base import Builder, Classifier, Kind, Nodes, Settings

#: Levels of a tree at most, each of which is a step of the graph.
DEPTH = 5


@dataclass(frozen=True, eq=False)
class Trees(Classifier):
    """Fitted ones: the first iterations of scikit-learn's."""

    estimator: Any
    iterations: int

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`Classifier`."""
        stages = self.estimator.staged_decision_function(features)
        raw = next(stage for i, stage in enumerate(stages, 1) if i == self.iterations)
        if raw.shape[1:] in ((), (1,)):  # Of two classes, the logit of the second.
            raw = np.stack([-raw.ravel() / 2, raw.ravel() / 2], axis=1)
        return np.asarray(raw, np.float32)

    def nodes(self, features: str) -> Nodes:
        """See :class:`Classifier`: all trees at once, level by level, each image at one node of each tree.

        Plain operators, which every engine has; those for trees are ONNX Runtime's alone.
        """
        trees = [tree for trees in self.estimator._predictors[: self.iterations] for tree in trees]
        width = max(len(tree.nodes) for tree in trees)
        shape = len(trees), width
        feature, left, right = (np.zeros(shape, np.int64) for _ in range(3))
        threshold, value = np.zeros(shape, np.float32), np.zeros(shape, np.float64)
        for t, tree in enumerate(trees):
            nodes, first = tree.nodes, t * width
            leaf, own = nodes["is_leaf"].astype(bool), first + np.arange(len(nodes))
            feature[t, : len(nodes)] = np.where(leaf, 0, nodes["feature_idx"])
            threshold[t, : len(nodes)] = np.where(leaf, 0, _below(nodes["num_threshold"]))
            # A leaf leads to itself.
            left[t, : len(nodes)] = np.where(leaf, own, first + nodes["left"])
            right[t, : len(nodes)] = np.where(leaf, own, first + nodes["right"])
            value[t, : len(nodes)] = np.where(leaf, nodes["value"], 0)
        add = Builder()
        lefts, rights = (add.constant(n, v.ravel(), np.int64) for n, v in (("left", left), ("right", right)))
        of = add.constant("feature", feature.ravel(), np.int64)
        thresholds = add.constant("threshold", threshold.ravel())
        # The roots: the first node of each tree, for all images.
        root = add.constant("root_feature", feature[:, 0], np.int64)
        below = add(
            "LessOrEqual", add("Gather", features, root, axis=1), add.constant("root_threshold", threshold[:, 0])
        )
        at = add(
            "Where",
            below,
            add.constant("root_left", left[:, 0], np.int64),
            add.constant("root_right", right[:, 0], np.int64),
        )
        for _ in range(DEPTH - 1):
            values = add("GatherElements", features, add("Gather", of, at), axis=1)
            below = add("LessOrEqual", values, add("Gather", thresholds, at))
            at = add("Where", below, add("Gather", lefts, at), add("Gather", rights, at))
        leaves = add("Gather", add.constant("value", value.ravel()), at)
        matrix, baseline = self._classes(len(trees))
        add("Gemm", leaves, add.constant("classes", matrix), add.constant("baseline", baseline), name="logits")
        return add.built

    def _classes(self, trees: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """From the trees' values to the classes' logits, and what these are without trees."""
        baseline = np.ravel(self.estimator._baseline_prediction)
        if len(baseline) == 1:
            return np.tile([[-0.5, 0.5]], (trees, 1)), baseline[0] * np.array([-0.5, 0.5])
        return np.tile(np.eye(len(baseline)), (trees // len(baseline), 1)), baseline


def _below(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 of at most each threshold: features are float32, so that no comparison changes."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)


class GradientBoosting(Kind):
    """See the module; at most 31 leaves and :data:`DEPTH` levels."""

    grid: ClassVar = {"learning_rate": (0.1,), "iterations": (10, 25, 50, 100)}
    whole = ("iterations",)
    defaults: ClassVar = {"learning_rate": 0.1, "iterations": 50}

    def fit(self, features: NDArray[np.float32], labels: NDArray[np.int64], k: int, settings: Settings) -> Trees:
        """See :class:`Kind`."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        iterations = round(settings["iterations"])
        estimator = HistGradientBoostingClassifier(
            learning_rate=settings["learning_rate"],
            max_iter=iterations,
            max_depth=DEPTH,
            early_stopping=False,
            random_state=0,
        )
        return Trees(estimator.fit(features, labels), iterations)

    def fit_each(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], k: int, grid: Mapping[str, Sequence[float]]
    ) -> Iterator[tuple[Settings, Trees]]:
        """See :class:`Kind`: fewer iterations are the first of more."""
        most = max(grid["iterations"])
        for (rate,) in product(grid["learning_rate"]):
            fitted = self.fit(features, labels, k, {"learning_rate": rate, "iterations": most})
            for n in grid["iterations"]:
                yield {"learning_rate": rate, "iterations": n}, Trees(fitted.estimator, round(n))
