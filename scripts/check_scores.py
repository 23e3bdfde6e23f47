"""Evaluate every bundled model and compare with what its spec says; exit 1 when one differs.

python scripts/check_scores.py fer2013.csv.zip
"""

from __future__ import annotations

import sys

from moue import data
from moue.cli.output import to_table
from moue.evaluation.assess import rows_of
from moue.evaluation.scoring import score
from moue.runtime.engine import open_model
from moue.runtime.weights import list_models

#: Half an image in a PublicTest of 3,589: what rounding of the spec's scores may hide.
TOLERANCE = 0.5 / 3589


def main(source: str) -> int:
    """Compare, print, answer 1 when a score differs."""
    table = data.load(source)
    part, reference = rows_of(table, "public_test")
    rows = []
    for listed in list_models():
        model = open_model(listed["path"], engine="onnxruntime")
        if "public_test" not in model.spec.scores:
            continue
        found, _ = score(model, part, reference=reference, split="public_test")
        clean = found.twin_free
        says = model.spec.scores
        rows.append(
            {
                "model": model.spec.name,
                "says": says["public_test"],
                "has": found.accuracy,
                "twin_free_says": says.get("public_test_twin_free"),
                "twin_free_has": clean and clean.accuracy,
                "equal": abs(says["public_test"] - found.accuracy) <= TOLERANCE,
            }
        )
    sys.stdout.write(to_table(rows))
    return 0 if rows and all(row["equal"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(
        main(sys.argv[1])
        if len(sys.argv) == 2
        else "which data set? Type: python scripts/check_scores.py fer2013.csv.zip"
    )
