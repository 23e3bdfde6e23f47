"""A linear support vector machine for each class against the others (Fan et al., "LIBLINEAR", 2008)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moue.ensembles.classifiers.base import MARGIN_SCALE, Builder, Classifier, Kind, Nodes, Scaler, Settings


@dataclass(frozen=True, eq=False)
class Linear(Classifier):
    """A fitted one."""

    scaler: Scaler
    estimator: Any
    """scikit-learn's."""

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`Classifier`."""
        margins = self.estimator.decision_function(self.scaler(features))
        if margins.ndim == 1:  # Of two classes scikit-learn gives the second one's alone.
            margins = np.stack([-margins, margins], axis=1)
        return np.asarray(MARGIN_SCALE * margins, np.float32)

    def nodes(self, features: str) -> Nodes:
        """See :class:`Classifier`: one product."""
        weights, bias = self.estimator.coef_, self.estimator.intercept_
        if len(weights) == 1:
            weights, bias = np.concatenate([-weights, weights]), np.concatenate([-bias, bias])
        add = Builder()
        matrix = add.constant("matrix", MARGIN_SCALE * weights.T)
        add("Gemm", add.scaled(features, self.scaler), matrix, add.constant("bias", MARGIN_SCALE * bias), name="logits")
        return add.built


class LinearSVM(Kind):
    """See the module; the squared hinge loss, features standardized."""

    grid: ClassVar = {"C": (0.0001, 0.001, 0.01, 0.1)}
    defaults: ClassVar = {"C": 0.001}

    def fit(self, features: NDArray[np.float32], labels: NDArray[np.int64], k: int, settings: Settings) -> Linear:
        """See :class:`Kind`."""
        from sklearn.svm import LinearSVC

        scaler = Scaler.of(features)
        # Its primal problem has a number for each feature, the dual one for each row.
        dual = len(features) < features.shape[1]
        estimator = LinearSVC(C=settings["C"], dual=dual, max_iter=2000, random_state=0)
        return Linear(scaler, estimator.fit(scaler(features), labels))
