"""`moue ensemble A B C … --data SET`: which of some models are worth averaging."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict

from moue.cli.output import add_format, note_shadowed_runs, report_left_out, write
from moue.cli.progress import Progress


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue ensemble`."""
    add = parser.add_argument
    add("members", nargs="+", metavar="MODEL", help="2 to 12 run folders, .onnx files or names of `moue models`")
    add("--data", required=True, metavar="SET", help="the set that they were trained on")
    add("--labels", metavar="SET", help="the data set's labels (default: what suits the models)")
    add("--votes", metavar="FILE", help="fer2013new.csv, for models of FER+'s classes")
    add("--skip-bad", action="store_true", help="go on without rows that cannot be used, and list them")
    add("--top", type=int, default=10, metavar="N", help="how many of the subsets are listed (default: 10)")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Print the best subsets, and on stderr how to write the first.

    Returns:
        3 where rows of the data could not be read, else 0.
    """
    from moue import data
    from moue.ensembles.rank_subsets import rank_subsets
    from moue.runtime.validation import check
    from moue.trained.open import labels_of, spec_of

    check("top", args.top, 1, whole=True)
    note_shadowed_runs(args.members)
    first = spec_of(args.members[0])
    with Progress("reading", "rows") as progress:
        table = data.load(
            args.data,
            labels=args.labels,
            fallback=labels_of(args.members[0], args.votes is not None),
            votes=args.votes,
            size=first.size,
            color=first.color,
            skip_bad=args.skip_bad,
            progress=progress,
        )
    code = report_left_out(table.left_out)
    with Progress("asking", "models") as progress:
        found = rank_subsets(args.members, table, progress)[: args.top]
    rows = [{"members": " + ".join(choice.members), **_numbers(asdict(choice))} for choice in found]
    write(rows, args.format, [{**row, "members": choice.members} for row, choice in zip(rows, found, strict=True)])
    chosen = next((choice.members for choice in found if len(choice.members) > 1), None)
    if chosen is not None:
        options = {"--labels": args.labels, "--votes": args.votes}
        given = [word for name, value in options.items() if value for word in (name, value)]
        command = shlex.join(["moue", "export", *chosen, "-o", "ensemble.onnx", "--data", args.data, *given])
        sys.stderr.write(f"moue: the best of several, as one file: {command}\n")
    return code


def _numbers(values: dict[str, object]) -> dict[str, object]:
    """Digits that mean something, without the names."""
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in values.items() if k != "members"}
