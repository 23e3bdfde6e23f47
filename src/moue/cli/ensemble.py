"""`moue ensemble A B C … --data SET`: which of some models are worth averaging."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict
from typing import Any

from moue.cli.dataset import add_dataset, read_for, typed_options
from moue.cli.output import add_format, exit_code, note_shadowed_runs, write
from moue.cli.progress import Progress


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue ensemble`."""
    add = parser.add_argument
    add("members", nargs="+", metavar="MODEL", help="2 to 12 run folders, .onnx files or names of `moue models`")
    add_dataset(parser, "the set that they were trained on", required=True)
    add("--top", type=int, default=10, metavar="N", help="how many of the subsets are listed (default: 10)")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Print the best subsets, and on stderr how to write the first.

    Returns:
        3 where rows of the data could not be read, else 0.
    """
    from moue.ensembles.rank_subsets import rank_subsets
    from moue.evaluation.calibration import MIN_ROWS
    from moue.runtime.validation import check_number
    from moue.trained.open import spec_of

    check_number("top", args.top, 1, integer=True)
    note_shadowed_runs(args.members)
    table = read_for(args, args.members[0], spec_of(args.members[0]))
    with Progress("evaluating", "models") as progress:
        scores = rank_subsets(args.members, table, progress)[: args.top]
    if scores[0].n < MIN_ROWS:
        sys.stderr.write(f"moue: {scores[0].n} held-out images are few: the order is mostly chance\n")
    values = [asdict(score, dict_factory=_rounded) for score in scores]
    write([value | {"members": " + ".join(value["members"])} for value in values], args.format, values)
    best = next((score.members for score in scores if len(score.members) > 1), None)
    if best is not None:
        command = shlex.join(
            ["moue", "export", *best, "-o", "ensemble.onnx", "--data", args.data, *typed_options(args)]
        )
        sys.stderr.write(f"moue: to write the best subset as one file: {command}\n")
    return exit_code(table.left_out)


def _rounded(values: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in values}
