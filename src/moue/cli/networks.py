"""`moue networks`: every network that can be trained, with its weights, arithmetic and input."""

from __future__ import annotations

import argparse

from moue.cli import output
from moue.errors import require


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "names", nargs="*", metavar="NETWORK", help="names, or hf:NAME_OR_FOLDER (default: all of ours)"
    )
    parser.add_argument("--classes", type=int, default=7, metavar="K", help="number of classes (default: 7)")
    output.add_format(parser)


def run(args: argparse.Namespace) -> None:
    """Print one row a network."""
    require("torch", "train")
    from moue.models import summary

    rows = [summary.describe(n, args.classes) for n in args.names] if args.names else summary.networks(args.classes)
    output.write(rows, args.format)
