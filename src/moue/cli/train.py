"""`moue train RECIPE --data SET --out RUN`."""

from __future__ import annotations

import argparse
import io
import json
import sys
import textwrap
from collections.abc import Callable
from contextlib import nullcontext, redirect_stderr
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moue.cli.clock import clock
from moue.cli.dataset import SET_HELP, add_dataset
from moue.cli.main import OK
from moue.cli.numbers import real, seed, whole
from moue.cli.output import add_format, report_left_out, write
from moue.cli.recipe import read_recipe, read_table
from moue.errors import UsageError, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moue.data.table import ImageTable
    from moue.spec import ModelSpec
    from moue.training.config import Config
    from moue.training.progress import Status
    from moue.training.run_folder import Run


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue train`."""
    from moue.training.config import MAY_DIFFER
    from moue.training.recipe import about, recipes

    shipped = recipes()
    width = max(map(len, shipped))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(["recipes:", *(f"  {name:{width}}  {about(path)}" for name, path in shipped.items())])
    parser.add_argument("recipe", metavar="RECIPE", help="a shipped recipe's name (below), or a YAML or JSON file")
    parser.add_argument(
        "--settings",
        action=_ListSettings,
        nargs=0,
        help="print all settings: name, type, default, range, meaning, and the value in RECIPE where that is given",
    )
    add_dataset(
        parser, SET_HELP, required=True, labels="the recipe's", votes="for --labels ferplus or optim.votes_weight"
    )
    parser.add_argument("-o", "--out", required=True, metavar="RUN", type=Path, help="the run folder to write")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="K=V",
        help="change a setting, as in optim.lr=3e-4; `moue networks` lists what model.options takes",
    )
    parser.add_argument("--minutes", type=real(0, exclusive=True), metavar="M", help="fit the schedule to this time")
    parser.add_argument("--seed", type=seed(), metavar="S", help="random seed (default: the recipe's)")
    parser.add_argument(
        "--resume", action="store_true", help=f"resume the run in --out; {', '.join(MAY_DIFFER)} may differ"
    )
    parser.add_argument("--ray", action="store_true", help="train on a Ray cluster (RAY_ADDRESS, or a local one)")
    parser.add_argument(
        "--workers", type=whole(1), metavar="N", help="with --ray: processes (default: all GPUs, or CPUs)"
    )
    add_format(parser)


class _ListSettings(argparse.Action):
    """Makes the settings the only thing that is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: object) -> None:
        """Drop what a training needs."""
        for action in parser._actions:
            action.required = False
        namespace.settings = True


def run(args: argparse.Namespace) -> int:
    """Train, and say where the run is.

    Returns:
        3 where rows of the data could not be read, else 0.
    """
    if args.settings:
        return _print_settings(args)
    # A mistake in what was typed is an error before torch is loaded, which takes seconds.
    return train(args, *read_recipe(args))


def train(
    args: argparse.Namespace,
    recipe: Config,
    config: Config,
    settings: Sequence[str],
    report: Callable[[argparse.Namespace, Run, ImageTable], None] | None = None,
) -> int:
    """Train one run, or resume it, and say where it is.

    Args:
        args: with ``data``, ``out``, ``resume``, ``format`` and the options that say how data are read.
        recipe, config, settings: as of :func:`moue.cli.recipe.read_recipe`.
        report: prints the finished run, which was trained on that table; by default, :func:`print_run` does.

    Returns:
        3 where rows of the data could not be read, else 0.
    """
    from moue.training.recipe import resolve_init

    if args.workers is not None and not args.ray:
        raise UsageError(
            f"--workers goes with --ray. Got {args.workers} alone. For several processes on this machine: torchrun "
            "--nproc-per-node N -m moue train …"
        )
    require("lightning", "train")
    from moue.training import processes
    from moue.training.loop import fit
    from moue.training.run_folder import Run

    with processes.joined(config.run.device):
        first = processes.is_first()
        unfinished = Run(args.out)
        resumed = processes.from_first(lambda: args.resume and unfinished.exists)
        if resumed:
            # What the run was started with need not be typed again.
            config = processes.from_first(lambda: unfinished.resume_config(recipe, config, settings))
        else:
            config = resolve_init(config)
        if args.resume and not resumed and first:
            sys.stderr.write(f"moue: {args.out} holds no run yet: a new one is started\n")
        # All processes read the data, and one says so.
        with nullcontext() if first else redirect_stderr(io.StringIO()):
            table = read_table(args, config)
            code = report_left_out(table.left_out)
        progress = TrainingProgress() if first else None
        train: Callable[..., Run] = partial(fit, announce=_remark)
        if args.ray:
            from moue.scale.training import fit_on_ray

            train = partial(fit_on_ray, workers=args.workers)
        try:
            finished = train(config, table, args.out, resume=args.resume, progress=progress, recipe=recipe)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("the same command with --resume resumes the run") from None
    if not first:
        return OK
    if report is not None:
        report(args, finished, table)
    else:
        print_run(args, finished.spec())
    return code


def _remark(text: str) -> None:
    sys.stderr.write(f"moue: {text}\n")


def print_run(args: argparse.Namespace, spec: ModelSpec) -> None:
    """Print a finished run, and its remarks to stderr."""
    for remark in spec.trained.get("remarks", ()):
        sys.stderr.write(f"moue: {remark}\n")
    if args.format == "table":
        sys.stdout.write(line_of(args.out, spec) + "\n")
    else:
        write([summary_of(args.out, spec)], args.format)


def line_of(run: Path, spec: ModelSpec) -> str:
    """What a finished run is, in a line."""
    epochs = spec.trained["epochs"]
    line = f"{run}: {spec.network}, {epochs} epoch{'s' * (epochs != 1)} in {clock(spec.trained['hours'] * 3600)}"
    if "validation" in spec.scores:
        line += f", {spec.scores['validation']:.1%} on validation (face and mirror image)"
    if "validation_majority_baseline" in spec.scores:
        line += f", majority baseline {spec.scores['validation_majority_baseline']:.1%}"
    return line


def summary_of(run: Path, spec: ModelSpec) -> dict[str, Any]:
    """A finished run as a row of plain values."""
    return {
        "run": str(run),
        "network": spec.network,
        "parameters": spec.parameters,
        **{key: spec.trained.get(key) for key in ("epochs", "epoch_kept", "hours", "seed")},
        **{
            name: spec.scores.get(key)
            for name, key in (
                ("validation_accuracy", "validation"),
                ("validation_accuracy_se", "validation_se"),
                ("majority_baseline", "validation_majority_baseline"),
            )
        },
        "remarks": "; ".join(spec.trained.get("remarks", ())),
    }


def _print_settings(args: argparse.Namespace) -> int:
    """Print every setting, with its value in the recipe where one is given."""
    from moue.training.recipe import load_recipe
    from moue.training.settings import settings

    config = load_recipe(args.recipe).override(args.set) if args.recipe or args.set else None
    rows = [asdict(setting) for setting in settings()]
    for row in rows if config is not None else ():
        value = config and config.get(row["name"])
        row["value"] = list(value) if isinstance(value, tuple) else value
    if args.format != "table":
        write(
            [{k: json.dumps(v) if k in ("default", "value") else v for k, v in r.items()} for r in rows],
            args.format,
            rows,
        )
        return OK
    for row in rows:
        limits = f", {row['range']}" if row["range"] else ""
        value = f"; here {json.dumps(row['value'])}" if row.get("value", row["default"]) != row["default"] else ""
        sys.stdout.write(f"{row['name']}  {row['type']}{limits} (default {json.dumps(row['default'])}{value})\n")
        sys.stdout.write(textwrap.fill(row["meaning"], 96, initial_indent="    ", subsequent_indent="    ") + "\n")
    return OK


class TrainingProgress:
    """Shows a run on stderr: a live line on a terminal, and a line that stays for each epoch."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.live = sys.stderr.isatty()

    def __call__(self, status: Status) -> None:
        """Show one status."""
        s = status
        text = (
            f"{self.prefix}epoch {s.epoch}/{s.epochs}  loss {s.loss:.3f}  accuracy {s.accuracy:.1%}"
            f"  {s.images_per_second:.0f} images/s  {clock(s.seconds_left)} left"
        )
        if s.validation_accuracy is not None:
            text += f"  validation loss {s.validation_loss:.3f}  accuracy {s.validation_accuracy:.1%}"
        if self.live:
            sys.stderr.write(f"\r\x1b[K{text if s.ended else f'{text}  step {s.step}/{s.steps}'}")
        if s.ended:
            sys.stderr.write("\n" if self.live else f"{text}\n")
        sys.stderr.flush()
