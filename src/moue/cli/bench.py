"""`moue bench`: what reading costs on this machine, beside the package `fer` where asked."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from moue.cli.numbers import real, whole
from moue.cli.output import add_format, write
from moue.runtime.engine import ENGINES


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue bench`."""
    parser.add_argument(
        "models",
        nargs="*",
        default=["default", "tiny"],
        metavar="MODEL",
        help="names, run folders or .onnx files; photos and frames are read with the first (default: default tiny)",
    )
    parser.add_argument(
        "--peer-python",
        type=Path,
        metavar="PATH",
        help="the Python of an environment that has the package `fer`, to measure beside it",
    )
    parser.add_argument(
        "--engine",
        nargs="+",
        default=[],
        choices=ENGINES,
        metavar="NAME",
        help="engines to measure (default: all of the CPU installed)",
    )
    parser.add_argument("--data", metavar="SET", help="FER-2013, to add the accuracy on PublicTest")
    parser.add_argument("--rounds", type=whole(1), default=5, metavar="N", help="turns of each task (default: 5)")
    parser.add_argument("--seconds", type=real(0), default=1, metavar="S", help="of a turn, at least (default: 1)")
    parser.add_argument("--batch", type=whole(1), nargs="+", default=[1, 16, 64], metavar="N", help="faces at once")
    parser.add_argument(
        "--threads", type=whole(0), nargs="+", default=[1, 0], metavar="N", help="for faces; 0: all (default: 1 0)"
    )
    parser.add_argument("--photos", type=whole(1), default=40, metavar="N", help="mixed photos to read (default: 40)")
    parser.add_argument("--frames", type=whole(1), default=150, metavar="N", help="of the film to read (default: 150)")
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", help="write DIR/bench.json and DIR/bench.md")
    add_format(parser)


def run(args: argparse.Namespace) -> None:
    """Measure, print the ratios and speeds (JSON: everything), and write the files."""
    from moue.bench.page import to_markdown
    from moue.bench.run import BenchOptions, measure
    from moue.files import atomic_write_many, require_directory

    if args.out is not None:
        require_directory(args.out)
    options = BenchOptions(
        models=tuple(args.models),
        peer=args.peer_python,
        data=args.data,
        engines=tuple(args.engine),
        batches=tuple(args.batch),
        threads=tuple(args.threads),
        rounds=args.rounds,
        seconds=args.seconds,
        photos=args.photos,
        frames=args.frames,
    )
    report = measure(options, progress=lambda line: sys.stderr.write(f"moue: {line}\n"))
    if args.out is not None:
        # As it was typed, but for where things lie on this machine.
        words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
        page = to_markdown(report, f"moue {shlex.join(words)}")
        files = {"bench.json": json.dumps(report, indent=1) + "\n", "bench.md": page}
        atomic_write_many({args.out / name: text.encode() for name, text in files.items()})
    if args.format == "table" and report["ratios"]:
        write(report["ratios"], args.format)
        sys.stdout.write("\n")
    write(report["speeds"], args.format, report)
