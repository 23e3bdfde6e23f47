"""`moue cross-validate RECIPE --data SET --out DIR`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from moue.cli.dataset import SET_HELP, add_dataset, reading_options
from moue.cli.output import add_format, report_left_out, write
from moue.cli.progress import Progress
from moue.errors import require


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue cross-validate`."""
    add = parser.add_argument
    add("recipe", metavar="RECIPE", help="a recipe's name, as `moue train --help` lists them, or a YAML file")
    add_dataset(
        parser, SET_HELP, required=True, labels="the recipe's", votes="for --labels ferplus or optim.votes_weight"
    )
    add("-o", "--out", required=True, metavar="DIR", type=Path, help="gets a run a fold, and the held-out predictions")
    add("--folds", type=int, default=5, metavar="K", help="into how many parts Training is cut (default: 5)")
    add("--set", action="append", default=[], metavar="K=V", help="change a setting, as in optim.lr=3e-4")
    add("--minutes", type=float, metavar="M", help="time budget of each training")
    add("--seed", type=int, metavar="S", help="random seed (default: the recipe's)")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Train all folds that are not trained yet, and print the scores.

    Returns:
        3 where rows of the data could not be read, else 0.
    """
    from moue.files import require_directory
    from moue.training.recipe import load_recipe

    require_directory(args.out)
    options = {
        "run.minutes": args.minutes,
        "run.seed": args.seed,
        "data.labels": args.labels,
        "data.votes": args.votes,
    }
    recipe = load_recipe(args.recipe)
    given = {name: value for name, value in options.items() if value is not None}
    config = recipe.override(args.set, given)
    require("lightning", "train")
    from moue.cli.train import TrainingProgress
    from moue.cross_validation import AVERAGED, cross_validate

    with Progress("reading", "rows") as progress:
        reading = replace(reading_options(args), labels=config.data.labels, votes=config.data.votes)
        table = reading.load(args.data, size=config.model.size, color=config.model.color, progress=progress)
    code = report_left_out(table.left_out)
    try:
        result = cross_validate(
            config,
            table,
            args.out,
            args.folds,
            recipe=recipe,
            settings=[*args.set, *given],
            progress=lambda name: TrainingProgress(f"{name}: "),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command resumes the cross-validation") from None
    values = result.to_dict()
    if args.format != "table":
        write(values["folds"], args.format, values)
        return code
    rows = [
        {"fold": str(row["fold"]), "n": row["n"], **{s: f"{row[s]:.4f}" for s in AVERAGED}} for row in values["folds"]
    ]
    rows.append(
        {"fold": "mean ± sd", "n": result.pooled.n}
        | {s: f"{values['mean'][s]:.4f} ± {values['sd'][s]:.4f}" for s in AVERAGED}
    )
    write(rows, "table")
    sys.stdout.write(f"\n{args.out}: a run a fold, and each row's prediction by the run that held it out\n")
    return code
