"""`moue compare [RECIPE|RUN|MODEL]… --data SET --out DIR`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from moue.cli.evaluate import SPLITS
from moue.cli.main import PARTIAL, USAGE_ERROR
from moue.cli.output import add_format, note_shadowed_runs, report_left_out, write
from moue.cli.progress import Progress
from moue.errors import require


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue compare`."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="RECIPE|RUN|MODEL",
        help="recipes to train (recipe:NAME where a model has that name), run folders (then ./NAME), or models "
        "(default: the study's three recipes)",
    )
    parser.add_argument(
        "--data", required=True, metavar="SET", help="the data set: CSV, folder, zip, imported set, or synth"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="where the page, its table and the runs go"
    )
    parser.add_argument("--minutes", type=float, metavar="M", help="fit each training to this time")
    parser.add_argument(
        "--split", choices=SPLITS, help="the rows to score (default: public_test, or test in a set without it)"
    )
    parser.add_argument(
        "--labels",
        choices=("fer2013", "ferplus", "folders"),
        help="the data's label set (default: that of a written set, or what suits all that is compared)",
    )
    parser.add_argument("--votes", metavar="FILE", help="fer2013new.csv: for --labels ferplus or optim.votes_weight")
    parser.add_argument("--seed", type=int, metavar="S", help="random seed of each training (default: the recipe's)")
    parser.add_argument("--set", action="append", default=[], metavar="K=V", help="change a setting of every recipe")
    parser.add_argument("--skip-bad", action="store_true", help="go on without rows that cannot be used, and list them")
    parser.add_argument(
        "--quote", action="store_true", help="set the study's own numbers beside, as with its recipes (study/…)"
    )
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Compare, and print the page's table.

    Returns:
        3 where a model could not be compared or rows of the data could not be read, 2 where no model could, else 0.
    """
    # Asked for now, so that hours of training do not end in the lack of what draws the page.
    require("matplotlib", "report")
    from moue.cli.train import TrainingProgress
    from moue.comparison import command_line, compare
    from moue.report.write import table_rows

    note_shadowed_runs(args.names)
    codes: list[int] = []
    rows = compare(
        args.names,
        data=args.data,
        out=args.out,
        minutes=args.minutes,
        split=args.split,
        settings=args.set,
        labels=args.labels,
        votes=args.votes,
        seed=args.seed,
        skip_bad=args.skip_bad,
        left_out=lambda rows: codes.append(report_left_out(rows)),
        quote=args.quote,
        progress=Progress,
        log=_say,
        watch=lambda name: TrainingProgress(f"{name}: "),
        command=command_line(sys.argv[1:]),
    )
    table = table_rows(rows)
    if args.format == "table":
        shown = (
            "model",
            "status",
            "accuracy",
            "accuracy_se",
            "deduplicated_accuracy",
            "training_hours",
            "epochs",
            "parameters",
        )
        write([{key: row[key] for key in (*shown, "reason")} for row in table], "table")
        sys.stdout.write(f"\n{args.out / 'comparison.html'}\n")
    else:
        write(table, args.format)
    if all(row.status != "not run" for row in rows):
        return max(codes)
    return PARTIAL if any(row.ran for row in rows) else USAGE_ERROR


def _say(text: str) -> None:
    sys.stderr.write(f"moue: {text}\n")
