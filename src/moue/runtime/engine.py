"""Runs ONNX graphs in one of two engines: ONNX Runtime (base install, quick to start) or OpenVINO (extra ``fast``,
quick to run). Both read the same files and give the same labels.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from moue.cache import cache_dir
from moue.damage import lacks_memory
from moue.errors import ModelError, UsageError, quoted, shortened
from moue.runtime.external_data import has_external_data
from moue.runtime.results import Predictions, class_probabilities
from moue.runtime.validation import check_choice, check_number
from moue.spec import ModelSpec
from moue.telemetry import import_onnxruntime, import_openvino
from moue.tta import tta_logits

EngineName = Literal["auto", "onnxruntime", "openvino"]
#: What the engine "auto" is chosen for: "latency" for a few images, as ONNX Runtime starts sooner; "throughput" for
#: thousands (folders, videos, serving), as OpenVINO runs faster.
OptimizeFor = Literal["latency", "throughput"]
#: How engines say that memory ran out, for what they compute, their threads or their libraries; some do not say it, so
#: that the bytes that a small model needs are tried, too.
_OUT_OF_MEMORY = (
    *("bad_alloc", "bad allocation", "allocate memory", "out of memory"),
    *("Resource temporarily unavailable", "failed to map segment"),
)
_LOADING_BYTES = 64 << 20

Shape = tuple[int | None, ...]
Port = tuple[str, Shape]


class Graph(Protocol):
    """A compiled ONNX graph. Calling it is safe from several threads at once."""

    engine: str
    """"onnxruntime" or "openvino"."""
    inputs: dict[str, Port]
    """Name to dtype ("uint8", "float32") and shape; None is a dimension of any size."""
    outputs: dict[str, Port]
    """The same of the outputs, in the order in which a call returns them."""

    def __call__(self, inputs: Mapping[str, NDArray[Any]], *, release: bool = False) -> list[NDArray[Any]]:
        """Run the graph: arrays by input name in, arrays in output order out.

        With ``release`` the memory that the run took is given back to the system. It otherwise stays for the next run,
        which is then up to a third faster.
        """
        ...


def open_graph(
    source: str | Path | bytes, *, engine: EngineName = "auto", threads: int = 0, optimize_for: OptimizeFor = "latency"
) -> Graph:
    """Load and compile an ONNX graph.

    Args:
        source: path of an ``.onnx`` file, or its bytes.
        engine: "onnxruntime", "openvino", or "auto", see :func:`choose_engine`.
        threads: CPU threads; 0 takes one for each physical core that this process may use.
        optimize_for: what "auto" goes by, see :data:`OptimizeFor`.

    Raises:
        ModelError: when the file is missing, no ONNX graph, or one with weights in other files.
        MissingExtra: when OpenVINO is asked for and not installed.
        UsageError: for an unknown engine or a negative number of threads.
    """
    check_number("threads", threads, 0, integer=True)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise ModelError(f"{source} is missing: no such model file.")
    try:
        external = has_external_data(source)
    except ValueError as error:
        raise _unreadable(source, str(error)) from error
    if external:
        raise ModelError(
            f"{_name(source)} keeps weights in other files, which its hash does not cover. Save it as one file, with "
            "onnx.save(onnx.load(FILE), FILE), and put the new sha256 into its .json."
        )
    if choose_engine(engine, optimize_for) == "openvino":
        return OpenVinoGraph(source, threads=threads)
    return OnnxRuntimeGraph(source, threads=threads)


def choose_engine(engine: EngineName = "auto", optimize_for: OptimizeFor = "latency") -> str:
    """The engine that will run: "onnxruntime" or "openvino".

    "auto" is OpenVINO for "throughput" where it is installed, else ONNX Runtime, as OpenVINO takes half a second to
    import.

    Raises:
        UnknownName: for an unknown engine or an unknown ``optimize_for``.
    """
    check_choice("engine", engine, get_args(EngineName))
    check_choice("value of optimize_for", optimize_for, get_args(OptimizeFor))
    if engine != "auto":
        return engine
    return "openvino" if optimize_for == "throughput" and importlib.util.find_spec("openvino") else "onnxruntime"


class OnnxRuntimeGraph:
    """A graph in ONNX Runtime, on its CPU provider."""

    engine = "onnxruntime"

    def __init__(self, source: str | Path | bytes, *, threads: int = 0) -> None:
        try:
            onnxruntime = import_onnxruntime()
        except ImportError as error:
            _reraise_memory_error(error, source)
            raise
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads or _thread_limit()
        options.inter_op_num_threads = 1
        # By default, threads spin for long while they wait for work, which takes the core from the other graph, from a
        # video's decoder or from another program. Older versions ignore the key.
        options.add_session_config_entry("session.intra_op.spin_duration_us", "100")
        model = source if isinstance(source, bytes) else str(source)
        try:
            # Version 1.23 fuses a padding with zeros into a max-pooling, whose padding is -inf: resnet50v2's logits
            # would be off by 0.05.
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], disabled_optimizers=["Pad_Fusion"]
            )
        except Exception as error:
            _reraise_memory_error(error, source)
            # "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Failed to …": the last part is the message.
            raise _unreadable(source, " ".join(str(error).rsplit(" : ", 1)[-1].split())[:200]) from error
        self.inputs = {n.name: _onnxruntime_port(n) for n in self._session.get_inputs()}
        self.outputs = {n.name: _onnxruntime_port(n) for n in self._session.get_outputs()}
        self._names = list(self.outputs)
        self._releasing = onnxruntime.RunOptions()
        self._releasing.log_severity_level = 4
        self._releasing.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def __call__(self, inputs: Mapping[str, NDArray[Any]], *, release: bool = False) -> list[NDArray[Any]]:
        """Run the graph; see :class:`Graph`."""
        try:
            return list(self._session.run(self._names, dict(inputs), self._releasing if release else None))
        except Exception as error:
            _reraise_memory_error(error)
            raise


class OpenVinoGraph:
    """A graph in OpenVINO, on the CPU; compiled once, then read from the user's cache folder."""

    engine = "openvino"

    def __init__(self, source: str | Path | bytes, *, threads: int = 0) -> None:
        try:
            openvino, frontend = import_openvino(), import_openvino("frontend")
        except ImportError as error:
            _reraise_memory_error(error, source)
            raise
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            # The default computes in bfloat16 where the processor can, which moves boxes by some pixels.
            "EXECUTION_MODE_HINT": "ACCURACY",
            "INFERENCE_NUM_THREADS": threads or _thread_limit(),
        }
        # Without a writable home the graph is compiled anew each time.
        with contextlib.suppress(OSError):
            settings["CACHE_DIR"] = str(cache_dir("openvino"))
        core = openvino.Core()
        try:
            # As ONNX alone: read_model tries every format that OpenVINO knows, and their parsers print.
            onnx = frontend.FrontEndManager().load_by_framework("onnx")
            model = onnx.convert(onnx.load(io.BytesIO(source) if isinstance(source, bytes) else str(source)))
            if not model.outputs:
                raise ValueError("it computes nothing")
            self._compiled = core.compile_model(model, "CPU", settings)
        except Exception as error:
            _reraise_memory_error(error, source)
            raise _unreadable(source, "OpenVINO cannot read it.") from error
        self.inputs = {n.any_name: _openvino_port(n) for n in self._compiled.inputs}
        self.outputs = {n.any_name: _openvino_port(n) for n in self._compiled.outputs}
        self._idle: list[Any] = []
        self._lock = threading.Lock()

    def __call__(self, inputs: Mapping[str, NDArray[Any]], *, release: bool = False) -> list[NDArray[Any]]:
        """Run the graph; see :class:`Graph`."""
        # A request serves one call at a time. Idle ones are reused: making one takes longer than running a small graph.
        with self._lock:
            request = self._idle.pop() if self._idle else None
        if request is None:
            request = self._compiled.create_infer_request()
        try:
            results = request.infer(dict(inputs), share_inputs=True)
        except Exception as error:
            _reraise_memory_error(error)
            raise
        outputs = [np.array(results[i]) for i in range(len(self.outputs))]
        if not release:
            with self._lock:
                self._idle.append(request)
        return outputs


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
        input_port: Port = ("uint8", (None, spec.channels, spec.size, spec.size))
        self._input = _check_port(spec, "input", graph.inputs, input_port)
        _check_port(spec, "output", graph.outputs, ("float32", (None, len(spec.labels))))

    def logits(self, images: NDArray[np.uint8], batch_size: int = 64) -> NDArray[np.float32]:
        """Classify face crops.

        Args:
            images: uint8 ``(N, C, size, size)``, 0..255, in the spec's color; N may be 0.
            batch_size: how many go through the graph at once; changes memory and speed, not the results.

        Returns:
            float32 ``(N, K)``, before temperature and softmax.

        Raises:
            UsageError: when dtype or shape is another, or the batch size is below 1.
        """
        self._check(images, batch_size)
        logits = np.empty((len(images), len(self.spec.labels)), np.float32)
        for start in range(0, len(images), batch_size):
            batch = np.ascontiguousarray(images[start : start + batch_size])
            logits[start : start + batch_size] = self.graph({self._input: batch})[0]
        return logits

    def tta_logits(self, images: NDArray[np.uint8], views: int, batch_size: int = 64) -> NDArray[np.float32]:
        """Logits of face crops, each averaged over its views: :func:`moue.tta.tta_logits` of :meth:`logits`.

        Args:
            images: as for :meth:`logits`.
            views: one of :data:`moue.spec.VIEWS`.
            batch_size: how many views go through the graph at once; those of one face always do so together.

        Raises:
            UsageError: as :meth:`logits`, and for another number of views.
        """
        self._check(images, batch_size)
        return tta_logits(lambda rows: self.logits(rows, max(batch_size, views)), images, views, batch_size)

    def predict(self, images: NDArray[np.uint8], batch_size: int = 64) -> Predictions:
        """Probabilities of face crops: logits, averaged over the spec's views, divided by the spec's temperature,
        through softmax.

        Args:
            images: as for :meth:`logits`.
            batch_size: as for :meth:`tta_logits`.

        Raises:
            UsageError: as :meth:`logits`.
        """
        logits = self.tta_logits(images, self.spec.views, batch_size)
        return Predictions(class_probabilities(logits, self.spec), self.spec.labels, self.spec.uncertain_below)

    def _check(self, images: NDArray[np.uint8], batch_size: int) -> None:
        spec = self.spec
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1. Got {quoted(batch_size)} instead.")
        if images.dtype != np.uint8 or images.shape[1:] != (spec.channels, spec.size, spec.size):
            raise UsageError(
                f"the model {quoted(spec.name)} takes uint8 (N, {spec.channels}, {spec.size}, {spec.size}). "
                f"Got {images.dtype} {images.shape} instead."
            )


def open_model(
    name: str | Path, *, engine: EngineName = "auto", threads: int = 0, optimize_for: OptimizeFor = "latency"
) -> Engine:
    """Find a trained model, check its hash, compile it.

    Args:
        name: a name of ``moue models``, the path of an ``.onnx`` with its ``.json``, or a run folder with an exported
            ``model.onnx``.
        engine: see :func:`open_graph`.
        threads: see :func:`open_graph`.
        optimize_for: see :func:`open_graph`.

    Raises:
        UnknownName: when there is no such model.
        ModelError: when it is damaged, or not what its spec says.
        MissingExtra: when the model or the engine is in an extra that is not installed.
    """
    from moue.runtime.weights import find_model

    path, spec = find_model(name)
    return Engine(open_graph(path, engine=engine, threads=threads, optimize_for=optimize_for), spec)


def _check_port(spec: ModelSpec, kind: str, ports: Mapping[str, Port], expected: Port) -> str:
    """The name of the graph's only input or output, which must have the expected dtype and shape."""
    if len(ports) == 1:
        [(name, port)] = ports.items()
        if port == expected:
            return name
    found = ", ".join(_format_port(port) for port in ports.values()) or "none"
    raise ModelError(
        f"the graph of the model {quoted(spec.name)} must have one {kind}, {_format_port(expected)}. "
        f"Got {shortened(found)} instead."
    )


def _format_port(port: Port) -> str:
    dtype, shape = port
    return f"{dtype} ({', '.join('N' if side is None else str(side) for side in shape)})"


def _onnxruntime_port(port: Any) -> Port:
    dtype = {"tensor(float)": "float32", "tensor(double)": "float64"}.get(port.type, port.type[7:-1])
    return dtype, tuple(side if isinstance(side, int) else None for side in port.shape)


def _openvino_port(port: Any) -> Port:
    dtype = np.dtype(port.element_type.to_dtype()).name
    return dtype, tuple(None if side.is_dynamic else side.get_length() for side in port.partial_shape)


def _thread_limit() -> int:
    """The number of cores that this process is limited to; 0, the engine's own choice, where it may use all."""
    total = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    return allowed if allowed < total else 0


def _reraise_memory_error(error: Exception, source: str | Path | bytes | None = None) -> None:
    """Raise what is an engine's error for a lack of memory as MemoryError; as ModelError while a model is loaded."""
    said = isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)
    if not said and not lacks_memory(_LOADING_BYTES):
        return
    if source is None:
        raise MemoryError("not enough memory to run the graph") from error
    raise ModelError(f"not enough memory to load {_name(source)}.") from error


def _unreadable(source: str | Path | bytes, reason: str) -> ModelError:
    return ModelError(f"{_name(source)} is damaged, or no ONNX graph: {reason}")


def _name(source: str | Path | bytes) -> str:
    return "the model" if isinstance(source, bytes) else str(source)
