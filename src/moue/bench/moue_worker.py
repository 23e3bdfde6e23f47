"""A worker that reads faces with moue: ``python -m moue.bench.moue_worker MODEL ENGINE THREADS``."""

from __future__ import annotations

import functools
import sys
import time
from typing import Any

import numpy as np

import moue
from moue.bench import protocol
from moue.runtime.engine import open_model

#: Side of the matrices by whose product the machine's peak is measured.
SIDE = 1536


def main() -> None:
    """Open the model and serve."""
    model, engine, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    options: dict[str, Any] = {"engine": engine, "threads": threads, "optimize_for": "throughput"}
    network = open_model(model, **options)

    @functools.cache
    def recognizer(**quicker: Any) -> moue.Recognizer:
        return moue.Recognizer(network, **options, **quicker)

    def faces(task: dict[str, Any]) -> protocol.Work:
        spec = network.spec
        shape = (task["batch"], spec.channels, spec.size, spec.size)
        crops = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

        def work() -> tuple[int, int]:
            logits = network.tta_logits(crops, spec.views, max(task["batch"], 64))
            assert logits.shape == (len(crops), len(spec.labels)), f"logits of {logits.shape}"
            assert np.isfinite(logits).all(), "logits that are not finite"
            return len(crops), len(crops)

        return work

    def photos(task: dict[str, Any]) -> protocol.Work:
        def work() -> tuple[int, int]:
            found = sum(len(faces) > 0 for faces in recognizer(**task.get("options", {})).stream(task["paths"]))
            assert found == task["faces"], f"faces in {found} of {len(task['paths'])} photos, not {task['faces']}"
            return len(task["paths"]), found

        return work

    def frames(task: dict[str, Any]) -> protocol.Work:
        def work() -> tuple[int, int]:
            results = list(recognizer(**task.get("options", {})).stream(task["path"]))
            found = sum(len(faces) == 1 for faces in results)
            assert len(results) == task["frames"] == found, f"a face in {found} of {len(results)} frames"
            return len(results), found

        return work

    makers = {"faces": faces, "photos": photos, "frames": frames}
    answers = {
        "installed": protocol.installed,
        "peak": peak,
        "engine": lambda _: {"engine": network.graph.engine, "views": network.spec.views},
    }
    protocol.serve(lambda task: makers[task["task"]](task), answers)


def peak(task: dict[str, Any]) -> float:
    """GFLOP/s of a product of float32 matrices: the best of some, as the machine can do no more."""
    a = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    best, end = np.inf, time.perf_counter() + task["seconds"]
    while not np.isfinite(best) or time.perf_counter() < end:
        start = time.perf_counter()
        product = a @ a
        best = min(best, time.perf_counter() - start)
    assert np.allclose(product[0, 0], a[0].astype(np.float64) @ a[:, 0], atol=0.05)
    return 2 * SIDE**3 / best / 1e9


if __name__ == "__main__":
    main()
