"""Put a finished run into the wheel as a bundled model, with the scores that it really has.

    python scripts/bundle.py RUN default --data fer2013.csv.zip

Exports the run (weights stored as float16 or int8), scores the file that is shipped on PublicTest, all of it and the
rows without a twin in Training, and writes both into its spec. ``python scripts/golden.py default`` comes next.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from moue import data
from moue.evaluation.assess import rows_of
from moue.evaluation.scoring import score
from moue.export import export
from moue.runtime.engine import open_model
from moue.runtime.weights import ASSETS
from moue.spec import ModelSpec


def main() -> None:
    """Export, score, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a finished run folder")
    parser.add_argument("name", help="the bundled model's name")
    parser.add_argument("--data", required=True, help="FER-2013, to score on")
    parser.add_argument("--calibration", type=Path, metavar="RUN", help="take temperature and threshold from this run")
    parser.add_argument("--store", choices=("float16", "int8"), default="float16", help="how the file holds weights")
    parser.add_argument("--folder", type=Path, default=ASSETS, help="where to put it (default: the package)")
    args = parser.parse_args()
    table = data.load(args.data)
    target = args.folder / f"{args.name}.onnx"
    export(args.run, target, store=args.store, data=table, name=args.name)
    if args.calibration is not None:
        # For a run on all of Training, which leaves nothing to calibrate on.
        other = ModelSpec.load(args.calibration / "spec.json")
        changes = {"temperature": other.temperature, "uncertain": other.uncertain}
        ModelSpec.load(target.with_suffix(".json")).with_(**changes).save(target.with_suffix(".json"))
    model = open_model(target, engine="onnxruntime")
    part, reference = rows_of(table, "public_test")
    found, _ = score(model, part, reference=reference, split="public_test")
    scores = {key: value for key, value in model.spec.scores.items() if key == "validation"}
    scores |= {"public_test": found.accuracy, "public_test_se": found.accuracy_se, "public_test_ece": found.ece}
    if found.twin_free is not None:
        scores |= {
            "public_test_twin_free": found.twin_free.accuracy,
            "public_test_twin_free_se": found.twin_free.accuracy_se,
        }
    spec = model.spec.with_(scores={key: round(value, 5) for key, value in scores.items()})
    spec.save(target.with_suffix(".json"))
    sys.stdout.write(f"{target}: {target.stat().st_size / 1e6:.2f} MB, {spec.scores}\n")


if __name__ == "__main__":
    main()
