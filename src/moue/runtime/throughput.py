"""How many faces a second a model classifies on this machine."""

from __future__ import annotations

import time

import numpy as np

from moue.runtime.engine import Engine


def faces_per_second(engine: Engine, batch_size: int = 64, seconds: float = 0.5, views: int = 1) -> float:
    """Time :meth:`Engine.tta_logits` on noise, after one run to warm up.

    Args:
        engine: an open model.
        batch_size: faces in one call.
        seconds: how long to measure; at least three calls are made.
        views: how many views of each face are averaged.

    Returns:
        Faces a second of the median call, which other programs disturb least.
    """
    spec = engine.spec
    shape = (batch_size, spec.channels, spec.size, spec.size)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    engine.tta_logits(images, views, batch_size)
    durations: list[float] = []
    while len(durations) < 3 or sum(durations) < seconds:
        start = time.perf_counter()
        engine.tta_logits(images, views, batch_size)
        durations.append(time.perf_counter() - start)
    return batch_size / float(np.median(durations))
