"""Opens trained models in one of several engines: ONNX Runtime (base install, quick to start), OpenVINO (extra
``fast``, quick to run), or a GPU of either.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from moue.errors import BrokenPackage, ModelError, UsageError, quoted, shortened
from moue.files import valid_text
from moue.runtime.accelerators import ACCELERATORS, automatic, give_up, is_given_up, require_accelerator
from moue.runtime.external_data import has_external_data
from moue.runtime.graph import Graph, OnnxRuntimeGraph, OpenVinoGraph, Port, message_of, name_of, unreadable
from moue.runtime.results import Predictions, class_probabilities
from moue.runtime.validation import check_choice, check_number
from moue.spec import ModelSpec
from moue.tta import tta_logits

EngineName = Literal["auto", "onnxruntime", "openvino", "cuda", "directml", "coreml", "openvino-gpu"]
ENGINES: tuple[str, ...] = get_args(EngineName)
#: What the engine "auto" is chosen for: "latency" for a few images, as ONNX Runtime starts sooner; "throughput" for
#: thousands (folders, videos, serving), as OpenVINO runs faster.
OptimizeFor = Literal["latency", "throughput"]


def open_graph(
    source: str | Path | bytes, *, engine: EngineName = "auto", threads: int = 0, optimize_for: OptimizeFor = "latency"
) -> Graph:
    """Load and compile an ONNX graph.

    Args:
        source: path of an ``.onnx`` file, or its bytes.
        engine: "onnxruntime", "openvino", a GPU's ("cuda", "directml", "coreml", "openvino-gpu"), or "auto", see
            :func:`choose_engine`. A GPU that "auto" chose and that does not start leads to a warning, and the CPU; an
            OpenVINO that does not load, to a warning and ONNX Runtime.
        threads: CPU threads; 0 takes one for each physical core that this process may use.
        optimize_for: what "auto" goes by, see :data:`OptimizeFor`.

    Raises:
        ModelError: when the file is missing, no ONNX graph, or one with weights in other files.
        MissingExtra: when OpenVINO is asked for and not installed.
        BrokenPackage: when the engine is installed and does not load.
        UsageError: for an unknown engine or a negative number of threads; when a GPU is asked for that the installed
            packages do not have, or that does not start.
    """
    check_number("threads", threads, 0, integer=True)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise ModelError(f"{source} is missing: no such model file.")
    if not isinstance(source, bytes) and valid_text(source) != str(source):
        # No engine opens a file whose name is no valid text.
        source = Path(source).read_bytes()
    try:
        external = has_external_data(source)
    except ValueError as error:
        raise unreadable(source, str(error)) from error
    if external:
        raise ModelError(
            f"{name_of(source)} keeps weights in other files, which its hash does not cover. Save it as one file, with "
            "onnx.save(onnx.load(FILE), FILE), and put the new sha256 into its .json."
        )
    chosen = choose_engine(engine, optimize_for)
    while engine == "auto" and chosen != "onnxruntime":
        try:
            return _compile(source, chosen, threads)
        except (UsageError, BrokenPackage) as error:
            give_up(chosen)
            chosen = _cpu_engine(optimize_for)
            warnings.warn(f"{str(error).partition('. ')[0]}: {chosen} runs on the CPU instead", stacklevel=2)
    return _compile(source, chosen, threads)


def _compile(source: str | Path | bytes, engine: str, threads: int) -> Graph:
    accelerator = engine if engine in ACCELERATORS else None
    if engine.startswith("openvino"):
        return OpenVinoGraph(source, threads=threads, accelerator=accelerator)
    return OnnxRuntimeGraph(source, threads=threads, accelerator=accelerator)


def choose_engine(engine: EngineName = "auto", optimize_for: OptimizeFor = "latency") -> str:
    """The engine that will run, by its name.

    "auto" is for "latency" ONNX Runtime on the CPU, which starts soonest; for "throughput" a GPU for which its ONNX
    Runtime is installed (:data:`moue.runtime.accelerators.AUTOMATIC`), else OpenVINO where it is installed.

    Raises:
        UnknownName: for an unknown engine or an unknown ``optimize_for``.
        MissingExtra: when an engine of OpenVINO is asked for and not installed.
        UsageError: when the installed packages do not have the engine; says what to install.
    """
    check_choice("engine", engine, ENGINES)
    check_choice("value of optimize_for", optimize_for, get_args(OptimizeFor))
    if engine in ACCELERATORS:
        require_accelerator(engine)
    if engine != "auto":
        return engine
    return (automatic() if optimize_for == "throughput" else None) or _cpu_engine(optimize_for)


def _cpu_engine(optimize_for: OptimizeFor) -> str:
    is_faster = optimize_for == "throughput" and not is_given_up("openvino")
    return "openvino" if is_faster and importlib.util.find_spec("openvino") else "onnxruntime"


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

    def logits(self, images: NDArray[np.uint8], batch_size: int | None = None) -> NDArray[np.float32]:
        """Classify face crops.

        Args:
            images: uint8 ``(N, C, size, size)``, 0..255, in the spec's color, or crops of the spec's ``crop_size``; N
                may be 0.
            batch_size: how many go through the graph at once, by default what suits its device; changes memory and
                speed, not the results.

        Returns:
            float32 ``(N, K)``, before temperature and softmax.

        Raises:
            UsageError: when dtype or shape is another, or the batch size is below 1.
            ModelError: when the graph fails as it runs, or gives anything but a row of finite numbers an image.
        """
        batch_size = self._checked(images, batch_size)
        logits = np.empty((len(images), len(self.spec.labels)), np.float32)
        for start in range(0, len(images), batch_size):
            batch = np.ascontiguousarray(images[start : start + batch_size])
            logits[start : start + batch_size] = self._run(batch)
        return logits

    def tta_logits(self, images: NDArray[np.uint8], views: int, batch_size: int | None = None) -> NDArray[np.float32]:
        """Logits of face crops, each averaged over its views: :func:`moue.tta.tta_logits` of :meth:`logits`.

        Args:
            images: as for :meth:`logits`.
            views: one of :data:`moue.spec.VIEWS`.
            batch_size: how many views go through the graph at once; those of one face always do so together.

        Raises:
            UsageError: as :meth:`logits`, and for another number of views.
            ModelError: as :meth:`logits`.
        """
        batch_size = self._checked(images, batch_size)
        crop_size = self.spec.crop_size
        return tta_logits(lambda rows: self.logits(rows, max(batch_size, views)), images, views, batch_size, crop_size)

    def predict(self, images: NDArray[np.uint8], batch_size: int | None = None) -> Predictions:
        """Probabilities of face crops: logits, averaged over the spec's views, divided by the spec's temperature,
        through softmax.

        Args:
            images: as for :meth:`logits`.
            batch_size: as for :meth:`tta_logits`.

        Raises:
            UsageError, ModelError: as :meth:`logits`.
        """
        logits = self.tta_logits(images, self.spec.views, batch_size)
        return Predictions(class_probabilities(logits, self.spec), self.spec.labels, self.spec.uncertain_below)

    def _run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The logits of one batch. What a graph says of itself when it is opened need not be what it does."""
        try:
            logits: NDArray[np.float32] = self.graph({self._input: batch})[0]
        except MemoryError:
            raise
        except Exception as error:
            raise ModelError(f"the model {quoted(self.spec.name)} fails as it runs: {message_of(error)}") from error
        wanted = len(batch), len(self.spec.labels)
        if logits.shape != wanted or not np.isfinite(logits).all():
            found = "NaN or infinity" if logits.shape == wanted else str(logits.shape)
            raise ModelError(
                f"the model {quoted(self.spec.name)} must give finite numbers {wanted}. Got {found} instead."
            )
        return logits

    def _checked(self, images: NDArray[np.uint8], batch_size: int | None) -> int:
        spec = self.spec
        batch_size = self.graph.batch_size if batch_size is None else batch_size
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1. Got {quoted(batch_size)} instead.")
        if images.dtype != np.uint8 or images.shape[1:] not in spec.input_shapes:
            raise UsageError(
                f"the model {quoted(spec.name)} takes uint8 (N, {spec.channels}, {spec.size}, {spec.size}). "
                f"Got {images.dtype} {images.shape} instead."
            )
        return batch_size


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
        fits = all(side in (None, wanted) for side, wanted in zip(port[1], expected[1], strict=False))
        if port[0] == expected[0] and len(port[1]) == len(expected[1]) and fits:
            return name
    found = ", ".join(_format_port(port) for port in ports.values()) or "none"
    raise ModelError(
        f"the graph of the model {quoted(spec.name)} must have one {kind}, {_format_port(expected)}. "
        f"Got {shortened(found)} instead."
    )


def _format_port(port: Port) -> str:
    dtype, shape = port
    return f"{dtype} ({', '.join('N' if side is None else str(side) for side in shape)})"
