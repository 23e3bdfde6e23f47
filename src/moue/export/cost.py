"""What a trained model costs to run, measured in the same way for a run and for an ONNX file."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from moue.errors import ModelError, MoueError, shortened
from moue.run_folder import EXPORTED
from moue.runtime.engine import Engine, EngineName, open_graph, open_model
from moue.runtime.throughput import faces_per_second
from moue.runtime.weights import find_model
from moue.trained.open import spec_of
from moue.training.run_folder import Run


@dataclass(frozen=True)
class Cost:
    """What a model costs."""

    parameters: int
    megabytes: float | None
    """Of its file; of a run without a file, of its parameters as float32."""
    gflop: float | None
    """Billions of floating-point operations for one view of a face."""
    faces_per_second: float | None
    """On this machine's processor in ONNX Runtime, with the model's views; None where it cannot be opened there."""

    def times(self, n: int) -> Cost:
        """Of n such models, one after the other."""
        return Cost(
            n * self.parameters,
            None if self.megabytes is None else round(n * self.megabytes, 2),
            None if self.gflop is None else round(n * self.gflop, 4),
            None if self.faces_per_second is None else round(self.faces_per_second / n, 1),
        )


def cost_of(model: str | Path) -> Cost:
    """Measure what a model costs; takes half a second.

    Args:
        model: the path of a run folder, or the name or file of a model as a string.
    """
    speed = None
    spec, file = spec_of(model), None
    with suppress(MoueError):
        file = model / EXPORTED if isinstance(model, Path) else find_model(model).path
        engine = open_exported(model, engine="onnxruntime", threads=0)
        speed = round(faces_per_second(engine, 16, 0.2, spec.views), 1)
    size = file.stat().st_size if file is not None and file.is_file() else 4 * spec.parameters
    return Cost(spec.parameters, round(size / 1e6, 2), gflop_of(model, len(spec.labels)), speed)


def gflop_of(model: str | Path, num_classes: int) -> float | None:
    """Billions of operations of a model's network; None where the package that counts them is not installed.

    Args:
        model: the path of a run folder, or the name or file of a model as a string.
        num_classes: of the network's output.
    """
    if isinstance(model, str):
        if find_spec("onnx") is None:
            return None
        from moue.export.flops import gflop

        return gflop(find_model(model).path)
    if find_spec("torch") is None:
        return None
    from moue.models.summary import describe

    # A finished run keeps its scores where its network cannot be built, as the source of its weights is gone.
    with suppress(MoueError):
        run = Run(model)
        network = run.config().model
        # With what the run saved, most networks are built without that source.
        options = {**network.options, **run.record().get("rebuild", {})}
        return float(describe(network.network, num_classes, **options)["gflop"])
    return None


def open_exported(model: str | Path, *, engine: EngineName, threads: int) -> Engine:
    """Open a model in an engine for ONNX graphs; the network of a run is traced in memory for it.

    Args:
        model: as of :func:`gflop_of`.
        engine, threads: as of :func:`moue.runtime.engine.open_graph`.

    Raises:
        MoueError: where that cannot be done: a network that cannot be traced, a missing package, a damaged file.
    """
    if isinstance(model, str):
        return open_model(model, engine=engine, threads=threads)
    if find_spec("torch") is None or find_spec("onnx") is None:
        return open_model(model / EXPORTED, engine=engine, threads=threads)
    from moue.export.graph import trace
    from moue.models.load import load_run

    run = load_run(model, device="cpu")
    try:
        graph = trace(run.network, run.spec).SerializeToString()
    except Exception as error:  # The exporter raises of all kinds, for networks that users bring.
        raise ModelError(f"the network of {model} cannot be traced: {shortened(str(error))}") from error
    return Engine(open_graph(graph, engine=engine, threads=threads), run.spec)
