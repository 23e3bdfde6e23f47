"""`moue cross-validate RECIPE --data SET --out DIR`."""

from __future__ import annotations

import argparse
import sys

from moue.cli.output import add_format, write
from moue.cli.recipe import add_recipe, read_training


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue cross-validate`."""
    add_recipe(parser, "gets a run a fold, and the held-out predictions")
    parser.add_argument(
        "--folds", type=int, default=5, metavar="K", help="into how many parts Training is cut (default: 5)"
    )
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Train all folds that are not trained yet, and print the scores.

    Returns:
        3 where rows of the data could not be read, else 0.
    """
    given = read_training(args)
    from moue.cli.train import TrainingProgress
    from moue.cross_validation import AVERAGED, cross_validate

    try:
        result = cross_validate(
            given.config,
            given.table,
            args.out,
            args.folds,
            recipe=given.recipe,
            settings=given.settings,
            progress=lambda name: TrainingProgress(f"{name}: "),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command resumes the cross-validation") from None
    values = result.to_dict()
    if args.format != "table":
        write(values["folds"], args.format, values)
        return given.code
    rows = [
        {"fold": str(row["fold"]), "n": row["n"], **{s: f"{row[s]:.4f}" for s in AVERAGED}} for row in values["folds"]
    ]
    mean = {s: f"{values['mean'][s]:.4f} ± {values['sd'][s]:.4f}" for s in AVERAGED}
    write([*rows, {"fold": "mean ± sd", "n": result.pooled.n, **mean}], "table")
    sys.stdout.write(f"\n{args.out}: a run a fold, and each row's prediction by the run that held it out\n")
    return given.code
