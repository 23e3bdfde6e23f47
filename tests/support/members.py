"""Faces and a table for tests of ensembles, as small as their models."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from moue.data.table import ImageTable
from moue.labels import FER2013

#: Writes a model from a name and a seed.
Make = Callable[..., Path]


def faces(n: int = 40) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, 1, 12, 12), dtype=np.uint8)


def table(n: int = 1200) -> ImageTable:
    truth = np.arange(n, dtype=np.int64) % 7
    return ImageTable(faces(n), truth, np.array(["train"] * n), [f"row {i}" for i in range(n)], FER2013, name="drawn")


def initializers(path: Path, pattern: str) -> list[np.ndarray]:
    """The constants of a graph whose names match, in their order."""
    found = onnx.load(path).graph.initializer
    return [numpy_helper.to_array(tensor) for tensor in found if re.fullmatch(pattern, tensor.name)]
