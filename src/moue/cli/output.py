"""Prints rows and numbers in the chosen format: ``--format table|json|jsonl|csv|parquet``."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from moue.cli.main import OK, PARTIAL
from moue.cli.streams import escaped
from moue.errors import UsageError, require, shortened
from moue.run_folder import is_run
from moue.runtime.outputs.tabular import to_csv, to_parquet
from moue.runtime.weights import is_known

if TYPE_CHECKING:
    from moue.data.table import LeftOut

#: A percentage as text, with its error or deviation where it has one.
PERCENT = re.compile(r"-?[\d.]+%( ± [\d.]+%)?")

FORMATS = ("table", "json", "jsonl", "csv", "parquet")


def add_format(parser: argparse._ActionsContainer, default: str = "table", *, prints: bool = True) -> None:
    """Add ``--format`` to a command, or to a group of its options.

    Args:
        parser: of the command.
        default: the format where none is given.
        prints: whether the command prints its results in any case, so that binary ones cannot be had on a terminal.
    """
    parser.add_argument(
        "--format",
        type=_printable if prints else _available,
        choices=FORMATS,
        default=default,
        help=f"how to print the results (default: {default})",
    )


def _available(format: str) -> str:
    """The format; raises now, and not after the work, where its package is not installed."""
    if format == "parquet":
        require("pyarrow", "parquet")
    return format


def _printable(format: str) -> str:
    """As :func:`_available`; raises on a terminal, too, where the format is binary."""
    if _available(format) == "parquet" and sys.stdout.isatty():
        raise UsageError("parquet is binary: send it to a file, as in `moue … --format parquet > rows.parquet`.")
    return format


def write(rows: Sequence[Mapping[str, Any]], format: str, value: Any = None, percent: Collection[str] = ()) -> None:
    """Print rows on stdout.

    Args:
        rows: flat dictionaries with the same keys, for table, csv and parquet.
        format: one of :data:`FORMATS`.
        value: what json and jsonl print instead of ``rows`` where the results are nested; jsonl prints a line for each
            item of a list.
        percent: columns of fractions that a table shows in percent; all other formats have the fractions.
    """
    value = list(rows) if value is None else value
    if format == "json":
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    elif format == "jsonl":
        for item in value if isinstance(value, list) else [value]:
            sys.stdout.write(json.dumps(item, ensure_ascii=False, allow_nan=False) + "\n")
    elif format == "csv":
        sys.stdout.write(to_csv(rows))
    elif format == "parquet":
        sys.stdout.buffer.write(to_parquet(rows))
    else:
        shown = [{key: in_percent(v) if key in percent else v for key, v in row.items()} for row in rows]
        sys.stdout.write(to_table(shown))


def in_percent(value: float | None, digits: int = 2) -> str | None:
    """A fraction as a table shows it: "64.31%"; None where there is none."""
    return None if value is None else f"{value:.{digits}%}"


def report_left_out(left_out: Iterable[LeftOut]) -> int:
    """Print a line on stderr for each row of a data set that could not be read.

    Rows that the label set's rule leaves out, or that were left out when the set was written, have none.

    Returns:
        See :func:`exit_code`.
    """
    unread = [row for row in left_out if not row.by_rule and not row.earlier]
    for row in unread:
        sys.stderr.write(f"moue: left out {escaped(shortened(row.source, 400))}: {escaped(row.reason)}\n")
    return exit_code(unread)


def exit_code(left_out: Iterable[LeftOut]) -> int:
    """The exit code of a command that continues without some rows: 3 where one could not be read, else 0."""
    return PARTIAL if any(not row.by_rule and not row.earlier for row in left_out) else OK


def note_shadowed_runs(names: Iterable[str]) -> None:
    """Print a line on stderr for each bundled model whose name a run in the working directory has too."""
    for name in names:
        if is_known(name) and is_run(name):
            sys.stderr.write(f"moue: {name} is the bundled model. For the run of that name type ./{name}\n")


def to_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as aligned columns: numbers to the right, text to the left, control characters as escapes."""
    if not rows:
        return "(none)\n"
    cells = [[_cell(row.get(key)) for key in rows[0]] for row in rows]
    widths = [max(len(str(key)), *(len(c[i]) for c in cells)) for i, key in enumerate(rows[0])]
    right = [all(_is_number(r.get(k)) for r in rows) for k in rows[0]]

    def line(values: Sequence[str]) -> str:
        aligned = (v.rjust(w) if r else v.ljust(w) for v, w, r in zip(values, widths, right, strict=True))
        return "  ".join(aligned).rstrip() + "\n"

    return line([str(k) for k in rows[0]]) + "".join(line(c) for c in cells)


def _is_number(value: Any) -> bool:
    """Whether it is a number, or the text of one in percent."""
    return isinstance(value, (int, float, type(None))) or (isinstance(value, str) and bool(PERCENT.fullmatch(value)))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return escaped(str(value))
