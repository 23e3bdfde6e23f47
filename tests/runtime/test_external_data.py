"""Models are one file: weights elsewhere are found wherever the graph may hold them, and refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from moue.ensembles.voting import merge
from moue.errors import ModelError
from moue.runtime.engine import EngineName, open_graph, open_model
from moue.runtime.external_data import has_external_data
from moue.spec import ModelSpec, file_sha256

Change = Callable[[onnx.ModelProto, onnx.TensorProto], None]


def external() -> onnx.TensorProto:
    """A tensor whose values are in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def nested(tensor: onnx.TensorProto, depth: int) -> onnx.GraphProto:
    graph = helper.make_graph([], "g", [], [], [tensor])
    for _ in range(depth):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=graph)], "g", [], [])
    return graph


def sparse(tensor: onnx.TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=numpy_helper.from_array(np.ones(2, np.float32)), indices=tensor, dims=[2])


PLACES: dict[str, Change] = {
    "initializer": lambda m, t: m.graph.initializer.append(t),
    "sparse initializer": lambda m, t: m.graph.sparse_initializer.append(sparse(t)),
    "constant": lambda m, t: m.graph.node.append(helper.make_node("Constant", [], ["c"], value=t)),
    "list of tensors": lambda m, t: m.graph.node.append(helper.make_node("X", [], ["c"], values=[t])),
    "branch": lambda m, t: m.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=nested(t, 20))),
    "list of graphs": lambda m, t: m.graph.node.append(helper.make_node("X", [], ["y"], graphs=[nested(t, 1)])),
    "function": lambda m, t: m.functions.append(
        helper.make_function("d", "f", [], ["c"], [helper.make_node("Constant", [], ["c"], value=t)], [])
    ),
    "training": lambda m, t: m.training_info.append(onnx.TrainingInfoProto(algorithm=nested(t, 0))),
}


@pytest.mark.parametrize("place", PLACES)
def test_weights_in_another_file_are_found_everywhere(place: str, tiny_onnx: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny_onnx)
    PLACES[place](model, numpy_helper.from_array(np.ones(2, np.float32), "w"))
    assert not has_external_data(model.SerializeToString())
    model = onnx.load(tiny_onnx)
    PLACES[place](model, external())
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    for engine in get_args(EngineName):
        for source in (tmp_path / "model.onnx", model.SerializeToString()):
            with pytest.raises(ModelError, match=r"keeps weights in other files.*Save it as one file"):
                open_graph(source, engine=engine)


@pytest.mark.parametrize("field", ["external_data", "data_location"])
def test_either_sign_of_another_file_is_enough(field: str, tiny_onnx: Path) -> None:
    model = onnx.load(tiny_onnx)
    tensor = external()
    tensor.ClearField(field)
    model.graph.initializer.append(tensor)
    assert has_external_data(model.SerializeToString())


def test_a_model_with_its_weights_beside_it_is_neither_read_nor_merged(tiny_onnx: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(onnx.load(tiny_onnx), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").stat().st_size
    spec = ModelSpec.load(tiny_onnx.with_suffix(".json")).replace(sha256=file_sha256(path))
    spec.save(path.with_suffix(".json"))
    with pytest.raises(ModelError, match=r"model\.onnx keeps weights in other files"):
        open_model(path)
    with pytest.raises(ModelError, match=r"model\.onnx keeps weights in other files"):
        merge([tiny_onnx, path], tmp_path / "both.onnx")
    assert not (tmp_path / "both.onnx").exists()
    # What the message says to type.
    onnx.save(onnx.load(path), path)
    spec.replace(sha256=file_sha256(path)).save(path.with_suffix(".json"))
    (tmp_path / "weights.bin").unlink()
    assert open_model(path).logits(np.zeros((1, 1, 48, 48), np.uint8)).shape == (1, 7)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<?xml version='1.0'?><net/>", "no field"),  # OpenVINO's own format, whose weights are in another file
        (b"\x3a\x7f\x00", "ends within a field"),
        (b"\x3a" + b"\xff" * 20, "no field"),
        (b"\x3b\x3c", "no field"),  # a group, which parsers skip
    ],
)
def test_what_is_no_graph_is_one_sentence(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    for engine in get_args(EngineName):
        with pytest.raises(ModelError, match=f"model.onnx is damaged, or no ONNX graph: .*{reason}"):
            open_graph(path, engine=engine)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_answered(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert has_external_data(content) in (True, False)


@settings(deadline=None)
@given(st.data())
def test_a_broken_graph_never_hides_weights_in_another_file(data: st.DataObject) -> None:
    """One changed byte: what the onnx package still reads as external, the search finds or refuses."""
    model = onnx.ModelProto(graph=nested(external(), 2))
    content = bytearray(model.SerializeToString())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = onnx.load_from_string(bytes(content))
        tensors = list(onnx.external_data_helper._get_all_tensors(parsed))
    except Exception:
        return
    if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in tensors):
        with contextlib.suppress(ValueError):
            assert has_external_data(bytes(content))
