from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moue.evaluation.latency import latency
from moue.labels import FER2013
from moue.spec import ModelSpec


def test_latency_is_of_the_views_that_are_scored() -> None:
    seen = []

    class Model:
        spec = ModelSpec("mine", "none", FER2013.labels, views=6)

        def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            seen.append(len(images))
            return np.zeros((len(images), 7), np.float32)

    assert latency(Model(), 2) > 0
    assert seen == [6] * 5
