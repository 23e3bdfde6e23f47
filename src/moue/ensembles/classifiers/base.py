"""What a hybrid's classifier is: fitted on features, and written as nodes of a graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

#: Values of a classifier's settings, by name.
Settings = dict[str, float]

#: Nodes of a graph, and their constants.
Nodes = tuple["list[onnx.NodeProto]", "list[onnx.TensorProto]"]

#: The margins of a support vector machine are about 1. Times this they are as large as logits, so that a temperature
#: between 0.1 and 10 can calibrate them.
MARGIN_SCALE = 10.0


#: How much features may differ from one engine to another, as a fraction of the largest.
ROUNDING = 1e-5


class Classifier(ABC):
    """A fitted classifier of features."""

    @abstractmethod
    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits ``(N, K)`` of features ``(N, D)``, as scikit-learn or numpy computes them."""

    def is_decided(self, features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """bool ``(N,)``: whether the logits stay about the same where the features are rounded in another way, as from
        one engine to another.
        """
        noise = np.random.default_rng(0).normal(0, ROUNDING * np.abs(features).max(), features.shape)
        moved = self.logits(features + noise.astype(np.float32)) - self.logits(features)
        return np.asarray(np.abs(moved).max(axis=1) < 1e-2)

    @abstractmethod
    def nodes(self, features: str) -> Nodes:
        """The same as nodes of a graph, from the output of that name to "logits", and their constants; their names
        begin with "hybrid/".
        """


class Kind(ABC):
    """A way to fit a classifier."""

    grid: ClassVar[Mapping[str, tuple[float, ...]]]
    """Its settings, each with the values to choose from."""
    defaults: ClassVar[Settings]
    """The settings where no rows are held out to choose them on."""
    whole: tuple[str, ...] = ()
    """Those that are whole numbers."""
    tried_on: int | None = None
    """The most rows on which settings are tried; None for all."""
    fitted_on: int | None = None
    """The most rows that the chosen settings are fitted on; None for all."""

    @abstractmethod
    def fit(self, features: NDArray[np.float32], labels: NDArray[np.int64], k: int, settings: Settings) -> Classifier:
        """Fit on features ``(N, D)`` and labels int64 ``(N,)`` in 0..k - 1, each of which occurs."""

    def fit_each(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], k: int, grid: Mapping[str, Sequence[float]]
    ) -> Iterator[tuple[Settings, Classifier]]:
        """A classifier for each combination of a grid."""
        for values in product(*grid.values()):
            settings = dict(zip(grid, values, strict=True))
            yield settings, self.fit(features, labels, k, settings)


@dataclass(frozen=True)
class Scaler:
    """Features to mean 0 and deviation 1, as on the rows that it was fitted on; constant ones become 0."""

    mean: NDArray[np.float32]
    factor: NDArray[np.float32]

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> Scaler:
        """That of features ``(N, D)``."""
        deviation = features.std(axis=0, dtype=np.float64)
        factor = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 1e-6)
        return cls(features.mean(axis=0, dtype=np.float64).astype(np.float32), factor.astype(np.float32))

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale features ``(N, D)``."""
        scaled: NDArray[np.float32] = (features - self.mean) * self.factor
        return scaled


class Builder:
    """Collects nodes and constants whose names begin with "hybrid/"."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        """Add a constant; gives its full name."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), f"hybrid/{name}"))
        return f"hybrid/{name}"

    def __call__(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node; gives its first output, which is called ``name`` or numbered."""
        from onnx import helper

        n = len(self.nodes)
        output = name or f"hybrid/{n}"
        outputs = [output, f"{output}/indices"] if operator == "TopK" else [output]
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, name=f"hybrid/node{n}", **attributes))
        return output

    def scaled(self, features: str, scaler: Scaler) -> str:
        """What a scaler gives."""
        centered = self("Sub", features, self.constant("mean", scaler.mean))
        return self("Mul", centered, self.constant("factor", scaler.factor))

    @property
    def built(self) -> Nodes:
        """All of it."""
        return self.nodes, self.constants
