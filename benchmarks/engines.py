"""The engines side by side: faces a second at batch 1 and 64, for each storage type of a model's weights.

    python benchmarks/engines.py default.onnx default-int8.onnx --json results.json

Names of `moue models` or .onnx files with their .json; store other ones with `moue export`. All pairs take turns for
some rounds, and the median round counts, so that a busy machine slows all of them. That the engines agree is looked at
on images of noise and gradients: the share of images with one label, and the largest difference of logits.
"""

from __future__ import annotations

import argparse
import json
import statistics
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from moue.cli.output import to_table
from moue.runtime.engine import Engine, open_model
from moue.runtime.throughput import faces_per_second

ENGINES = tuple(name for name in ("onnxruntime", "openvino") if find_spec(name))
BATCHES = (1, 64)


def images(engine: Engine, n: int) -> np.ndarray:
    """uint8 ``(n, C, size, size)``: gradients under noise of growing strength."""
    draw, spec = np.random.default_rng(0), engine.spec
    y, x = np.mgrid[: spec.size, : spec.size] / spec.size
    slope = draw.normal(size=(n, spec.channels, 2, 1, 1))
    smooth = 128 + 90 * (slope[:, :, 0] * (y - 0.5) + slope[:, :, 1] * (x - 0.5))
    noise = draw.normal(size=smooth.shape) * np.linspace(0, 60, n)[:, None, None, None]
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def measure(names: list[str], threads: int, rounds: int, seconds: float, n: int) -> list[dict[str, Any]]:
    """A row for each model and engine."""
    opened = [(name, engine, open_model(name, engine=engine, threads=threads)) for name in names for engine in ENGINES]
    speeds: dict[tuple[str, str, int], list[float]] = {}
    for _ in range(rounds):
        for name, engine, graph in opened:
            for batch in BATCHES:
                speed = faces_per_second(graph, batch, seconds)
                speeds.setdefault((name, engine, batch), []).append(speed)
    first: dict[str, np.ndarray] = {}
    rows = []
    for name, engine, graph in opened:
        logits = graph.logits(images(graph, n))
        expected = first.setdefault(name, logits)
        row: dict[str, Any] = {"model": name, "MB": round(size_of(name), 2), "engine": engine}
        row |= {f"faces/s, {b} at once": round(statistics.median(speeds[name, engine, b]), 1) for b in BATCHES}
        row[f"labels as {ENGINES[0]}"] = float((logits.argmax(1) == expected.argmax(1)).mean())
        row["largest difference"] = round(float(np.abs(logits - expected).max()), 7)
        rows.append(row)
    return rows


def size_of(name: str) -> float:
    """Megabytes of a model's file."""
    from moue.runtime.weights import find_model

    return find_model(name).path.stat().st_size / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["default"], help="names or paths (default: default)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: one a physical core)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1, help="how long to time each thing in a round (default: 1)")
    parser.add_argument("--images", type=int, default=256, help="on how many the engines are compared (default: 256)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = measure(args.models, args.threads, args.rounds, args.seconds, args.images)
    print(to_table(rows), end="")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        report = {"threads": args.threads, "rounds": args.rounds, "rows": rows}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
