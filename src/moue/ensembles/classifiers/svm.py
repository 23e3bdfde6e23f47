"""A support vector machine with a radial kernel (Cortes and Vapnik, "Support-vector networks", 1995)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moue.ensembles.classifiers.base import MARGIN_SCALE, Builder, Classifier, Kind, Nodes, Scaler, Settings


@dataclass(frozen=True, eq=False)
class Radial(Classifier):
    """A fitted one: a machine for each pair of classes. A class's logit is the mean margin of its pairs, which changes
    smoothly, where scikit-learn counts the pairs that it wins.
    """

    scaler: Scaler
    gamma: float
    """Of the kernel exp(-gamma ‖x - s‖²)."""
    estimator: Any
    """scikit-learn's."""

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`Classifier`."""
        margins = self.estimator.decision_function(self.scaler(features))
        k = len(self.estimator.classes_)
        if k == 2:
            margins = -margins[:, None]
        return np.asarray(MARGIN_SCALE * margins @ _pairs(k), np.float32)

    def nodes(self, features: str) -> Nodes:
        """See :class:`Classifier`: a kernel matrix, and one product."""
        support = np.asarray(self.estimator.support_vectors_, np.float32)
        add, gamma = Builder(), np.float32(self.gamma)
        x = add.scaled(features, self.scaler)
        square = add("ReduceSum", add("Mul", x, x), add.constant("axis", [1], np.int64), keepdims=1)
        product = add("MatMul", x, add.constant("support", (2 * gamma * support).T))
        near = add("Sub", product, add("Mul", square, add.constant("gamma", gamma)))
        lengths = gamma * (support.astype(np.float64) ** 2).sum(axis=1)
        kernel = add("Exp", add("Sub", near, add.constant("lengths", lengths)))
        weights, bias = self._aggregated()
        add("Gemm", kernel, add.constant("weights", weights), add.constant("bias", bias), name="logits")
        return add.built

    def _aggregated(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """For each support vector, its weight in each class's logit, and the biases."""
        k = len(self.estimator.classes_)
        # Of two classes scikit-learn keeps the negative.
        sign = -1 if k == 2 else 1
        dual, intercepts = sign * self.estimator.dual_coef_, sign * self.estimator.intercept_
        ends = np.concatenate([[0], np.cumsum(self.estimator.n_support_)])
        pairs = np.zeros((dual.shape[1], k * (k - 1) // 2))
        for p, (i, j) in enumerate(combinations(range(k), 2)):
            pairs[ends[i] : ends[i + 1], p] = dual[j - 1, ends[i] : ends[i + 1]]
            pairs[ends[j] : ends[j + 1], p] = dual[i, ends[j] : ends[j + 1]]
        return MARGIN_SCALE * pairs @ _pairs(k), MARGIN_SCALE * intercepts @ _pairs(k)


def _pairs(k: int) -> NDArray[np.float64]:
    """``(k (k - 1) / 2, k)``: from the margins of pairs, positive for the first, to their mean for each class."""
    matrix = np.zeros((k * (k - 1) // 2, k))
    for p, (i, j) in enumerate(combinations(range(k), 2)):
        matrix[p, [i, j]] = 1, -1
    return matrix / (k - 1)


class RadialSVM(Kind):
    """See the module; features standardized, ``gamma`` in units of one over their number."""

    grid: ClassVar = {"C": (0.1, 1.0, 10.0), "gamma": (0.1, 0.5)}
    defaults: ClassVar = {"C": 1.0, "gamma": 0.1}
    # The time grows with the square of the rows.
    tried_on = 3000
    fitted_on = 10000

    def fit(self, features: NDArray[np.float32], labels: NDArray[np.int64], k: int, settings: Settings) -> Radial:
        """See :class:`Kind`."""
        from sklearn.svm import SVC

        scaler, gamma = Scaler.of(features), settings["gamma"] / features.shape[1]
        estimator = SVC(C=settings["C"], gamma=gamma, decision_function_shape="ovo", cache_size=500)
        return Radial(scaler, gamma, estimator.fit(scaler(features), labels))
