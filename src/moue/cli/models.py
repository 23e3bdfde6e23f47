"""`moue models`: every trained model that can be used from here."""

from __future__ import annotations

import argparse
from pathlib import Path

from moue.cli.output import add_format, write


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue models`."""
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        default=[Path()],
        metavar="FOLDER",
        help="folders to look for exported models in, three levels deep (default: this one)",
    )
    parser.add_argument("--speed", action="store_true", help="measure faces a second on this machine")
    add_format(parser)


def run(args: argparse.Namespace) -> None:
    """List models; in a table or CSV a line each, in JSON with labels and all scores."""
    from moue.runtime.engine import open_model
    from moue.runtime.speed import faces_per_second
    from moue.runtime.weights import list_models

    models = list_models(args.folders)
    if args.speed:
        for model in models:
            engine = None if model["remark"] else open_model(model["path"], many=True)
            model["faces_per_second"] = engine and round(faces_per_second(engine), 1)
            model["engine"] = engine and engine.graph.engine
    rows = []
    for model in models:
        row = {k: model[k] for k in ("name", "origin", "network")}
        row["input"] = model["size"] and f"{model['size']}×{model['size']} {model['colour']}"
        row["classes"] = len(model["labels"])
        row |= {k: model[k] for k in ("parameters", "megabytes")}
        if args.speed:
            row |= {k: model[k] for k in ("faces_per_second", "engine")}
        row["public_test"] = model["scores"].get("public_test")
        row["remark"] = model["remark"]
        rows.append(row)
    if all(row["remark"] is None for row in rows):
        rows = [{k: v for k, v in row.items() if k != "remark"} for row in rows]
    write(rows, args.format, models)
