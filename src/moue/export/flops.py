"""The FLOPs of an exported graph."""

from __future__ import annotations

import math
from pathlib import Path

import onnx


def gflop(path: Path) -> float | None:
    """Billions of floating-point operations for one image, two for each multiplication.

    Convolutions and matrix products are counted, as torch's own counter does; None where a shape stays unknown.
    """
    model = onnx.load(path, load_external_data=False)
    for port in model.graph.input:
        if port.type.tensor_type.shape.dim[0].dim_param:
            port.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for port in (*graph.input, *graph.value_info, *graph.output):
        shapes[port.name] = tuple(d.dim_value for d in port.type.tensor_type.shape.dim)
    total = 0
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            first, weights = (shapes.get(name, (0,)) for name in node.input[:2])
            inner = math.prod(weights[1:]) if node.op_type == "Conv" else first[-1]
            flops = math.prod(shapes.get(node.output[0], (0,))) * inner
            if not flops:
                return None
            total += 2 * flops
    return round(total / 1e9, 4)
