"""Write a comparison's page again in its present form, from the numbers that its ``comparison.json`` keeps.

    python scripts/redraw.py results/ablation

For pages whose runs are no longer there: nothing is computed again but what follows from those numbers. Predictions of
single images are not among them, so reliability and risk curves are left out.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from moue.evaluation.metrics import ClassScore, Evaluation, Scores
from moue.evaluation.model_result import ModelResult, PublishedClaims
from moue.evaluation.significance import Pair
from moue.report.write import write_comparison


def scores(values: dict[str, Any]) -> dict[str, Any]:
    """What :class:`Scores` is made of."""
    per_class = {name: ClassScore(**score) for name, score in values["per_class"].items()}
    return values | {"per_class": per_class, "confusion": np.array(values["confusion"], np.int64)}


def evaluation(values: dict[str, Any]) -> Evaluation:
    deduplicated = values["deduplicated"] and Scores(**scores(values["deduplicated"]))
    return Evaluation(**scores(values) | {"labels": tuple(values["labels"]), "deduplicated": deduplicated})


def result(row: dict[str, Any]) -> ModelResult:
    """A model of the page, without its predictions, its seeds and its members."""
    if row.get("seeds") or row.get("ensemble"):
        sys.exit(f"{row['model']} has seeds or members, of which comparison.json does not keep all: compare it again.")
    plain = ("network", "reason", "epochs", "core_hours", "parameters", "gflop", "latency_ms", "engine", "threads")
    return ModelResult(
        row["model"],
        **{key: row[key] for key in (*plain, "history", "details")},
        hours=row["training_hours"],
        evaluation=row["evaluation"] and evaluation(row["evaluation"]),
        published=row["published"] and PublishedClaims(**row["published"]),
    )


def main(folder: Path) -> None:
    kept = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    names = {field.name for field in fields(Pair)}
    pairs = [Pair(**{key: value for key, value in pair.items() if key in names}) for pair in kept["pairs"]]
    again = (
        f"{time.strftime('%Y-%m-%d')}, by scripts/redraw.py, from the numbers in comparison.json. Predictions of "
        "single images were not kept, so there are no reliability and risk curves."
    )
    results = [result(row) for row in kept["rows"]]
    provenance = kept["provenance"] | {"Written again": again}
    write_comparison(results, folder, title=kept["title"], provenance=provenance, pairs=pairs)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
