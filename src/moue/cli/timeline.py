"""``moue timeline``: what people in films showed, by person, by condition and around events."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from moue.cli.main import OK
from moue.cli.numbers import real
from moue.cli.output import add_format, write
from moue.files import require_directory, require_no_overwrite

if TYPE_CHECKING:
    from moue.timeline import Table

#: What a folder gets.
FILES = ("people.csv", "conditions.csv", "curves.csv", "conditions.png", "curves.png")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("results", nargs="+", metavar="RESULTS", help="folder that `predict --out` wrote, file of rows, or people.csv")
    add("--events", metavar="CSV", help="source, start, end, condition: when each condition holds (default: by person)")
    add("-o", "--out", metavar="DIR", help="folder for all tables and, with matplotlib, figures")
    add("--before", type=real(0), default=1.0, metavar="S", help="seconds before the start of an event (default: 1)")
    add("--after", type=real(0), default=3.0, metavar="S", help="seconds after it (default: 3)")
    add(
        "--step",
        type=real(0, exclusive=True),
        default=0.1,
        metavar="S",
        help="seconds from one point to the next (default: 0.1)",
    )
    add(
        "--unit",
        choices=("person", "source", "event"),
        help="what is independent: a person (a track; default), a source (one person a film), or in curves an event",
    )
    add("--confidence", type=real(0, 0.9999, exclusive=True), default=0.95, help="of the intervals (default: 0.95)")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Compute and print; with an output folder, write all tables and figures there.

    Returns:
        The exit code.
    """
    from moue import timeline

    if args.out:
        require_directory(Path(args.out))
        inputs = [Path(path) for path in (*args.results, args.events) if path is not None]
        require_no_overwrite((Path(args.out) / name for name in FILES), inputs)
    events = None if args.events is None else timeline.read_events(args.events)
    seen = timeline.read(args.results)
    tables = {"people": timeline.by_person(seen, events)}
    figures = {}
    if events is not None:
        unit: Literal["person", "source"] = "source" if args.unit == "source" else "person"
        tables["conditions"] = timeline.by_condition(seen, events, unit=unit, confidence=args.confidence)
        if empty := timeline.without_people(seen, events):
            first = empty[0]
            when = f" from {first.start:g} s on" if math.isfinite(first.start) else ""
            some = f"{len(empty):,} of {len(events):,} events, such as {first.condition} in {first.source}{when}"
            sys.stderr.write(f"moue: nobody is seen in {some}\n")
        figures["conditions"] = partial(timeline.plot_conditions, tables["conditions"])
        # Means of whole films, and conditions without a start, have none.
        if seen.timed and all(math.isfinite(event.start) for event in events):
            steps = {"before": args.before, "after": args.after, "step": args.step}
            curves = timeline.event_locked(seen, events, **steps, unit=args.unit, confidence=args.confidence)
            tables["curves"] = curves.to_table()
            figures["curves"] = partial(timeline.plot_curves, curves)
    if args.out:
        _write(Path(args.out), tables, figures if find_spec("matplotlib") else {})
    write(tables["people" if events is None else "conditions"], args.format)
    return OK


def _write(folder: Path, tables: Mapping[str, Table], figures: Mapping[str, Callable[[Path], object]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv")
        sys.stderr.write(f"{folder / name}.csv\n")
    for name, draw in figures.items():
        draw(folder / f"{name}.png")
        sys.stderr.write(f"{folder / name}.png\n")
