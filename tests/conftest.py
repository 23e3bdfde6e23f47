"""What the tests share: one thread a process, a cache of their own, and a model small enough to be made on the spot."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from moue.labels import FER2013
from moue.spec import ModelSpec, file_sha256

if TYPE_CHECKING:
    from xdist.scheduler import LoadFileScheduling

# `make test` has a process for each core. torch and OpenCV read these when they are imported, which no test module has
# done yet; the commands that tests start inherit them.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
# A shell starts what it puts in the background deaf to Ctrl-C, and commands that tests interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """A file's tests run in one process, as they share fixtures; so do all tests of the server and the browser."""
    from xdist.scheduler import LoadFileScheduling

    class ByFileOrServer(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "server" if nodeid.startswith("tests/server/") else super()._split_scope(nodeid)

    return ByFileOrServer(config, log)


@pytest.fixture
def hangups_heard() -> Iterator[None]:
    """Commands that a test starts hear of a closed terminal, also where `nohup` has started the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the user's cache out of the tests, and the tests out of it; commands that they start see it too."""
    before = os.environ.get("MOUE_CACHE")
    os.environ["MOUE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["MOUE_CACHE"]
    else:
        os.environ["MOUE_CACHE"] = before


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX model of FER-2013's classes with its spec beside it: random weights (seeded) on a 12×12 thumbnail."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    k = len(FER2013)
    weights = np.random.default_rng(0).normal(0, 0.02, (144, k)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("AveragePool", ["float"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
            helper.make_node("Flatten", ["small"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", 1, 48, 48])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", k])],
        [numpy_helper.from_array(weights, "weights")],
    )
    path = tmp_path_factory.mktemp("models") / "tiny_random.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    ModelSpec("tiny_random", "linear", FER2013.labels, parameters=weights.size, sha256=file_sha256(path)).save(
        path.with_suffix(".json")
    )
    return path
