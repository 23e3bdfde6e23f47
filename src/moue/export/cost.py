"""What a trained model costs to run, measured in the same way for a run and for an ONNX file."""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from moue.errors import ModelError, MoueError, shortened
from moue.run_folder import EXPORTED
from moue.runtime.engine import Engine, EngineName, open_graph, open_model
from moue.runtime.weights import find_model
from moue.training.run_folder import Run


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
