"""A torch network as an ONNX graph: raw pixels in, logits out, everything between them inside."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from moue._version import __version__
from moue.spec import ModelSpec

#: Read by ONNX Runtime from 1.15 and OpenVINO from 2023.1 on; has everything that our networks need.
OPSET = 18
IR_VERSION = 10

#: Weights of fewer values than this stay float32 in a half-sized file: biases and scales weigh nothing and count most.
HALVED_FROM = 256


def trace(network: nn.Module, spec: ModelSpec) -> onnx.ModelProto:
    """Trace a network in evaluation mode; batch norms are folded into the convolutions before them.

    Returns:
        A graph with one input ``images``, uint8 ``(N, C, size, size)``, and one output ``logits``, float32 ``(N, K)``.
        The same network gives the same bytes.
    """
    network.eval()
    example = torch.zeros(2, spec.channels, spec.size, spec.size, dtype=torch.uint8, device=_device(network))
    with _quiet():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    return tidy(program.model_proto)


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what an exporter notes about its own machine (source lines, paths), and name ourselves as the producer."""
    for holder in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        holder.doc_string = ""
        del holder.metadata_props[:]
    for initializer in model.graph.initializer:
        initializer.doc_string = ""
        del initializer.metadata_props[:]
    del model.graph.value_info[:]
    used = {node.domain for node in model.graph.node}
    kept = [o for o in model.opset_import if o.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    model.ir_version = min(model.ir_version, IR_VERSION)
    model.producer_name, model.producer_version = "moue", __version__
    onnx.checker.check_model(model)
    return model


def halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose large weights are stored as float16 and cast to float32 inside the graph.

    The file is half as large; both engines do the cast once, when they load it, so the speed stays the same.
    """
    small = onnx.ModelProto()
    small.CopyFrom(model)
    casts = []
    for i, tensor in enumerate(small.graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < HALVED_FROM:
            continue
        stored = f"{tensor.name}_half"
        limit = float(np.finfo(np.float16).max)
        half = numpy_helper.from_array(values.clip(-limit, limit).astype(np.float16), stored)
        casts.append(
            helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT, name=f"{tensor.name}_cast")
        )
        small.graph.initializer[i].CopyFrom(half)
    nodes = [*casts, *small.graph.node]
    del small.graph.node[:]
    small.graph.node.extend(nodes)
    return tidy(small)


def _device(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Torch's exporter warns about packages that it could have used and that nobody asked for."""
    logger: Any = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
