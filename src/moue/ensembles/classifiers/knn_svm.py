"""A linear support vector machine of each face's own: fitted on its nearest training images when the face is read.

Georgescu, Ionescu and Popescu, "Local learning with deep and handcrafted features for facial expression recognition",
IEEE Access, 2019; after Zhang et al., "SVM-KNN", 2006. The graph holds the training images' features, and the solver: a
fixed number of accelerated projected gradient steps on the dual problem.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from moue.ensembles.classifiers.base import MARGIN_SCALE, ROUNDING, Builder, Classifier, Kind, Nodes, Scaler, Settings

#: Steps of the solver. The error falls with exp(-STEPS sqrt(mu / L)), see :meth:`Local._solved`.
STEPS = 100


@dataclass(frozen=True, eq=False)
class Local(Classifier):
    """Training images' features, and how local machines are fitted on them."""

    scaler: Scaler
    rows: NDArray[np.float16]
    """``(R, D)``: scaled, of length 1."""
    signs: NDArray[np.float32]
    """``(R, K)``: 1 for the row's class, -1 for the others."""
    neighbors: int
    penalty: float
    """LIBLINEAR's C of the squared hinge loss."""

    def is_decided(self, features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """See :class:`Classifier`: whether the last neighbor is clearly nearer than the next one, as where duplicates
        have both places.
        """
        if self.neighbors == len(self.rows):
            return np.ones(len(features), bool)
        similar = _unit(self.scaler(features)) @ self.rows.astype(np.float32).T
        last, following = -np.partition(-similar, [self.neighbors - 1, self.neighbors])[
            :, [self.neighbors - 1, self.neighbors]
        ].T
        return np.asarray(last - following > ROUNDING)

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`Classifier`."""
        x, rows = _unit(self.scaler(features)), self.rows.astype(np.float32)
        found = np.empty((len(x), self.signs.shape[1]), np.float32)
        for i, similarities in enumerate(x @ rows.T):
            nearest = np.argsort(-similarities, kind="stable")[: self.neighbors]
            weights = self._solved(rows[nearest], self.signs[nearest].T)
            found[i] = np.float32(MARGIN_SCALE) * (weights @ (similarities[nearest] + 1))
        return found

    def _solved(self, x: NDArray[np.float32], signs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The signed weights ``(K, k)`` of neighbors ``(k, D)``, whose signs are ``(K, k)``.

        The dual problem is: least ½ bᵀ (G + mu I) b - signsᵀ b for signs ∘ b ≥ 0, with G = x xᵀ + 1 for the bias, and
        mu = 1 / (2 C) (Hsieh et al., "A dual coordinate descent method for large-scale linear SVM", 2008, equation 3).
        It is strongly convex, so that the momentum is constant (Nesterov, "Introductory lectures on convex
        optimization", 2004, scheme 2.2.22).
        """
        gram = x @ x.T + np.float32(1)
        mu = np.float32(0.5 / self.penalty)
        # The Frobenius norm bounds the largest eigenvalue.
        step = 1 / (np.sqrt((gram * gram).sum()) + mu)
        ratio = np.sqrt(mu * step)
        momentum = (1 - ratio) / (1 + ratio)
        advance = (1 - step * mu) * np.eye(len(x), dtype=np.float32) - step * gram
        b = ahead = np.zeros_like(signs)
        for _ in range(STEPS):
            last, b = b, signs * np.maximum(signs * (ahead @ advance + step * signs), 0)
            ahead = b + momentum * (b - last)
        return b

    def nodes(self, features: str) -> Nodes:
        """See :class:`Classifier`."""
        from onnx import TensorProto

        add, k, mu = Builder(), self.neighbors, 0.5 / self.penalty
        x = add.scaled(features, self.scaler)
        last, one = add.constant("last", [-1], np.int64), add.constant("one", np.ones(()))
        length = add("Sqrt", add("ReduceSum", add("Mul", x, x), last, keepdims=1))
        x = add("Div", x, add("Max", length, add.constant("tiny", 1e-12)))
        rows = add("Cast", add.constant("rows", self.rows, np.float16), to=TensorProto.FLOAT)
        similar = add("TopK", add("MatMul", x, add("Transpose", rows, perm=[1, 0])), add.constant("k", [k], np.int64))
        at = f"{similar}/indices"
        x = add("Gather", rows, at)
        signs = add("Transpose", add("Gather", add.constant("signs", self.signs), at), perm=[0, 2, 1])
        gram = add("Add", add("MatMul", x, add("Transpose", x, perm=[0, 2, 1])), one)
        squares = add("ReduceSum", add("Mul", gram, gram), add.constant("both", [1, 2], np.int64), keepdims=1)
        bound = add("Sqrt", squares)
        step = add("Div", one, add("Add", bound, add.constant("mu", mu)))
        shrunk = add("Mul", step, add.constant("mu_again", mu))
        ratio = add("Sqrt", shrunk)
        momentum = add("Div", add("Sub", one, ratio), add("Add", one, ratio))
        kept = add("Mul", add("Sub", one, shrunk), add.constant("identity", np.eye(k)))
        advance = add("Sub", kept, add("Mul", step, gram))
        push = add("Mul", step, signs)
        b = ahead = add("Mul", signs, add.constant("zero", np.zeros(())))
        for _ in range(STEPS):
            moved = add("Mul", signs, add("Add", add("MatMul", ahead, advance), push))
            before, b = b, add("Mul", signs, add("Relu", moved))
            ahead = add("Add", b, add("Mul", momentum, add("Sub", b, before)))
        near = add("Add", similar, one)
        margins = add(
            "ReduceSum",
            add("Mul", b, add("Unsqueeze", near, add.constant("one_axis", [1], np.int64))),
            last,
            keepdims=0,
        )
        add("Mul", margins, add.constant("margin_scale", MARGIN_SCALE), name="logits")
        return add.built


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1."""
    scaled: NDArray[np.float32] = x / np.maximum(np.sqrt((x * x).sum(axis=1, keepdims=True)), np.float32(1e-12))
    return scaled


class NeighborSVM(Kind):
    """See the module; features standardized and of length 1."""

    grid: ClassVar = {"k": (50, 200), "C": (0.01, 0.1, 1.0)}
    whole = ("k",)
    defaults: ClassVar = {"k": 200, "C": 0.1}

    def fit(self, features: NDArray[np.float32], labels: NDArray[np.int64], k: int, settings: Settings) -> Local:
        """See :class:`Kind`."""
        scaler = Scaler.of(features)
        x = _unit(scaler(features))
        signs = np.where(labels[:, None] == np.arange(k), np.float32(1), np.float32(-1))
        return Local(scaler, x.astype(np.float16), signs, min(round(settings["k"]), len(x)), settings["C"])
