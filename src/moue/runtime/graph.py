"""An ONNX graph, compiled in ONNX Runtime or OpenVINO, on the CPU or on an accelerator. Both read the same files and
give the same labels.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from moue.cache import cache_dir
from moue.damage import lacks_memory
from moue.errors import ModelError, shortened
from moue.runtime.accelerators import ACCELERATORS, not_started
from moue.telemetry import import_onnxruntime, import_openvino

#: How many images a graph is given at once, where a caller leaves it open, on the CPU.
BATCH_SIZE = 64
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
    """"onnxruntime", "openvino", or a name of :data:`moue.runtime.accelerators.ACCELERATORS`."""
    batch_size: int
    """How many images to give it at once."""
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


class OnnxRuntimeGraph:
    """A graph in ONNX Runtime, on its CPU provider, or on that of an accelerator.

    Raises:
        ModelError: when the file is no ONNX graph.
        UsageError: when the accelerator does not start.
    """

    def __init__(self, source: str | Path | bytes, *, threads: int = 0, accelerator: str | None = None) -> None:
        self.engine = accelerator or "onnxruntime"
        self.batch_size = ACCELERATORS[accelerator].batch_size if accelerator else BATCH_SIZE
        try:
            onnxruntime = import_onnxruntime()
        except ImportError as error:
            _reraise_memory_error(error, source)
            raise
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads or core_limit()
        options.inter_op_num_threads = 1
        # By default, threads spin for long while they wait for work, which takes the core from the other graph, from a
        # video's decoder or from another program. Older versions ignore the key.
        options.add_session_config_entry("session.intra_op.spin_duration_us", "100")
        # Without VNNI, sums of two 8-bit products overflow 16 bits: other logits than elsewhere, by up to 0.7. With
        # this, ONNX Runtime takes slower instructions on such processors, and on no others.
        options.add_session_config_entry("session.x64quantprecision", "1")
        model = source if isinstance(source, bytes) else str(source)
        providers: list[Any] = ["CPUExecutionProvider"]
        self._lock: Any = contextlib.nullcontext()
        if accelerator:
            chosen = ACCELERATORS[accelerator]
            providers.insert(0, (chosen.device, dict(chosen.options)))
            # A provider that does not start is told in lines of colored text, by no session's log.
            onnxruntime.set_default_logger_severity(4)
            if not chosen.shares_session:
                self._lock = threading.Lock()
                options.enable_mem_pattern = False
            if accelerator == "cuda" and hasattr(onnxruntime, "preload_dlls"):
                # CUDA and cuDNN out of NVIDIA's packages, where they are; prints what it does not find.
                with contextlib.redirect_stdout(io.StringIO()):
                    onnxruntime.preload_dlls()
        try:
            # Version 1.23 fuses a padding with zeros into a max-pooling, whose padding is -inf: resnet50v2's logits
            # would be off by 0.05.
            self._session = onnxruntime.InferenceSession(
                model, options, providers=providers, disabled_optimizers=["Pad_Fusion"]
            )
        except Exception as error:
            if accelerator:
                # On the CPU, a file that is no graph says so.
                OnnxRuntimeGraph(source, threads=threads)
                raise not_started(accelerator) from error
            _reraise_memory_error(error, source)
            raise unreadable(source, message_of(error)) from error
        if accelerator:
            # ONNX Runtime takes the CPU where a provider does not start, and says so to its log alone.
            if ACCELERATORS[accelerator].device not in self._session.get_providers():
                raise not_started(accelerator)
            self._session.disable_fallback()
        self.inputs = {n.name: _onnxruntime_port(n) for n in self._session.get_inputs()}
        self.outputs = {n.name: _onnxruntime_port(n) for n in self._session.get_outputs()}
        self._names = list(self.outputs)
        self._releasing = onnxruntime.RunOptions()
        self._releasing.log_severity_level = 4
        self._releasing.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def __call__(self, inputs: Mapping[str, NDArray[Any]], *, release: bool = False) -> list[NDArray[Any]]:
        """Run the graph; see :class:`Graph`."""
        # The memory that waits for the next run is an accelerator's own.
        options = self._releasing if release and self.engine == "onnxruntime" else None
        try:
            with self._lock:
                return list(self._session.run(self._names, dict(inputs), options))
        except Exception as error:
            _reraise_memory_error(error)
            raise


class OpenVinoGraph:
    """A graph in OpenVINO, on the CPU or a GPU; compiled once, then read from the user's cache folder.

    Raises:
        ModelError: when the file is no ONNX graph.
        UsageError: when the accelerator does not start.
    """

    def __init__(self, source: str | Path | bytes, *, threads: int = 0, accelerator: str | None = None) -> None:
        self.engine = accelerator or "openvino"
        self.batch_size = ACCELERATORS[accelerator].batch_size if accelerator else BATCH_SIZE
        try:
            openvino, frontend = import_openvino(), import_openvino("frontend")
        except ImportError as error:
            _reraise_memory_error(error, source)
            raise
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            # The default computes in 16 bits where the processor or GPU can, which moves boxes by some pixels.
            "EXECUTION_MODE_HINT": "ACCURACY",
        }
        if not accelerator:
            settings["INFERENCE_NUM_THREADS"] = threads or core_limit()
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
            self._compiled = core.compile_model(
                model, ACCELERATORS[accelerator].device if accelerator else "CPU", settings
            )
        except Exception as error:
            if accelerator:
                OpenVinoGraph(source, threads=threads)
                raise not_started(accelerator) from error
            _reraise_memory_error(error, source)
            raise unreadable(source, "OpenVINO cannot read it.") from error
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


def _onnxruntime_port(port: Any) -> Port:
    dtype = {"tensor(float)": "float32", "tensor(double)": "float64"}.get(port.type, port.type[7:-1])
    return dtype, tuple(side if isinstance(side, int) else None for side in port.shape)


def _openvino_port(port: Any) -> Port:
    dtype = np.dtype(port.element_type.to_dtype()).name
    return dtype, tuple(None if side.is_dynamic else side.get_length() for side in port.partial_shape)


def core_limit() -> int:
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
    raise ModelError(f"not enough memory to load {name_of(source)}.") from error


def message_of(error: Exception) -> str:
    """What an engine says, on one line."""
    # "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Failed to …": the last part is the message.
    return shortened(str(error).rsplit(" : ", 1)[-1], 200)


def unreadable(source: str | Path | bytes, reason: str) -> ModelError:
    """The error of a file that is no graph."""
    return ModelError(f"{name_of(source)} is damaged, or no ONNX graph: {reason}")


def name_of(source: str | Path | bytes) -> str:
    """What errors call a graph."""
    return "the model" if isinstance(source, bytes) else str(source)
