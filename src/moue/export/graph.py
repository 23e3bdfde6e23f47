"""A torch network as an ONNX graph: raw pixels in, logits out, everything between them inside."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from moue._version import __version__
from moue.silence import silenced
from moue.spec import ModelSpec

#: Read by ONNX Runtime from 1.15 and OpenVINO from 2023.1 on; has everything that our networks need.
OPSET = 18
IR_VERSION = 10

#: How a file may store its weights; arithmetic stays float32.
Store = Literal["float32", "float16", "int8"]

#: Tensors of fewer values than this stay float32: biases and scales are small and sensitive to rounding.
MIN_QUANTIZED_SIZE = 256


def trace(network: nn.Module, spec: ModelSpec) -> onnx.ModelProto:
    """Trace a network in evaluation mode; batch norms are fused into the convolutions before them.

    Returns:
        A graph with one input ``images``, uint8 ``(N, C, size, size)``, or of any side for a network that was trained
        on crops, and one output ``logits``, float32 ``(N, K)``.
        The same network gives the same bytes.
    """
    network.eval()
    example = torch.zeros(2, spec.channels, spec.size, spec.size, dtype=torch.uint8, device=_device(network))
    # Trained on crops, a network is given both whole images and crops.
    sides = {2: torch.export.Dim("height"), 3: torch.export.Dim("width")} if spec.crop_size else {}
    # Torch's exporter warns about packages that it could have used.
    with silenced():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("N"), **sides},),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    return tidy(program.model_proto)


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the exporter's metadata about its own machine (source lines, paths), and name moue as the producer."""
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


def quantize_weights(model: onnx.ModelProto, store: Store) -> onnx.ModelProto:
    """A copy whose large weights are stored as float16, or as int8 with a scale for each slice along their first axis:
    an output channel, or an input channel of matrices that the exporter transposes, as a transformer's.

    The file is a half or a quarter as large. The graph itself converts them back to float32; both engines do so once,
    when they load it, so the speed stays the same.
    """
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    if store == "float32":
        return quantized
    widening = []
    # Of a copy of the list: the loop appends scales to it.
    for i, tensor in enumerate([*quantized.graph.initializer]):
        values = numpy_helper.to_array(tensor)
        # A vector with a scale for each of its numbers would not be smaller.
        if values.dtype != np.float32 or values.size < MIN_QUANTIZED_SIZE or (store == "int8" and values.ndim < 2):
            continue
        name, stored = tensor.name, f"{tensor.name}_{store}"
        if store == "float16":
            limit = float(np.finfo(np.float16).max)
            rounded = values.clip(-limit, limit).astype(np.float16)
            widening.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT, name=f"{name}_cast"))
        else:
            # Plain nodes, as ONNX Runtime computes DequantizeLinear at every run: it may belong to 8-bit arithmetic.
            rounded, scale = _per_channel(values)
            quantized.graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
            widening += [
                helper.make_node("Cast", [stored], [f"{name}_wide"], to=TensorProto.FLOAT, name=f"{name}_cast"),
                helper.make_node("Mul", [f"{name}_wide", f"{name}_scale"], [name], name=f"{name}_mul"),
            ]
        quantized.graph.initializer[i].CopyFrom(numpy_helper.from_array(rounded, stored))
    nodes = [*widening, *quantized.graph.node]
    del quantized.graph.node[:]
    quantized.graph.node.extend(nodes)
    return tidy(quantized)


def _per_channel(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Whole numbers in -127..127 and the scale of each slice along the first axis."""
    scale = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True) / np.float32(127)
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    return np.rint(values / scale).astype(np.int8), scale


def _device(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))
