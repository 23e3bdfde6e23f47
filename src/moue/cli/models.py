"""`moue models`: the trained models that are installed or in a folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from moue.cli.output import add_format, write
from moue.spec import VIEWS

#: Scores, by their names in the spec, and the columns of a terminal's table, which shows them in percent.
SCORES = {
    "public_test": "public_test",
    "public_test_se": "±",
    "public_test_balanced_accuracy": "balanced",
    "public_test_deduplicated": "deduplicated",
    "public_test_ece": "calibration_error",
}


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
    parser.add_argument(
        "--speed",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure faces per second here, with the model's views; takes about a second a model (default: yes)",
    )
    add_format(parser)


def further_views(own: int | None, scores: dict[str, float]) -> list[dict[str, Any]]:
    """Accuracy and cost of more views than a model's own, where its spec has them.

    Returns:
        For each number of ``views``: ``accuracy`` on PublicTest, its ``gain`` over the model's own views (both
        fractions of 1), and ``cost``: the factor on the time.
    """
    name = "public_test_views_{}".format
    if own is None or name(own) not in scores:
        return []
    return [
        {
            "views": n,
            "accuracy": scores[name(n)],
            "gain": round(scores[name(n)] - scores[name(own)], 5),
            "cost": round(n / own, 2),
        }
        for n in VIEWS
        if n > own and name(n) in scores
    ]


def _text(views: dict[str, Any]) -> str:
    return f"{views['views']}: {100 * views['gain']:+.1f} points, {views['cost']:g}× the time".replace("-", "−")


def run(args: argparse.Namespace) -> None:
    """Print one row a model; JSON has labels and all scores, too."""
    from moue.errors import ModelError
    from moue.runtime.engine import open_model
    from moue.runtime.throughput import faces_per_second
    from moue.runtime.weights import list_models

    models = list_models(args.folders)
    for model in models:
        model["further_views"] = further_views(model["views"], model["scores"])
    if args.speed:
        for model in models:
            model |= {"faces_per_second": None, "engine": None}
            if not model["remark"]:
                try:
                    engine = open_model(model["path"], optimize_for="throughput")
                    model["faces_per_second"] = round(faces_per_second(engine, 16, 0.2, engine.spec.views), 1)
                    model["engine"] = engine.graph.engine
                except ModelError as error:
                    model["remark"] = str(error)
    rows = []
    for model in models:
        row = {k: model[k] for k in ("name", "origin", "network")}
        row["input"] = model["size"] and f"{model['size']}×{model['size']} {model['color']}"
        row["classes"] = len(model["labels"])
        row |= {k: model[k] for k in ("parameters", "megabytes")}
        if args.speed:
            row |= {k: model[k] for k in ("faces_per_second", "engine")}
        row |= {name: model["scores"].get(name) for name in SCORES}
        row["views"] = model["views"]
        row["further_views"] = "; ".join(map(_text, model["further_views"])) or None
        row["remark"] = model["remark"]
        rows.append(row)
    if all(row["remark"] is None for row in rows):
        rows = [{k: v for k, v in row.items() if k != "remark"} for row in rows]
    if args.format == "table":
        rows = [{SCORES.get(k, k): v for k, v in row.items()} for row in rows]
    write(rows, args.format, models, percent=SCORES.values())
