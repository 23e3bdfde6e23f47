"""Make the bundled models that multiply in 8 bits: assets/NAME-int8.onnx and its spec, of assets/NAME.onnx.

    python scripts/int8.py fer2013.csv.zip --votes fer2013new.csv [--names NAME …]

Ranges are taken from Training images; the scores in the spec are measured on PublicTest.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx

from moue import data
from moue.evaluation.shipped_scores import shipped_scores
from moue.export.int8 import quantize
from moue.labels import FERPLUS
from moue.runtime.engine import Engine, open_graph
from moue.runtime.weights import ASSETS
from moue.spec import ModelSpec, file_sha256
from moue.telemetry import import_onnxruntime

#: Training images from which the ranges of activations are taken.
IMAGES, SEED = 512, 0


def unpacked(path: Path) -> onnx.ModelProto:
    """The graph with float32 weights, which are stored in 8 bits with their scales."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "float32.onnx")
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
    for i, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{i}"
    return model


def main() -> None:
    """Make and score them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="FER-2013")
    parser.add_argument("--votes", required=True, help="fer2013new.csv, for ferplus")
    parser.add_argument("--names", nargs="+", default=["default", "tiny", "ferplus"])
    args = parser.parse_args()
    for name in args.names:
        spec = ModelSpec.load(ASSETS / f"{name}.json")
        votes = args.votes if spec.labels == FERPLUS.labels else None
        table = data.load(args.data, labels="ferplus" if votes else "fer2013", votes=votes)
        train = table.part("train")
        rows = np.random.default_rng(SEED).permutation(len(train))[:IMAGES]
        path = ASSETS / f"{name}-int8.onnx"
        onnx.save(quantize(unpacked(ASSETS / f"{name}.onnx"), train.images[rows]), path)
        spec = spec.replace(name=path.stem, sha256=file_sha256(path), robustness={})
        scores = shipped_scores(Engine(open_graph(path, optimize_for="throughput"), spec), table, [])
        spec.replace(scores={key: round(value, 5) for key, value in scores.items()}).save(path.with_suffix(".json"))
        print(path.stem, scores, flush=True)


if __name__ == "__main__":
    main()
