"""The members' own logits, read from the graph of an ensemble."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moue.preprocess import to_inputs
from moue.runtime.engine import open_graph
from moue.runtime.graph import BATCH_SIZE
from moue.spec import ModelSpec
from moue.tta import tta_logits


def member_logits(path: Path, spec: ModelSpec, images: NDArray[np.uint8]) -> list[NDArray[np.float32]] | None:
    """Logits ``(N, K)`` of each member, averaged over the ensemble's views.

    Args:
        path: the ensemble's ``.onnx`` file, as :func:`moue.ensembles.members.write_ensemble` writes it.
        spec: its spec.
        images: uint8 ``(N, C, H, W)`` of any size.

    Returns:
        None where the graph has no logits of its members, as one that joins their features, or onnx is not installed.
    """
    if find_spec("onnx") is None:
        return None
    import onnx

    graph = onnx.load(path, load_external_data=False)
    names = [f"member{i}/logits" for i in range(len(spec.trained.get("members", ())))]
    computed = {output for node in graph.graph.node for output in node.output}
    if not names or not computed.issuperset(names):
        return None
    graph.graph.node.append(onnx.helper.make_node("Concat", names, ["members"], name="members", axis=1))
    del graph.graph.output[:]
    k = len(names) * len(spec.labels)
    graph.graph.output.append(onnx.helper.make_tensor_value_info("members", onnx.TensorProto.FLOAT, ["N", k]))
    opened = open_graph(graph.SerializeToString(), engine="onnxruntime")
    [port] = opened.inputs

    def logits(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        [output] = opened({port: rows})
        return np.asarray(output)

    pixels = to_inputs(images, spec.size, spec.color)
    return np.split(tta_logits(logits, pixels, spec.views, BATCH_SIZE, spec.crop_size), len(names), axis=1)
