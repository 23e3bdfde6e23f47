"""Put a finished run, or an exported or merged model, into the wheel with its measured scores.

    python scripts/bundle.py RUN default --data fer2013.csv.zip
    python scripts/bundle.py RUN ferplus --data fer2013.csv.zip --votes fer2013new.csv
    python scripts/bundle.py full.onnx full --data fer2013.csv.zip --folder packages/moue-models/src/moue_models/models

Exports a run (weights stored as float16 or int8) or takes an ``.onnx`` file as it is, scores the file that is shipped
on PublicTest, once: all of it, the rows without a duplicate in Training, and all of it with every number of views.
These scores go into its spec. Next, run ``python scripts/golden.py default`` and
``python scripts/robustness.py default --data fer2013.csv.zip --sample 300``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from moue import data
from moue.evaluation.shipped_scores import shipped_scores
from moue.export import export
from moue.labels import FERPLUS
from moue.runtime.engine import open_model
from moue.runtime.weights import ASSETS, find_model
from moue.spec import VIEWS, ModelSpec
from moue.trained.open import spec_of


def main(argv: list[str] | None = None) -> None:
    """Export or copy, score, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a finished run folder, or an .onnx with its .json")
    parser.add_argument("name", help="the shipped model's name")
    parser.add_argument("--data", required=True, help="FER-2013, to score on")
    parser.add_argument("--votes", metavar="FILE", help="fer2013new.csv, for a model of FER+'s classes")
    parser.add_argument("--calibration", metavar="MODEL", help="take temperature and threshold from this run or model")
    parser.add_argument("--store", choices=("float16", "int8"), default="float16", help="how the file holds weights")
    parser.add_argument("--folder", type=Path, default=ASSETS, help="where to put it (default: the package)")
    parser.add_argument(
        "--views", type=int, nargs="+", default=tuple(VIEWS), metavar="N", help="views to score with (default: all)"
    )
    args = parser.parse_args(argv)
    target: Path = args.folder / f"{args.name}.onnx"
    is_exported = args.source.is_file()
    spec = find_model(args.source).spec if is_exported else ModelSpec.load(args.source / "spec.json")
    # For a run on all of Training, which leaves no rows to calibrate on. Read first: it may be the model to replace.
    calibration = spec_of(args.calibration) if args.calibration is not None else None
    labels = "ferplus" if spec.labels == FERPLUS.labels else "fer2013"
    table = data.load(args.data, labels=labels, votes=args.votes if labels == "ferplus" else None)
    if is_exported:
        if args.source.resolve() != target.resolve():
            shutil.copyfile(args.source, target)
        spec = spec.replace(name=args.name)
    else:
        spec = export(args.source, target, store=args.store, data=table, name=args.name)
    if calibration is not None:
        spec = spec.replace(temperature=calibration.temperature, uncertain_below=calibration.uncertain_below)
    spec.save(target.with_suffix(".json"))
    scores = {key: value for key, value in spec.scores.items() if key == "validation"}
    scores |= shipped_scores(open_model(target, engine="onnxruntime"), table, args.views)
    spec = spec.replace(scores={key: round(value, 5) for key, value in scores.items()})
    spec.save(target.with_suffix(".json"))
    sys.stdout.write(f"{target}: {target.stat().st_size / 1e6:.2f} MB, {spec.scores}\n")


if __name__ == "__main__":
    main()
