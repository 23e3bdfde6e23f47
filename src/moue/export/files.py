"""A model's two files, graph and spec."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from moue.files import atomic_write
from moue.spec import ModelSpec

if TYPE_CHECKING:
    import onnx


def model_files(path: Path) -> tuple[Path, ...]:
    """The files of a model: the ``.onnx`` and the ``.json`` beside it, or the ``.pt2`` that holds its spec."""
    return (path,) if path.suffix == ".pt2" else (path, path.with_suffix(".json"))


def write_model(path: Path, graph: onnx.ModelProto, spec: ModelSpec) -> ModelSpec:
    """Write both files, each atomically.

    Args:
        path: of the ``.onnx``; the ``.json`` goes beside it.
        graph: what it holds.
        spec: its spec, whose hash is filled in here.

    Returns:
        The spec as written.
    """
    content = graph.SerializeToString()
    spec = spec.replace(sha256=hashlib.sha256(content).hexdigest())
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path.with_suffix(".json")) as described, atomic_write(path) as model:
        model.write_bytes(content)
        spec.save(described)
    return spec
