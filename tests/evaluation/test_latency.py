from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.evaluation.latency import latencies
from moue.labels import FER2013
from moue.runtime.engine import Engine
from moue.runtime.graph import Port
from moue.spec import ModelSpec


def test_models_take_turns_and_are_timed_with_the_views_that_are_scored() -> None:
    seen: list[tuple[str, int]] = []

    class Graph:
        engine, batch_size = "none", 64

        def __init__(self, name: str) -> None:
            self.name = name
            self.inputs: dict[str, Port] = {"images": ("uint8", (None, 1, 48, 48))}
            self.outputs: dict[str, Port] = {"logits": ("float32", (None, 7))}

        def __call__(self, inputs: Mapping[str, NDArray[Any]], *, release: bool = False) -> list[NDArray[Any]]:
            seen.append((self.name, len(inputs["images"])))
            return [np.zeros((len(inputs["images"]), 7), np.float32)]

    engines = [Engine(Graph(n), ModelSpec(n, "none", FER2013.labels, views=v)) for n, v in (("a", 6), ("b", 1))]
    assert all(ms > 0 for ms in latencies(engines, rounds=2, calls=3))
    assert seen == ([("a", 6)] * 4 + [("b", 1)] * 4) * 2
