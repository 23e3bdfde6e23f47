"""`moue report RUN|MODEL… --data SET -o DIR`."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from moue.cli.compare import COLUMNS, PERCENT
from moue.cli.dataset import SET_HELP, add_dataset, reading_options
from moue.cli.evaluate import SPLITS
from moue.cli.main import PARTIAL, USAGE_ERROR
from moue.cli.numbers import seed, whole
from moue.cli.output import add_format, note_shadowed_runs, report_left_out, write
from moue.cli.progress import Progress
from moue.errors import require


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue report`."""
    add = parser.add_argument
    add("names", nargs="+", metavar="RUN|MODEL", help="run folders, .onnx files, or names of `moue models`")
    add_dataset(
        parser,
        SET_HELP,
        required=True,
        labels="that of a written set, or what suits all models",
        votes="to show how far labels agree with FER+'s annotators",
    )
    add(
        "-o", "--out", required=True, type=Path, metavar="DIR", help="where the page, its Markdown, JSON and figures go"
    )
    add("--split", choices=SPLITS, help="the rows to score (default: public_test, or test in a set without it)")
    add(
        "--explain",
        type=whole(0, 100),
        default=1,
        metavar="N",
        help="explain N images of each class for the most accurate model; 0: none (default: 1)",
    )
    add("--robustness", action="store_true", help="score on corrupted images, too: 65 times as long")
    add(
        "--robustness-sample", type=whole(1), metavar="N", help="corrupt N of the images, drawn by class (default: all)"
    )
    add("--seed", type=seed(), default=0, help="of the choice of images that are explained (default: 0)")
    add("--title", help="the page's title (default: the data set)")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Score the models, write the page, and print its table.

    Returns:
        3 where a model could not be opened or rows of the data could not be read, 2 where no model could, else 0.
    """
    # Checked first: a long evaluation must not end in a missing package of the page.
    for module in ("matplotlib", "jinja2"):
        require(module, "report")
    from moue.reporting import report

    note_shadowed_runs(args.names)
    codes: list[int] = []
    results = report(
        args.names,
        data=args.data,
        out=args.out,
        split=args.split,
        reading=reading_options(args),
        explain=args.explain,
        robustness=args.robustness,
        robustness_sample=args.robustness_sample,
        seed=args.seed,
        title=args.title,
        left_out=lambda rows: codes.append(report_left_out(rows)),
        progress=Progress,
        log=_log,
        command="moue " + " ".join(map(shlex.quote, sys.argv[1:])),
    )
    rows = [result.to_row() for result in results]
    if args.format == "table":
        write([{key: row[key] for key in COLUMNS} for row in rows], "table", percent=PERCENT)
        sys.stdout.write(f"\n{args.out / 'report.html'}\n")
    else:
        write(rows, args.format)
    if all(result.status == "ok" for result in results):
        return max(codes)
    return PARTIAL if any(result.status == "ok" for result in results) else USAGE_ERROR


def _log(text: str) -> None:
    sys.stderr.write(f"moue: {text}\n")
