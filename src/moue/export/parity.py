"""Whether a graph gives the logits of the network that it was exported from, in every installed engine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moue.errors import ModelError, quoted
from moue.runtime.engine import Engine, open_graph
from moue.spec import ModelSpec

if TYPE_CHECKING:
    import onnx


def sample_images(spec: ModelSpec, images: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Images on which graph and network are compared: noise, flat black and white, and up to 64 real ones."""
    shape = (spec.channels, spec.size, spec.size)
    noise = np.random.default_rng(0).integers(0, 256, (16, *shape), dtype=np.uint8)
    flat = np.stack([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)])
    real = noise[:0] if images is None else images[evenly_spaced(len(images), 64)]
    return np.concatenate([noise, flat, real])


def check_parity(
    spec: ModelSpec, graph: onnx.ModelProto, samples: NDArray[np.uint8], exact: NDArray[np.float32], tolerance: float
) -> None:
    """Check that a graph gives these logits, in every engine that is installed and at two batch sizes.

    Args:
        spec: of the model.
        graph: the graph to write.
        samples: uint8 ``(N, C, size, size)``.
        exact: float32 ``(N, K)``: the logits of the network, or of the members of an ensemble.
        tolerance: largest difference allowed, relative to the largest logit or to 1.

    Raises:
        ModelError: where they differ by more.
    """
    for engine in _engines(spec, graph):
        for batch in (64, 5):
            worst = float(np.abs(engine.logits(samples, batch) - exact).max())
            allowed = tolerance * max(1.0, float(np.abs(exact).max()))
            if not worst <= allowed:
                raise ModelError(
                    f"the exported graph of {quoted(spec.name)} differs from its network by {worst:.2g} in "
                    f"{engine.graph.engine}, where {allowed:.2g} is allowed: nothing was written."
                )


def _engines(spec: ModelSpec, graph: onnx.ModelProto) -> list[Engine]:
    model = graph.SerializeToString()
    engines = [Engine(open_graph(model, engine="onnxruntime"), spec)]
    if find_spec("openvino"):
        engines.append(Engine(open_graph(model, engine="openvino"), spec))
    return engines


def evenly_spaced(n: int, most: int) -> NDArray[np.int64]:
    """Up to ``most`` of ``n`` positions, evenly spaced, so that a sorted table gives some of every class."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64)) if n else np.zeros(0, np.int64)
