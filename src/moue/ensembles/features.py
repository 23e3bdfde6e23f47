"""What a network computes before its last layer, out of its exported graph."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moue.errors import ModelError, quoted, require
from moue.export import export
from moue.preprocess import to_inputs
from moue.progress import Report
from moue.runtime.engine import open_graph
from moue.runtime.graph import BATCH_SIZE
from moue.runtime.weights import find_model
from moue.spec import ModelSpec
from moue.trained.open import run_of, spec_of

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Trunk:
    """A trained network without its last layer."""

    spec: ModelSpec
    """The network's own."""
    graph: onnx.ModelProto
    """From the images, uint8 ``(N, C, S, S)``, to the features, float32 ``(N, D)``."""
    whole: onnx.ModelProto
    """The network's own graph, with the features as a second output."""
    removed: int
    """How many numbers the last layer had."""

    def __call__(
        self, images: NDArray[np.uint8], progress: Report | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features ``(N, D)``, and the network's logits ``(N, K)``.

        Args:
            images: uint8 ``(N, C, H, W)`` of any size and color; N may be 0. Crops of the spec's ``crop_size`` in its
                color stay as they are.
            progress: called after each batch.
        """
        graph = open_graph(self.whole.SerializeToString(), engine="onnxruntime")
        [name] = graph.inputs
        spec, found = self.spec, []
        # Without images the graph is run too, for the number of features.
        for start in range(0, len(images), BATCH_SIZE) or [0]:
            pixels = images[start : start + BATCH_SIZE]
            if pixels.shape[1:] not in spec.input_shapes:
                pixels = to_inputs(pixels, spec.size, spec.color)
            found.append(graph({name: np.ascontiguousarray(pixels)}))
            if progress:
                progress(start + len(pixels), len(images))
        logits, features = (np.concatenate(part) for part in zip(*found, strict=True))
        return features, logits


def open_trunk(model: str | Path) -> Trunk:
    """The part of a trained model before its last layer.

    Args:
        model: a run folder, which is exported for it; a name of ``moue models``; the path of an ``.onnx`` with its
            ``.json``.

    Raises:
        UnknownName: when there is no such model.
        ModelError: when it is damaged, or does not end in one linear layer, as an ensemble.
        MissingExtra: without onnx, for a run without torch, or without ``moue-models``.
    """
    onnx = require("onnx", "train")
    spec, graph = _exported(model)
    last = _last_layer(graph, spec)
    needed, nodes = {last.input[0]}, []
    for node in reversed(graph.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    kept = [tensor for tensor in graph.graph.initializer if tensor.name in needed]
    features = onnx.helper.make_tensor_value_info(last.input[0], onnx.TensorProto.FLOAT, ["N", None])
    cut, whole = onnx.ModelProto(), onnx.ModelProto()
    for copy in (cut, whole):
        copy.CopyFrom(graph)
    for field, values in (("node", [*reversed(nodes)]), ("initializer", kept), ("output", [features])):
        del getattr(cut.graph, field)[:]
        getattr(cut.graph, field).extend(values)
    whole.graph.output.append(features)
    size = [sum(math.prod(t.dims) for t in tensors) for tensors in (graph.graph.initializer, kept)]
    return Trunk(spec, cut, whole, size[0] - size[1])


def _exported(model: str | Path) -> tuple[ModelSpec, onnx.ModelProto]:
    """A model's spec and graph; that of a run is made here."""
    import onnx

    if (run := run_of(model)) is not None:
        with tempfile.TemporaryDirectory(prefix="moue-trunk-") as folder:
            path = Path(folder) / "run.onnx"
            export(run, path, name=spec_of(run).name)
            return spec_of(run), onnx.load(path)
    found = find_model(model)
    return found.spec, onnx.load(found.path, load_external_data=False)


def _last_layer(graph: onnx.ModelProto, spec: ModelSpec) -> onnx.NodeProto:
    """The product of features and weights that the logits are, but for a bias."""
    producers = {output: node for node in graph.graph.node for output in node.output}
    last = producers.get(graph.graph.output[0].name)
    if last is not None and last.op_type == "Add":
        products = [producers[name] for name in last.input if name in producers]
        last = products[0] if len(products) == 1 else None
    if last is None or last.op_type not in ("Gemm", "MatMul"):
        remedy = ": it is an ensemble. Give one of its members" if "members" in spec.trained else ""
        raise ModelError(
            f"the model {quoted(spec.name)} does not end in one linear layer, before which features are{remedy}."
        )
    return last
