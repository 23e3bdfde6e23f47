"""Fits every classifier on one network's features of FER-2013, and scores each on PublicTest, beside the network alone.

`moue ensemble hybrid` fits the same files; here the features are computed once for all of them.

    python benchmarks/hybrids.py default --data fer2013.csv.zip -o results/ensembles/hybrids.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from moue.data.loading import ReadingOptions
from moue.data.splits import deduplicated
from moue.ensembles.classifiers import CLASSIFIERS
from moue.ensembles.classifiers.base import Classifier
from moue.ensembles.hybrid import compute_features, fit_hybrid
from moue.evaluation.metrics import standard_error
from moue.evaluation.significance import compare_pairs
from moue.files import atomic_write
from moue.preprocess import to_inputs
from moue.runtime.graph import OnnxRuntimeGraph
from moue.tta import make_views, mean_over_views

Features = NDArray[np.float32]


def main() -> None:
    """Fit, score, write a row a classifier."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--classifiers", default=",".join(CLASSIFIERS), help="names, with commas between")
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    table = ReadingOptions().load(args.data)
    fitting, test = compute_features(args.model, table), table.part("public_test")
    spec = fitting.trunk.spec
    public, logits = fitting.trunk(make_views(to_inputs(test.images, spec.size, spec.color), spec.views))
    network = mean_over_views(logits, spec.views)
    unique = deduplicated(test, table.part("train"))
    right = {args.model: network.argmax(1) == test.labels}
    rows = json.loads(args.out.read_text()) if args.out.exists() else []
    for name in args.classifiers.split(","):
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.onnx"
            result = fit_hybrid(fitting, path, name)
            megabytes = path.stat().st_size / 1e6
        seconds = time.process_time() - start
        logits = mean_over_views(_logits(result.classifier, public, len(table.label_set)), spec.views)
        right[name] = logits.argmax(1) == test.labels
        [pair] = compare_pairs({name: right[name], args.model: right[args.model]})
        accuracy = float(right[name].mean())
        rows = [row for row in rows if row["classifier"] != name]
        rows.append(
            {
                "classifier": name,
                "model": args.model,
                "settings": result.spec.trained["settings"],
                "held_out": len(fitting.truth),
                "validation": result.spec.scores.get("validation"),
                "network_validation": result.spec.trained.get("gain", {}).get("best_member_accuracy"),
                "public_test": round(accuracy, 5),
                "public_test_se": round(standard_error(accuracy, len(test)), 5),
                "public_test_deduplicated": round(float(right[name][unique].mean()), 5),
                "network_public_test": round(float(right[args.model].mean()), 5),
                "against_network": pair.to_dict(),
                "megabytes": round(megabytes, 2),
                "cpu_seconds": round(seconds, 1),
                "remarks": result.spec.trained.get("remarks", []),
            }
        )
        with atomic_write(args.out) as part:
            part.write_text(json.dumps(rows, indent=1) + "\n")
        print(json.dumps({key: rows[-1][key] for key in ("classifier", "public_test", "cpu_seconds")}), flush=True)


def _logits(classifier: Classifier, features: Features, k: int) -> Features:
    """A classifier's logits, from the nodes that it is written as."""
    nodes, constants = classifier.nodes("features")
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])
        for name, width in (("features", features.shape[1]), ("logits", k))
    ]
    graph = helper.make_graph(nodes, "classifier", ports[:1], ports[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    run = OnnxRuntimeGraph(model.SerializeToString())
    return np.concatenate([run({"features": features[i : i + 64]})[0] for i in range(0, len(features), 64)])


if __name__ == "__main__":
    main()
