"""What the tests of ensembles share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from members import Make
from onnx import TensorProto, helper, numpy_helper

from moue.export.graph import quantize_weights
from moue.labels import FER2013
from moue.spec import ModelSpec, file_sha256


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a model of one convolution and random weights; all such models have the same names inside."""

    def made(name: str, seed: int, *, store: str = "float32", opset: int = 18, **spec: object) -> Path:
        described = ModelSpec(
            **{"name": name, "network": "compact", "labels": FER2013.labels, "size": 12, "parameters": 700, **spec}  # type: ignore[arg-type]
        )
        channels, size, k = described.channels, described.size, len(described.labels)
        weights = np.random.default_rng(seed).normal(0, 0.001, (k, channels, size, size)).astype(np.float32)
        model = helper.make_model(
            helper.make_graph(
                [
                    helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT, name="cast"),
                    helper.make_node("Conv", ["float", "weights"], ["far"], name="conv"),
                    helper.make_node("Flatten", ["far"], ["logits"], name="flatten"),
                ],
                "net",
                [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", channels, size, size])],
                [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", k])],
                [numpy_helper.from_array(weights, "weights")],
            ),
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=9,
        )
        path = tmp_path / name / "model.onnx"
        path.parent.mkdir(exist_ok=True)
        onnx.save(quantize_weights(model, store), path)  # type: ignore[arg-type]
        described.replace(sha256=file_sha256(path)).save(path.with_suffix(".json"))
        return path

    return made
