"""`moue networks`: every network that can be trained, with its parameters, FLOPs, input and options."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from moue.cli import output
from moue.cli.numbers import whole
from moue.errors import require


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "names", nargs="*", metavar="NETWORK", help="names, or hf:NAME_OR_FOLDER (default: all of moue's)"
    )
    parser.add_argument("--classes", type=whole(1), default=7, metavar="K", help="number of classes (default: 7)")
    output.add_format(parser)


def run(args: argparse.Namespace) -> None:
    """Print one row a network; in a table, the options below it."""
    require("torch", "train")
    from moue.models import summary

    networks = [summary.describe(n, args.classes) for n in args.names] if args.names else summary.networks(args.classes)
    rows = [row | {"options": options_text(row["options"])} for row in networks]
    if args.format != "table":
        output.write(rows, args.format, networks)
        return
    output.write([{key: value for key, value in row.items() if key != "options"} for row in rows], "table")
    sys.stdout.write("\noptions, as in --set model.options.dropout=0.2:\n")
    sys.stdout.writelines(f"  {row['name']}: {row['options']}\n" for row in rows)


def options_text(options: Mapping[str, Any]) -> str:
    """Options as they are typed, with their values."""
    return ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in options.items())
