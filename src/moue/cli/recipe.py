"""The options of commands that train a recipe several times, and reading what they name."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from moue.cli.dataset import SET_HELP, add_dataset, reading_options
from moue.cli.numbers import real, seed
from moue.cli.output import report_left_out
from moue.cli.progress import Progress
from moue.errors import require, shortened

if TYPE_CHECKING:
    from moue.data.table import ImageTable
    from moue.training.config import Config


@dataclass(frozen=True)
class Training:
    """A recipe, and what it is trained on."""

    recipe: Config
    config: Config
    """The recipe with the settings that were typed."""
    settings: list[str]
    """The names of those settings, with or without their values."""
    table: ImageTable
    code: int
    """3 where rows of the data could not be read, else 0."""


def add_recipe(
    parser: argparse.ArgumentParser,
    out: str,
    set: str = "change a setting, as in optim.lr=3e-4",
    minutes: str = "time budget of each training",
) -> None:
    """Add RECIPE, ``--data``, ``--out``, ``--set``, ``--minutes`` and ``--seed``.

    Args:
        parser: of the command.
        out: what the folder ``--out`` gets, for the help.
        set, minutes: the help of these options.
    """
    parser.add_argument(
        "recipe", metavar="RECIPE", help="a recipe's name, as `moue train --help` lists them, or a YAML or JSON file"
    )
    add_training(parser, "DIR", out, set, minutes)


def add_training(parser: argparse.ArgumentParser, metavar: str, out: str, set: str, minutes: str) -> None:
    """Add what :func:`add_recipe` adds but for RECIPE; ``metavar`` is what ``--out`` is called."""
    add = parser.add_argument
    add_dataset(
        parser, SET_HELP, required=True, labels="the recipe's", votes="for --labels ferplus or optim.votes_weight"
    )
    add("-o", "--out", required=True, metavar=metavar, type=Path, help=out)
    add("--set", action="append", default=[], metavar="K=V", help=set)
    add("--minutes", type=real(0, exclusive=True), metavar="M", help=minutes)
    add("--seed", type=seed(), metavar="S", help="random seed (default: the recipe's)")


def read_training(args: argparse.Namespace) -> Training:
    """The recipe with its settings, and the data set in its size and color.

    Raises:
        UsageError: for an unknown recipe or setting, before the data are read.
        DataError: for data that cannot be used.
        MissingExtra: without torch and Lightning.
    """
    from moue.training.recipe import resolve_init

    recipe, config, settings = read_recipe(args)
    require("lightning", "train")
    config = resolve_init(config)
    table = read_table(args, config)
    return Training(recipe, config, settings, table, report_left_out(table.left_out))


def read_recipe(args: argparse.Namespace) -> tuple[Config, Config, list[str]]:
    """The recipe, the recipe with the settings that were typed, and the names of those; needs no torch.

    Raises:
        UsageError: for an unknown recipe or setting, or an ``--out`` that cannot be a folder.
    """
    from moue.files import require_run_directory
    from moue.training.recipe import load_recipe

    require_run_directory(args.out)
    options = {
        "run.minutes": args.minutes,
        "run.seed": args.seed,
        "data.labels": args.labels,
        "data.votes": args.votes,
    }
    given = {name: value for name, value in options.items() if value is not None}
    recipe = load_recipe(args.recipe)
    return recipe, recipe.override(args.set, given), [*args.set, *given]


def read_table(args: argparse.Namespace, config: Config) -> ImageTable:
    """The data set in the size and color of a configuration's network, with its labels. A folder of other classes than
    FER-2013's has its own where no labels are asked for; a line on stderr says so.

    Raises:
        DataError: for data that cannot be used.
    """
    from moue.data.loading import FER2013_OR_OWN, chose_own_classes

    with Progress("reading", "rows") as progress:
        reading = replace(reading_options(args), labels=config.data.labels, votes=config.data.votes)
        size, color = config.model.size, config.model.color
        table = reading.load(args.data, fallback=FER2013_OR_OWN, size=size, color=color, progress=progress)
    if reading.labels is None and chose_own_classes(table, args.data):
        names = shortened(", ".join(table.label_set.labels))
        sys.stderr.write(f"moue: the classes are the folders' own ({names}): most are none of FER-2013's\n")
    return table
