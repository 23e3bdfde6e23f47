"""The options of commands that read a data set for a trained model, and reading it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from moue.cli.output import report_left_out
from moue.cli.progress import Progress

if TYPE_CHECKING:
    from moue.data.table import ImageTable
    from moue.spec import ModelSpec


def add_dataset(parser: argparse.ArgumentParser, help: str, required: bool = False) -> None:
    """Add ``--data``, ``--labels``, ``--votes`` and ``--skip-bad``.

    Args:
        parser: of the command.
        help: what the data set is for.
        required: whether ``--data`` must be given.
    """
    add = parser.add_argument
    add("--data", required=required, metavar="SET", help=help)
    add("--labels", metavar="SET", help="the data set's labels (default: those that suit the model)")
    add("--votes", metavar="FILE", help="fer2013new.csv, for models of FER+'s classes")
    add("--skip-bad", action="store_true", help="skip rows that cannot be used, and list them")


def read_for(args: argparse.Namespace, model: str | Path, spec: ModelSpec) -> ImageTable:
    """Read ``args.data`` in the label set, size and color of a model; rows that are left out are listed on stderr.

    Args:
        args: with the options of :func:`add_dataset`.
        model: a run folder, an ``.onnx`` file or a name of ``moue models``.
        spec: the model's. A run's split belongs to images of its size and color.
    """
    from moue.data import load
    from moue.trained.open import labels_of

    with Progress("reading", "rows") as progress:
        table = load(
            args.data,
            labels=args.labels,
            fallback=labels_of(model, args.votes is not None),
            votes=args.votes,
            size=spec.size,
            color=spec.color,
            skip_bad=args.skip_bad,
            progress=progress,
        )
    report_left_out(table.left_out)
    return table
