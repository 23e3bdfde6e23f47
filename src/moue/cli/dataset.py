"""The options of commands that read a data set for a trained model, and reading it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from moue.cli.output import report_left_out
from moue.cli.progress import Progress

if TYPE_CHECKING:
    from moue.data.loading import ReadingOptions
    from moue.data.table import ImageTable
    from moue.spec import ModelSpec


#: What the help of every command that reads a data set calls one.
SET_HELP = (
    "the competition's CSV (plain, .gz, .zip, .tar.gz), a folder or zip with one subfolder per class, "
    "a file that `moue data import` wrote, or synth or synth:N:SEED"
)


def add_dataset(
    parser: argparse.ArgumentParser,
    help: str,
    required: bool = False,
    labels: str = "those that suit the model",
    votes: str = "for models of FER+'s classes",
) -> None:
    """Add ``--data`` and the options of :func:`add_reading`.

    Args:
        parser: of the command.
        help: what the data set is for.
        required: whether ``--data`` must be given.
        labels, votes: as of :func:`add_reading`.
    """
    parser.add_argument("--data", required=required, metavar="SET", help=help)
    add_reading(parser, labels, votes)


def add_reading(parser: argparse.ArgumentParser, labels: str, votes: str) -> None:
    """Add the options that say how a data set is read; :func:`reading_options` gives their values.

    Args:
        parser: of the command.
        labels: which label set is the default, for the help.
        votes: what the votes are for.
    """
    add = parser.add_argument
    add(
        "--labels",
        choices=("fer2013", "ferplus", "folders"),
        help=f"the data's label set; folders takes the classes' own names (default: {labels})",
    )
    add("--votes", metavar="FILE", help=f"fer2013new.csv, {votes}")
    add(
        "--classes",
        metavar="VALUE=NAME,…",
        help="names of folders or labels that are numbers or other words: 1=surprise,2=fear,…, a file of that, "
        "raf-db or affectnet",
    )
    add(
        "--label-pattern",
        metavar="REGEX",
        help="finds the class in an image's file name, as the group (?P<label>…), instead of its folder; or jaffe",
    )
    add("--skip-bad", action="store_true", help="skip rows that cannot be used, and list them")


def reading_options(args: argparse.Namespace) -> ReadingOptions:
    """What the options of :func:`add_reading` say."""
    from moue.data.loading import ReadingOptions

    return ReadingOptions(args.labels, args.votes, args.classes, args.label_pattern, args.skip_bad)


def typed_options(args: argparse.Namespace) -> list[str]:
    """The options of :func:`add_reading` as they are typed again."""
    words = []
    for name in ("labels", "votes", "classes", "label_pattern", "skip_bad"):
        if value := getattr(args, name):
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [value])]
    return words


def read_for(args: argparse.Namespace, model: str | Path, spec: ModelSpec) -> ImageTable:
    """Read ``args.data`` in the label set, size and color of a model; rows that are left out are listed on stderr.

    Args:
        args: with the options of :func:`add_dataset`.
        model: a run folder, an ``.onnx`` file or a name of ``moue models``.
        spec: the model's. A run's split belongs to images of its size and color.
    """
    from moue.trained.open import labels_of

    with Progress("reading", "rows") as progress:
        table = reading_options(args).load(
            args.data,
            fallback=labels_of(model, args.votes is not None),
            size=spec.size,
            color=spec.color,
            progress=progress,
        )
    report_left_out(table.left_out)
    return table
