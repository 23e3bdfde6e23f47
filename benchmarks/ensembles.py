"""Ensembles, each beside another model, on the same images of PublicTest.

    python benchmarks/ensembles.py bag=runs/bag/member-4 bag=runs/long --data fer2013.csv.zip -o pairs.json

A pair is ENSEMBLE=OTHER, of run folders or .onnx files, whose differences are tested one pair at a time: McNemar's test
and a bootstrap's 95 % interval, uncorrected.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from moue import data
from moue.evaluation.evaluate_model import rows_of
from moue.evaluation.scoring import score
from moue.evaluation.significance import compare_pairs
from moue.files import atomic_write
from moue.trained.open import open_any


def main() -> None:
    """Score, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="+", metavar="ENSEMBLE=OTHER")
    parser.add_argument("--data", required=True, help="FER-2013")
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    pairs = [tuple(pair.split("=", 1)) for pair in args.pairs]
    table = data.load(args.data, labels="fer2013")
    part, reference = rows_of(table, "public_test")
    models, correct = {}, {}
    for name in dict.fromkeys(name for pair in pairs for name in pair):
        began = time.process_time()
        model = open_any(name)
        result, predictions = score(model, part, reference=reference, split="public_test")
        correct[name] = predictions.class_ids == part.labels
        models[name] = {
            "accuracy": result.accuracy,
            "accuracy_se": result.accuracy_se,
            "deduplicated": result.deduplicated.accuracy if result.deduplicated else None,
            "balanced_accuracy": result.balanced_accuracy,
            "ece": result.ece,
            "validation": model.spec.scores.get("validation"),
            "parameters": model.spec.parameters,
            "cpu_seconds": round(time.process_time() - began, 1),
        }
        sys.stdout.write(f"{name}: {result.accuracy:.2%}\n")
    tests = []
    for name, other in pairs:
        [test] = compare_pairs({name: correct[name], other: correct[other]})
        tests.append({k: getattr(test, k) for k in ("a", "b", "n", "only_a", "only_b", "difference", "low", "high")})
        tests[-1]["p"] = test.p_mcnemar
        sys.stdout.write(f"{tests[-1]}\n")
    text = json.dumps({"split": "public_test", "models": models, "pairs": tests}, indent=1) + "\n"
    with atomic_write(args.out) as path:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
