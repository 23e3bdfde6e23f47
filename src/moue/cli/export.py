"""`moue export RUN -o model.onnx`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from moue.cli.output import add_format, write
from moue.cli.progress import Progress
from moue.errors import require
from moue.spec import ModelSpec


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue export`."""
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="a finished run's folder")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="the file to write (default: RUN/model.onnx)")
    parser.add_argument("--int8", action="store_true", help="multiply in 8 bits; needs --data for its training images")
    parser.add_argument(
        "--store",
        choices=("float32", "float16", "int8"),
        default="float32",
        help="how the file holds the weights: float16 is half of it, int8 a quarter; the arithmetic stays float32",
    )
    parser.add_argument("--data", metavar="SET", help="pictures to check, calibrate and measure with")
    parser.add_argument(
        "--split", metavar="SPLIT", help="where the loss of rounding is measured (default: public_test)"
    )
    parser.add_argument("--labels", default="fer2013", metavar="SET", help="the data set's labels (default: fer2013)")
    parser.add_argument("--votes", metavar="FILE", help="fer2013new.csv, for --labels ferplus")
    parser.add_argument("--name", metavar="NAME", help="the model's name (default: the file's)")
    add_format(parser)


def run(args: argparse.Namespace) -> None:
    """Export, and print the file with what rounding cost."""
    require("torch", "train")
    from moue import data
    from moue.export import export

    table = None
    if args.data is not None:
        spec = ModelSpec.load(args.run_folder / "spec.json")
        with Progress("reading", "rows") as progress:
            table = data.load(
                args.data, labels=args.labels, votes=args.votes, size=spec.size, colour=spec.colour, progress=progress
            )
    path = args.out or args.run_folder / "model.onnx"
    spec = export(args.run_folder, path, int8=args.int8, store=args.store, data=table, split=args.split, name=args.name)
    row: dict[str, Any] = {
        "file": str(path),
        "name": spec.name,
        "megabytes": round(path.stat().st_size / 1e6, 3),
        "sha256": spec.sha256,
    }
    # Present where rounding was measured: {"public_test": 0.66, "public_test_fp32": 0.661}.
    for split in [name.removesuffix("_fp32") for name in spec.scores if name.endswith("_fp32")]:
        after, before = spec.scores[split], spec.scores[f"{split}_fp32"]
        row |= {"split": split, "accuracy": after, "accuracy_fp32": before, "loss": round(before - after, 6)}
    write([row], args.format)
