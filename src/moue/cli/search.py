"""`moue search RECIPE --data SET --out DIR --minutes M --set k=LOW..HIGH`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from moue.cli.numbers import whole
from moue.cli.output import add_format, write
from moue.cli.recipe import add_recipe, read_training

if TYPE_CHECKING:
    from moue.search import Trial


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue search`."""
    add_recipe(
        parser,
        "gets the runs, and the best settings as best.yaml",
        set="what to search: k=LOW..HIGH for numbers (on a logarithmic scale where they span a factor of ten), k=A,B,C "
        "for a choice; k=V fixes a setting",
        minutes="time budget of all trainings together",
    )
    parser.add_argument(
        "--trials", type=whole(2, 1000), default=9, metavar="N", help="how many settings to draw (default: 9)"
    )
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Search, and print the trials.

    Returns:
        3 where rows of the data could not be read, else 0.
    """
    from moue.errors import UsageError
    from moue.evaluation.calibration import MIN_ROWS
    from moue.evaluation.curves import MIN_EPOCHS
    from moue.search import BEST, parse_space, search

    if args.minutes is None:
        raise UsageError("a search needs a time budget of all its trainings: --minutes 60")
    space, fixed = parse_space(args.set)
    given = read_training(argparse.Namespace(**{**vars(args), "set": fixed, "minutes": None}))
    from moue.cli.train import TrainingProgress

    try:
        trials = search(
            given.config,
            given.table,
            args.out,
            space,
            args.minutes,
            trials=args.trials,
            seed=given.config.run.seed,
            progress=lambda name: TrainingProgress(f"{name}: "),
            log=_log,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command resumes the search") from None
    held_out, epochs, baseline = _scale(trials[0])
    if held_out < MIN_ROWS:
        _log(f"{held_out} held-out images are few: the order is mostly chance")
    if epochs < MIN_EPOCHS:
        _log(
            f"the best trial had {epochs} epoch{'s' * (epochs != 1)}, and under {MIN_EPOCHS} settings say little of "
            "longer trainings: allow more --minutes, or take fewer --trials"
        )
    if (trials[0].accuracy or 0) <= baseline:
        _log(
            f"the best trial is no better than the majority baseline of {baseline:.1%}: its settings say little. Allow "
            "more --minutes, or search other settings"
        )
    failed = args.format != "table" or any(trial.reason for trial in trials)
    rows = [
        {
            "rung": trial.rung,
            "trial": trial.number,
            "minutes": round(trial.minutes, 2),
            **{name: str(value) for name, value in trial.settings.items()},
            "accuracy": trial.accuracy,
            **({"reason": trial.reason} if failed else {}),
        }
        for trial in trials
    ]
    write(rows, args.format, [trial.to_dict() for trial in trials], percent=("accuracy",))
    if args.format == "table":
        sys.stdout.write(f"\n{args.out / BEST}: the best settings as a recipe\n")
    return given.code


def _scale(trial: Trial) -> tuple[int, int, float]:
    """How many rows a trial held out, its epochs, and the accuracy of the most frequent class on those rows."""
    from moue.training.run_folder import Run

    spec = Run(trial.run).spec()
    trained = spec.trained
    return trained["data"]["validation"], trained["epochs"], spec.scores.get("validation_majority_baseline", 0.0)


def _log(text: str) -> None:
    sys.stderr.write(f"moue: {text}\n")
