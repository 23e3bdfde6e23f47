"""How long models take for one image, all of them in the same engine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np

from moue.runtime.engine import Engine


def latencies(engines: Sequence[Engine], rounds: int = 5, calls: int = 5) -> list[float]:
    """Milliseconds for one image with a model's own views, as it is scored.

    The models take turns, so that what else the machine does meets all of them.

    Args:
        engines: open models.
        rounds: how often each model has its turn.
        calls: timed calls in a turn, after one that is not counted.

    Returns:
        The median of a model's timed calls, in the order of ``engines``.
    """
    seconds: list[list[float]] = [[] for _ in engines]
    for _ in range(rounds):
        for engine, own in zip(engines, seconds, strict=True):
            spec = engine.spec
            shape = (1, spec.channels, spec.size, spec.size)
            image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
            for call in range(calls + 1):
                start = time.perf_counter()
                engine.tta_logits(image, spec.views)
                if call:
                    own.append(time.perf_counter() - start)
    return [1000 * statistics.median(own) for own in seconds]
