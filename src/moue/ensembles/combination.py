"""How the members' logits become those of an ensemble: each way once as numpy, for reference, and once as a graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx


class Combination(ABC):
    """A function of the members' logits."""

    @abstractmethod
    def apply(self, logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """The ensemble's logits ``(N, K)`` from those of each member."""

    def is_decided(self, logits: Sequence[NDArray[np.float32]]) -> NDArray[np.bool_]:
        """bool ``(N,)``: whether the result changes little where the logits do, as from one engine to another."""
        return np.ones(len(logits[0]), bool)

    @abstractmethod
    def nodes(self, outputs: Sequence[str]) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """The same as nodes of a graph, from the members' outputs to "logits", and their constants."""


@dataclass(frozen=True)
class WeightedSum(Combination):
    """The sum of the logits, each times a factor."""

    factors: tuple[float, ...]
    """One a member: its weight divided by its temperature."""

    def apply(self, logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """See :class:`Combination`."""
        scaled = [np.float32(factor) * values for factor, values in zip(self.factors, logits, strict=True)]
        total: NDArray[np.float32] = np.stack(scaled).sum(0, np.float32)
        return total

    def nodes(self, outputs: Sequence[str]) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """See :class:`Combination`."""
        from onnx import helper, numpy_helper

        nodes, constants, shares = [], [], []
        for i, (output, factor) in enumerate(zip(outputs, self.factors, strict=True)):
            share = f"member{i}/share"
            constants.append(numpy_helper.from_array(np.float32(factor), f"{share}_factor"))
            nodes.append(helper.make_node("Mul", [output, f"{share}_factor"], [share], name=share))
            shares.append(share)
        return [*nodes, helper.make_node("Sum", shares, ["logits"], name="sum")], constants


@dataclass(frozen=True)
class WeightedVote(Combination):
    """Each member votes for its likeliest class; the logits are the votes, each times its member's weight."""

    weights: tuple[float, ...]

    def apply(self, logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """See :class:`Combination`; of equal logits the first class counts."""
        votes = [np.eye(values.shape[1], dtype=np.float32)[values.argmax(axis=1)] for values in logits]
        return WeightedSum(self.weights).apply(votes)

    def is_decided(self, logits: Sequence[NDArray[np.float32]]) -> NDArray[np.bool_]:
        """See :class:`Combination`: no member's first two classes are about as likely."""
        top = np.sort(np.stack(logits), axis=2)[:, :, -2:]
        return np.asarray((top[:, :, 1] - top[:, :, 0] > 0.01).all(axis=0))

    def nodes(self, outputs: Sequence[str]) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """See :class:`Combination`."""
        from onnx import helper

        votes = [f"member{i}/vote" for i in range(len(outputs))]
        hardmax = [
            helper.make_node("Hardmax", [output], [vote], name=vote, axis=1)
            for output, vote in zip(outputs, votes, strict=True)
        ]
        nodes, constants = WeightedSum(self.weights).nodes(votes)
        return [*hardmax, *nodes], constants


@dataclass(frozen=True, eq=False)
class LinearStack(Combination):
    """A linear classifier of all members' logits side by side."""

    matrix: NDArray[np.float32]
    """``(M K, K)``: from the members' logits, in their order, to the classes."""
    bias: NDArray[np.float32]
    """``(K,)``."""

    def apply(self, logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """See :class:`Combination`."""
        stacked: NDArray[np.float32] = np.concatenate(logits, axis=1) @ self.matrix + self.bias
        return stacked

    def nodes(self, outputs: Sequence[str]) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """See :class:`Combination`."""
        from onnx import helper, numpy_helper

        constants = [
            numpy_helper.from_array(np.float32(self.matrix), "stack/matrix"),
            numpy_helper.from_array(np.float32(self.bias), "stack/bias"),
        ]
        nodes = [
            helper.make_node("Concat", list(outputs), ["stack/logits"], name="stack/logits", axis=1),
            helper.make_node("Gemm", ["stack/logits", "stack/matrix", "stack/bias"], ["logits"], name="stack"),
        ]
        return nodes, constants
