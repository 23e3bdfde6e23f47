"""`moue cross-validate RECIPE --data SET --out DIR`."""

from __future__ import annotations

import argparse
import sys

from moue.cli.numbers import whole
from moue.cli.output import add_format, write
from moue.cli.recipe import add_recipe, read_training

#: Columns of the table, as `moue evaluate` calls them.
HEADS = {"majority_baseline": "majority", "balanced_accuracy": "balanced", "macro_f1": "macro F1", "top2": "top 2"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue cross-validate`."""
    add_recipe(parser, "gets a run a fold, and the held-out predictions")
    parser.add_argument(
        "--folds", type=whole(2, 20), default=5, metavar="K", help="into how many parts Training is cut (default: 5)"
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
    for remark in result.remarks:
        sys.stderr.write(f"moue: {remark}\n")
    if args.format != "table":
        write(values["folds"], args.format, values)
        return given.code
    rows = [
        {"fold": str(row["fold"]), "n": row["n"], **{HEADS.get(s, s): _shown(s, row[s]) for s in AVERAGED}}
        for row in values["folds"]
    ]
    mean = {HEADS.get(s, s): f"{_shown(s, values['mean'][s])} ± {_shown(s, values['sd'][s])}" for s in AVERAGED}
    write([*rows, {"fold": "mean ± sd", "n": result.pooled.n, **mean}], "table")
    sys.stdout.write(f"\n{args.out}: a run a fold, and each row's prediction by the run that held it out\n")
    return given.code


def _shown(score: str, value: float) -> str:
    return f"{value:.3f}" if score == "nll" else f"{value:.2%}"
