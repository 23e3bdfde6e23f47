"""`moue compare [RECIPE|RUN|MODEL|PREDICTIONS]… --data SET --out DIR`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moue.cli.dataset import SET_HELP, add_dataset, reading_options
from moue.cli.evaluate import SPLITS
from moue.cli.main import PARTIAL, USAGE_ERROR
from moue.cli.numbers import real, seed, whole
from moue.cli.output import add_format, note_shadowed_runs, report_left_out, write
from moue.cli.progress import Progress
from moue.errors import require

if TYPE_CHECKING:
    from moue.evaluation.model_result import ModelResult

#: The columns of the table on a terminal.
COLUMNS = (
    "model",
    "status",
    "accuracy",
    "accuracy_se",
    "majority_baseline",
    "balanced_accuracy",
    "deduplicated_accuracy",
    "training_hours",
    "epochs",
    "parameters",
    "reason",
)
#: Those of fractions.
PERCENT = ("accuracy", "accuracy_se", "majority_baseline", "balanced_accuracy", "deduplicated_accuracy")


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue compare`."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="RECIPE|RUN|MODEL|PREDICTIONS",
        help="recipes to train (recipe:NAME where a model has that name), run folders (then ./NAME), models, or "
        "predictions as moue evaluate --predictions writes them, .csv or .parquet (default: the study's three recipes)",
    )
    add_dataset(
        parser,
        SET_HELP,
        required=True,
        labels="that of a written set, or what suits all models",
        votes="for --labels ferplus or optim.votes_weight",
    )
    parser.add_argument(
        "-o", "--out", required=True, type=Path, metavar="DIR", help="where the page, its table and the runs go"
    )
    parser.add_argument("--minutes", type=real(0, exclusive=True), metavar="M", help="time budget of each training")
    parser.add_argument(
        "--split", choices=SPLITS, help="the rows to score (default: public_test, or test in a set without it)"
    )
    parser.add_argument("--seed", type=seed(), metavar="S", help="random seed of each training (default: the recipe's)")
    parser.add_argument(
        "--seeds",
        type=whole(1, 20),
        default=1,
        metavar="N",
        help="train each recipe N times, with seeds counted up from its own: mean and standard deviation (default: 1)",
    )
    parser.add_argument("--set", action="append", default=[], metavar="K=V", help="change a setting of every recipe")
    parser.add_argument(
        "--quote",
        action="store_true",
        help="show the study's published numbers, too; always shown with its recipes (study/…)",
    )
    parser.add_argument("--title", help="the page's title (default: the models and the data set)")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Compare models, write the page, and print its table.

    Returns:
        3 where a model could not be compared or rows of the data could not be read, 2 where no model could, else 0.
    """
    # Checked first: hours of training must not end in a missing package of the page.
    for module in ("matplotlib", "jinja2"):
        require(module, "report")
    from moue.cli.train import TrainingProgress
    from moue.comparison import compare

    note_shadowed_runs(args.names)
    codes: list[int] = []
    results = compare(
        args.names,
        data=args.data,
        out=args.out,
        minutes=args.minutes,
        split=args.split,
        settings=args.set,
        reading=reading_options(args),
        seed=args.seed,
        seeds=args.seeds,
        left_out=lambda rows: codes.append(report_left_out(rows)),
        quote=args.quote,
        title=args.title,
        progress=Progress,
        log=_log,
        training_progress=lambda name: TrainingProgress(f"{name}: "),
        command="moue " + " ".join(map(shlex.quote, sys.argv[1:])),
    )
    rows = [result.to_row() for result in results]
    if args.format == "table":
        write(_table(results, rows), "table", percent=PERCENT)
        sys.stdout.write(f"\n{args.out / 'comparison.html'}\n")
    else:
        write(rows, args.format)
    if all(result.status != "not run" for result in results):
        return max(codes)
    return PARTIAL if any(result.status == "ok" for result in results) else USAGE_ERROR


def _table(results: Sequence[ModelResult], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a terminal; where a recipe was trained with several seeds, mean ± standard deviation beside."""
    from moue.evaluation.seeds import spread

    shown = []
    several = any(len(result.seeds) > 1 for result in results)
    for result, row in zip(results, rows, strict=True):
        cells = {}
        for key in COLUMNS:
            cells[key] = row[key]
            if key == "accuracy_se" and several:
                over = spread(result, "accuracy")
                cells["seeds"] = len(result.seeds) or None
                cells["mean ± sd"] = over and f"{over.mean:.2%} ± {over.sd:.2%}"
        shown.append(cells)
    return shown


def _log(text: str) -> None:
    sys.stderr.write(f"moue: {text}\n")
