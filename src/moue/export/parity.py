"""Whether a graph answers as what it was made from does, in every engine that is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moue.errors import ModelError
from moue.runtime.engine import Engine, open_graph
from moue.spec import ModelSpec

if TYPE_CHECKING:
    import onnx


def samples_of(spec: ModelSpec, images: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """What graph and network are compared on: noise, flat black and white, and up to 64 real images."""
    shape = (spec.channels, spec.size, spec.size)
    noise = np.random.default_rng(0).integers(0, 256, (16, *shape), dtype=np.uint8)
    flat = np.stack([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)])
    real = noise[:0] if images is None else images[spread(len(images), 64)]
    return np.concatenate([noise, flat, real])


def check_parity(
    spec: ModelSpec, graph: onnx.ModelProto, samples: NDArray[np.uint8], exact: NDArray[np.float32], tolerance: float
) -> None:
    """Assert that a graph gives these logits, in every engine that is installed and at two batch sizes.

    Args:
        spec: of the model.
        graph: the graph to write.
        samples: uint8 ``(N, C, size, size)``.
        exact: float32 ``(N, K)``: what the network, or the members of an ensemble, answer.
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
                    f"the exported graph of {spec.name!r} differs from its network by {worst:.2g} in "
                    f"{engine.graph.engine}, where {allowed:.2g} is allowed: nothing was written."
                )


def _engines(spec: ModelSpec, graph: onnx.ModelProto) -> list[Engine]:
    model = graph.SerializeToString()
    engines = [Engine(open_graph(model, engine="onnxruntime"), spec)]
    if find_spec("openvino"):
        engines.append(Engine(open_graph(model, engine="openvino"), spec))
    return engines


def spread(n: int, most: int) -> NDArray[np.int64]:
    """Up to ``most`` of ``n`` positions, evenly spread, so that a sorted table gives of every class."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64)) if n else np.zeros(0, np.int64)
