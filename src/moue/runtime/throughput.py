"""How many faces a second a model classifies on this machine."""

from __future__ import annotations

import time

import numpy as np

from moue.runtime.engine import Engine


def faces_per_second(engine: Engine, batch: int = 64, seconds: float = 0.5, views: int = 1) -> float:
    """Time :meth:`Engine.averaged` on noise, after one run to warm up.

    Args:
        engine: an opened model.
        batch: faces in one call.
        seconds: how long to measure; at least three calls are made.
        views: how many views of each face are averaged.

    Returns:
        Faces a second of the median call, which a busy neighbor disturbs least.
    """
    spec = engine.spec
    shape = (batch, spec.channels, spec.size, spec.size)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    engine.averaged(images, views, batch)
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < seconds:
        start = time.perf_counter()
        engine.averaged(images, views, batch)
        taken.append(time.perf_counter() - start)
    return batch / float(np.median(taken))
