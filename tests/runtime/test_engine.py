"""Graphs run in either engine, alone or from many threads, and what cannot run says why in a sentence."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from moue.cache import cache_dir
from moue.errors import BrokenPackage, MissingExtra, ModelError, UnknownName, UsageError
from moue.runtime.engine import Engine, EngineName, choose_engine, open_graph, open_model
from moue.runtime.results import softmax
from moue.runtime.throughput import faces_per_second
from moue.spec import ModelSpec

ENGINES: list[EngineName] = ["onnxruntime", "openvino"]
SPEC = ModelSpec("small", "linear", tuple("abcdefg"), size=12)


def linear(
    channels: int = 1, size: int = 12, classes: int = 7, dtype: int = TensorProto.UINT8, rows: object = "N"
) -> bytes:
    """A graph that casts, flattens and multiplies by seeded weights."""
    weights = np.random.default_rng(0).normal(0, 0.02, (channels * size * size, classes)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["float"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("images", dtype, [rows, channels, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [rows, classes])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (75, 1, 12, 12), dtype=np.uint8)


@pytest.mark.parametrize("engine", ENGINES)
def test_results_do_not_depend_on_the_batch_or_its_order(engine: EngineName, images: np.ndarray) -> None:
    model = Engine(open_graph(linear(), engine=engine), SPEC)
    whole = model.logits(images)
    assert whole.dtype == np.float32
    assert whole.shape == (75, 7)
    for batch in (1, 7, 75, 1000):
        assert np.abs(model.logits(images, batch) - whole).max() < 1e-4
    order = np.random.default_rng(2).permutation(75)
    assert np.abs(model.logits(images[order]) - whole[order]).max() < 1e-4
    assert model.logits(images[:0]).shape == (0, 7)
    assert len(model.predict(images[:0])) == 0


def test_both_engines_agree(images: np.ndarray) -> None:
    a, b = (Engine(open_graph(linear(), engine=engine), SPEC).logits(images) for engine in ENGINES)
    assert np.abs(a - b).max() < 1e-4
    assert np.array_equal(a.argmax(1), b.argmax(1))


@pytest.mark.parametrize("engine", ENGINES)
def test_one_engine_serves_many_threads(engine: EngineName, images: np.ndarray) -> None:
    model = Engine(open_graph(linear(), engine=engine, threads=1), SPEC)
    whole = model.logits(images)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: model.logits(images[i : i + 5]), list(range(70)) * 4))
    for i, result in zip(list(range(70)) * 4, results, strict=True):
        assert np.abs(result - whole[i : i + 5]).max() < 1e-4


@pytest.mark.parametrize("engine", ENGINES)
def test_a_result_survives_the_next_call(engine: EngineName, images: np.ndarray) -> None:
    graph = open_graph(linear(), engine=engine)
    first = graph({"images": images[:5]})[0]
    kept = first.copy()
    graph({"images": images[5:10]})
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("engine", ENGINES)
def test_strided_images_are_read_as_they_look(engine: EngineName, images: np.ndarray) -> None:
    model = Engine(open_graph(linear(), engine=engine), SPEC)
    mirrored = images[..., ::-1]
    assert np.abs(model.logits(mirrored) - model.logits(mirrored.copy())).max() < 1e-6


@pytest.mark.parametrize("engine", ENGINES)
def test_a_graph_tells_its_inputs_and_outputs(engine: EngineName) -> None:
    graph = open_graph(linear(channels=3), engine=engine)
    assert graph.engine == engine
    assert graph.inputs == {"images": ("uint8", (None, 3, 12, 12))}
    assert graph.outputs == {"logits": ("float32", (None, 7))}


def test_probabilities_follow_temperature_and_views(images: np.ndarray) -> None:
    graph = open_graph(linear())
    one = Engine(graph, SPEC.replace(temperature=2.0, uncertain_below=0.5))
    assert np.allclose(one.predict(images).probabilities, softmax(one.logits(images), 2.0), atol=1e-6)
    assert one.predict(images).uncertain_below == 0.5
    two = Engine(graph, SPEC.replace(views=2))
    both = (one.logits(images) + one.logits(images[..., ::-1])) / 2
    assert np.allclose(two.predict(images).probabilities, softmax(both), atol=1e-6)
    assert np.allclose(two.predict(images[..., ::-1]).probabilities, two.predict(images).probabilities, atol=1e-5)


def test_auto_takes_openvino_for_many_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_engine() == "onnxruntime"
    assert choose_engine(optimize_for="throughput") == "openvino"
    assert open_graph(linear(), optimize_for="throughput").engine == "openvino"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choose_engine(optimize_for="throughput") == "onnxruntime"


def test_without_openvino_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"pip install 'moue\[fast\]'"):
        open_graph(linear(), engine="openvino")


@pytest.mark.parametrize("content", ["raise ImportError('libtbb.so.12 is missing')", "raise OSError('torn')", ""])
def test_auto_goes_on_without_an_openvino_that_does_not_load(
    content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("moue.runtime.accelerators._GIVEN_UP", set())
    with pytest.warns(UserWarning, match="openvino is installed and does not load: .*: onnxruntime runs"):
        assert open_graph(linear(), optimize_for="throughput").engine == "onnxruntime"
    assert choose_engine(optimize_for="throughput") == "onnxruntime"
    with pytest.raises(BrokenPackage, match="Install it again: pip install --force-reinstall openvino"):
        open_graph(linear(), engine="openvino")
    monkeypatch.delitem(sys.modules, "openvino", raising=False)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "content",
    [
        b"\x08\0\0\0\x80\x0a\x20\x0a\x06pixGls",
        b"node { name: 'a' op: 'Const' }",
        b"\x08\0",
        b'<?xml version="1.0"?><net name="a" version="11"><layers/><edges/></net>',
    ],
)
def test_what_is_no_onnx_is_one_sentence_and_nothing_is_printed(
    engine: EngineName, content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Even if another framework's reader might take it."""
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    for source in (content, path):
        with pytest.raises(ModelError):
            open_graph(source, engine=engine)
    assert capfd.readouterr() == ("", "")


def test_openvino_keeps_compiled_graphs_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOUE_CACHE", str(tmp_path / "cache"))
    open_graph(linear(), engine="openvino")
    assert list(cache_dir("openvino").glob("*.blob"))


def test_a_cache_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MOUE_CACHE", str(tmp_path / "file" / "cache"))
    assert open_graph(linear(), engine="openvino").inputs


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_graph_is_a_sentence(engine: EngineName, tmp_path: Path) -> None:
    whole = linear()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    for source in (tmp_path / "cut.onnx", whole[: len(whole) // 2], b"not a graph"):
        with pytest.raises(ModelError, match="damaged, or no ONNX graph") as caught:
            open_graph(source, engine=engine)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="is missing"):
        open_graph(tmp_path / "none.onnx", engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("graph", "words"),
    [
        ({"channels": 3}, r"input, uint8 \(N, 1, 12, 12\)\. Got uint8 \(N, 3, 12, 12\)"),
        ({"size": 48}, r"Got uint8 \(N, 1, 48, 48\)"),
        ({"classes": 8}, r"output, float32 \(N, 7\)\. Got float32 \(N, 8\)"),
        ({"dtype": TensorProto.FLOAT}, r"Got float32 \(N, 1, 12, 12\)"),
        ({"rows": 4}, r"Got uint8 \(4, 1, 12, 12\)"),
    ],
)
def test_a_graph_of_another_shape_is_a_sentence(engine: EngineName, graph: dict[str, int], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        Engine(open_graph(linear(**graph), engine=engine), SPEC)


def graph_of(nodes: list[onnx.NodeProto], table: np.ndarray) -> bytes:
    """A graph that says that it gives a row an image; nodes go from "float" and "table" to "logits"."""
    graph = helper.make_graph(
        [helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT), *nodes],
        "liar",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 1, 12, 12])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 7])],
        [numpy_helper.from_array(table.astype(np.float32), "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def test_a_graph_that_fails_as_it_runs_is_a_sentence_that_names_the_model(images: np.ndarray) -> None:
    node = helper.make_node
    index = [
        node("ReduceMax", ["float"], ["largest"], axes=[1, 2, 3], keepdims=0),
        node("Cast", ["largest"], ["index"], to=TensorProto.INT64),
        node("Gather", ["table", "index"], ["logits"], axis=0),
    ]
    model = Engine(open_graph(graph_of(index, np.zeros((10, 7))), engine="onnxruntime"), SPEC)
    assert model.logits(images * 0).shape == (75, 7)
    with pytest.raises(ModelError, match=r"the model 'small' fails as it runs: .*out of data bounds") as caught:
        model.logits(images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine", ENGINES)
def test_logits_that_are_none_are_a_sentence_that_names_the_model(engine: EngineName, images: np.ndarray) -> None:
    node = helper.make_node
    pixels = [
        node("NonZero", ["float"], ["columns"]),
        node("Transpose", ["columns"], ["rows"], perm=[1, 0]),
        node("Cast", ["rows"], ["bright"], to=TensorProto.FLOAT),
        node("MatMul", ["bright", "table"], ["logits"]),
    ]
    rows = Engine(open_graph(graph_of(pixels, np.ones((4, 7))), engine=engine), SPEC)
    ones = np.ones_like(images)
    with pytest.raises(ModelError, match=r"'small' must give finite numbers \(2, 7\)\. Got \(288, 7\) instead"):
        rows.logits(ones[:2])
    mean = [
        node("ReduceMean", ["float"], ["mean"], axes=[2, 3], keepdims=0),
        node("MatMul", ["mean", "table"], ["logits"]),
    ]
    infinite = Engine(open_graph(graph_of(mean, np.full((1, 7), np.inf)), engine=engine), SPEC)
    with pytest.raises(ModelError, match=r"'small' must give finite numbers \(2, 7\)\. Got NaN or infinity instead"):
        infinite.predict(ones[:2])


def test_usage_errors_are_sentences(images: np.ndarray) -> None:
    with pytest.raises(UnknownName, match="Did you mean openvino"):
        open_graph(linear(), engine="openvin")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="threads must be"):
        open_graph(linear(), threads=-1)
    model = Engine(open_graph(linear()), SPEC)
    with pytest.raises(UsageError, match=r"takes uint8 \(N, 1, 12, 12\)\. Got float32 \(75, 1, 12, 12\)"):
        model.logits(images.astype(np.float32))
    with pytest.raises(UsageError, match=r"Got uint8 \(75, 12, 12\)"):
        model.logits(images[:, 0])
    with pytest.raises(UsageError, match="batch_size must be"):
        model.logits(images, batch_size=0)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_opens_by_its_path(engine: EngineName, tiny_onnx: Path) -> None:
    model = open_model(tiny_onnx, engine=engine, threads=1)
    assert model.spec.name == "tiny_random"
    assert model.logits(np.zeros((3, 1, 48, 48), np.uint8)).shape == (3, 7)
    assert faces_per_second(model, batch_size=2, seconds=0.01) > 0


def test_opening_a_model_imports_no_more_than_it_needs(tiny_onnx: Path) -> None:
    code = (
        "import sys; from moue.runtime.engine import open_model\n"
        f"open_model({str(tiny_onnx)!r})\n"
        "print(sorted({'torch', 'openvino', 'onnx', 'av', 'PIL', 'logging.config'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_openvino_calls_nobody(tmp_path: Path, tiny_onnx: Path) -> None:
    code = (
        "import sys, urllib.request; from moue.runtime.engine import open_model\n"
        "urllib.request.urlopen = lambda *_, **__: print('called home')\n"
        f"open_model({str(tiny_onnx)!r}, engine='openvino')\n"
        "print(sys.modules['openvino_telemetry'])"
    )
    # Continuous integration is one of the places where OpenVINO's telemetry would stay silent by itself.
    home = {k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD", "JENKINS_URL")} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=home)
    assert done.stdout.strip() == "None"
    assert not (tmp_path / "intel").exists()


def test_onnx_runtime_keeps_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    # An initializer that is also a graph input makes ONNX Runtime warn for each of them.
    model = onnx.load_from_string(linear())
    model.graph.input.append(helper.make_tensor_value_info("weights", TensorProto.FLOAT, [144, 7]))
    open_graph(model.SerializeToString())
    assert capfd.readouterr().err == ""
