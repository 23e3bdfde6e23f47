"""How long a model takes for one image."""

from __future__ import annotations

import statistics
import time

import numpy as np

from moue.trained.open import Model
from moue.tta import tta_logits


def latency(model: Model, repeats: int = 20) -> float:
    """Milliseconds for one image with the model's own views, as it is scored: the median of calls after a warm-up.

    Args:
        model: what :func:`moue.trained.open.open_any` gives.
        repeats: timed calls, after three that are not counted.
    """
    spec = model.spec
    image = np.random.default_rng(0).integers(0, 256, (1, spec.channels, spec.size, spec.size), dtype=np.uint8)
    seconds = []
    for _ in range(repeats + 3):
        start = time.perf_counter()
        tta_logits(model.logits, image, spec.views, spec.views)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[3:])
