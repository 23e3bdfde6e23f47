"""The one seam behind which graphs run: ONNX Runtime (base install, quick to start) or OpenVINO (extra ``fast``, quick
to run). Both read the same ONNX files and give the same labels.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from moue.cache import cache_dir
from moue.errors import ModelError, UnknownName, UsageError, require
from moue.runtime.results import Predictions, softmax
from moue.runtime.validation import check
from moue.spec import ModelSpec
from moue.tta import averaged

EngineName = Literal["auto", "onnxruntime", "openvino"]
Shape = tuple[int | None, ...]


class Graph(Protocol):
    """A compiled ONNX graph. Calling it is safe from several threads at once."""

    engine: str
    """"onnxruntime" or "openvino"."""
    inputs: dict[str, tuple[str, Shape]]
    """Name to dtype ("uint8", "float32") and shape; None is a dimension of any size."""
    outputs: dict[str, tuple[str, Shape]]
    """The same of the outputs, in the order in which a call returns them."""

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the graph: arrays by input name in, arrays in output order out."""
        ...


def open_graph(
    source: str | Path | bytes, *, engine: EngineName = "auto", threads: int = 0, many: bool = False
) -> Graph:
    """Load and compile an ONNX graph.

    Args:
        source: path of an ``.onnx`` file, or its bytes.
        engine: "onnxruntime", "openvino", or "auto", see :func:`choose`.
        threads: CPU threads; 0 takes one for each physical core that this process may use.
        many: whether thousands of calls are to come (folders, videos, serving): what "auto" goes by.

    Raises:
        ModelError: when the file is missing or no ONNX graph.
        MissingExtra: when OpenVINO is asked for and not installed.
        UsageError: for an unknown engine or a negative number of threads.
    """
    check("threads", threads, 0, whole=True)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise ModelError(f"{source} is missing: no such model file.")
    if choose(engine, many=many) == "openvino":
        return OpenVinoGraph(source, threads=threads)
    return OnnxRuntimeGraph(source, threads=threads)


def choose(engine: EngineName = "auto", *, many: bool = False) -> str:
    """The engine that will run: "onnxruntime" or "openvino".

    "auto" is ONNX Runtime for a few images, as OpenVINO takes half a second to import; for many it is OpenVINO
    where that is installed.

    Raises:
        UnknownName: for an unknown engine.
    """
    if engine not in get_args(EngineName):
        raise UnknownName("engine", str(engine), get_args(EngineName))
    if engine != "auto":
        return engine
    return "openvino" if many and importlib.util.find_spec("openvino") else "onnxruntime"


class OnnxRuntimeGraph:
    """A graph in ONNX Runtime, on its CPU provider."""

    engine = "onnxruntime"

    def __init__(self, source: str | Path | bytes, *, threads: int = 0) -> None:
        import onnxruntime

        # Its Windows builds send usage data unless told otherwise.
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads or _allowed_threads()
        options.inter_op_num_threads = 1
        # A thread that waits for its next task by spinning, long by default, takes the core from whatever else is
        # at work: the other graph's threads, a video's decoder, another program. Older versions know no such key.
        options.add_session_config_entry("session.intra_op.spin_duration_us", "100")
        model = source if isinstance(source, bytes) else str(source)
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Failed to …": its last part is for people.
            raise _unreadable(source, " ".join(str(error).rsplit(" : ", 1)[-1].split())[:200]) from error
        self.inputs = {n.name: _described(n) for n in self._session.get_inputs()}
        self.outputs = {n.name: _described(n) for n in self._session.get_outputs()}
        self._names = list(self.outputs)

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the graph; see :class:`Graph`."""
        return list(self._session.run(self._names, dict(inputs)))


class OpenVinoGraph:
    """A graph in OpenVINO, on the CPU; compiled once, then read from the user's cache folder."""

    engine = "openvino"

    def __init__(self, source: str | Path | bytes, *, threads: int = 0) -> None:
        # Importing it reports to Google Analytics under an id kept in the home directory; without this package it
        # falls back to a stub. Nothing that reads faces here calls home.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        openvino = require("openvino", "fast")
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            # Else it calculates in bfloat16 where the processor multiplies that, and boxes move by some pixels.
            "EXECUTION_MODE_HINT": "ACCURACY",
            "INFERENCE_NUM_THREADS": threads or _allowed_threads(),
        }
        # A home that cannot be written to costs compile time, not the answer.
        with contextlib.suppress(OSError):
            settings["CACHE_DIR"] = str(cache_dir("openvino"))
        core = openvino.Core()
        try:
            model = core.read_model(source if isinstance(source, bytes) else str(source))
            self._compiled = core.compile_model(model, "CPU", settings)
        except Exception as error:
            raise _unreadable(source, "OpenVINO cannot read it.") from error
        self.inputs = {n.any_name: _described_openvino(n) for n in self._compiled.inputs}
        self.outputs = {n.any_name: _described_openvino(n) for n in self._compiled.outputs}
        self._idle: list[Any] = []
        self._lock = threading.Lock()

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the graph; see :class:`Graph`."""
        # A request serves one call at a time; idle ones are kept, as making one costs more than running a small graph.
        with self._lock:
            request = self._idle.pop() if self._idle else None
        if request is None:
            request = self._compiled.create_infer_request()
        answer = request.infer(dict(inputs), share_inputs=True)
        arrays = [np.array(answer[i]) for i in range(len(self.outputs))]
        with self._lock:
            self._idle.append(request)
        return arrays


class Engine:
    """A trained model, ready to classify faces; safe to share between threads.

    Args:
        graph: takes uint8 ``(N, C, size, size)`` and gives float logits ``(N, K)``.
        spec: what the graph was trained for.

    Raises:
        ModelError: when the graph does not take or give what the spec says.
    """

    def __init__(self, graph: Graph, spec: ModelSpec) -> None:
        self.graph, self.spec = graph, spec
        wanted = ("uint8", (None, spec.channels, spec.size, spec.size))
        self._input = _only(spec, "input", graph.inputs, wanted)
        _only(spec, "output", graph.outputs, ("float32", (None, len(spec.labels))))

    def logits(self, images: NDArray[np.uint8], batch: int = 64) -> NDArray[np.float32]:
        """Classify face crops.

        Args:
            images: uint8 ``(N, C, size, size)``, 0..255, in the spec's color; N may be 0.
            batch: how many go through the graph at once; changes memory and speed, not the answers.

        Returns:
            float32 ``(N, K)``, before temperature and softmax.

        Raises:
            UsageError: when dtype or shape is another, or batch is below 1.
        """
        self._check(images, batch)
        answer = np.empty((len(images), len(self.spec.labels)), np.float32)
        for start in range(0, len(images), batch):
            part = np.ascontiguousarray(images[start : start + batch])
            answer[start : start + batch] = self.graph({self._input: part})[0]
        return answer

    def averaged(self, images: NDArray[np.uint8], views: int, batch: int = 64) -> NDArray[np.float32]:
        """Logits of face crops, each averaged over its views: :func:`moue.tta.averaged` of :meth:`logits`.

        Args:
            images: as for :meth:`logits`.
            views: one of :data:`moue.spec.VIEWS`.
            batch: how many views go through the graph at once; those of one face always do so together.

        Raises:
            UsageError: as :meth:`logits`, and for another number of views.
        """
        self._check(images, batch)
        return averaged(lambda rows: self.logits(rows, max(batch, views)), images, views, batch)

    def predict(self, images: NDArray[np.uint8], batch: int = 64) -> Predictions:
        """Probabilities of face crops: logits, averaged over the spec's views, divided by the spec's temperature,
        through softmax.

        Args:
            images: as for :meth:`logits`.
            batch: as for :meth:`averaged`.

        Raises:
            UsageError: as :meth:`logits`.
        """
        logits = self.averaged(images, self.spec.views, batch)
        return Predictions(softmax(logits, self.spec.temperature), self.spec.labels, self.spec.uncertain_below)

    def _check(self, images: NDArray[np.uint8], batch: int) -> None:
        spec = self.spec
        if batch < 1:
            raise UsageError(f"batch must be at least 1. Got {batch!r} instead.")
        if images.dtype != np.uint8 or images.shape[1:] != (spec.channels, spec.size, spec.size):
            raise UsageError(
                f"the model {spec.name!r} takes uint8 (N, {spec.channels}, {spec.size}, {spec.size}). "
                f"Got {images.dtype} {images.shape} instead."
            )


def open_model(name: str | Path, *, engine: EngineName = "auto", threads: int = 0, many: bool = False) -> Engine:
    """Find a trained model, check its hash, compile it.

    Args:
        name: a name of ``moue models``, the path of an ``.onnx`` with its ``.json``, or a run folder with an exported
            ``model.onnx``.
        engine: see :func:`open_graph`.
        threads: see :func:`open_graph`.
        many: see :func:`open_graph`.

    Raises:
        UnknownName: when there is no such model.
        ModelError: when it is damaged, or not what its spec says.
        MissingExtra: when the model or the engine is in an extra that is not installed.
    """
    from moue.runtime.weights import find_model

    path, spec = find_model(name)
    return Engine(open_graph(path, engine=engine, threads=threads, many=many), spec)


def _only(spec: ModelSpec, what: str, ports: Mapping[str, tuple[str, Shape]], wanted: tuple[str, Shape]) -> str:
    """The name of the graph's only input or output, which must be as ``wanted``."""
    if len(ports) == 1:
        [(name, (dtype, shape))] = ports.items()
        if dtype == wanted[0] and shape == wanted[1]:
            return name
    came = ", ".join(f"{dtype} {_words(shape)}" for dtype, shape in ports.values()) or "none"
    raise ModelError(
        f"the graph of the model {spec.name!r} must have one {what}, {wanted[0]} {_words(wanted[1])}. "
        f"Got {came} instead."
    )


def _words(shape: Shape) -> str:
    return "(" + ", ".join("N" if side is None else str(side) for side in shape) + ")"


def _described(port: Any) -> tuple[str, Shape]:
    dtype = {"tensor(float)": "float32", "tensor(double)": "float64"}.get(port.type, port.type[7:-1])
    return dtype, tuple(side if isinstance(side, int) else None for side in port.shape)


def _described_openvino(port: Any) -> tuple[str, Shape]:
    dtype = np.dtype(port.element_type.to_dtype()).name
    return dtype, tuple(None if side.is_dynamic else side.get_length() for side in port.partial_shape)


def _allowed_threads() -> int:
    """How many threads this process may keep busy; 0 (the engine's choice: one a physical core) where that is all."""
    total = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    return allowed if allowed < total else 0


def _unreadable(source: str | Path | bytes, reason: str) -> ModelError:
    name = "the model" if isinstance(source, bytes) else str(source)
    return ModelError(f"{name} is damaged, or no ONNX graph: {reason}")
