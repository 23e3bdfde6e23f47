"""``moue score``: read the faces of archives into a data set of Parquet files, over many processes."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import AbstractContextManager

from moue.cli.clock import clock
from moue.cli.main import OK, PARTIAL
from moue.cli.numbers import real, whole
from moue.cli.output import add_format, write
from moue.cli.progress import Progress
from moue.cli.reading import add_large, add_model, add_video, recognizer_options, video_options
from moue.progress import Report
from moue.scale.header import ENGINES, MAX_TIMEOUT, PART_INPUTS, TIMEOUT, ScoreOptions
from moue.scale.parquet_shard import ParquetColumns
from moue.scale.score import score

#: Seconds between two lines about progress where stderr is no terminal.
INTERVAL = 30.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="folder, glob, film, .tar shard (also shard-{000..123}.tar), Parquet file with a column of bytes, "
        ".txt list of paths, or the address of these: s3://, gs://, https://",
    )
    results = parser.add_argument_group("results")
    add = results.add_argument
    add("-o", "--out", required=True, metavar="DATASET", help="folder or address; the same command goes on with it")
    add("--quiet", action="store_true", help="show no progress")
    add(
        "--part-inputs",
        type=whole(1),
        default=PART_INPUTS,
        metavar="N",
        help=f"inputs of a part (default: {PART_INPUTS})",
    )
    add_format(results)
    add = parser.add_argument_group("work").add_argument
    add(
        "--engine",
        default="local",
        choices=ENGINES,
        help="local: processes of this machine (default); ray: a cluster, the one that RAY_ADDRESS names",
    )
    add("--workers", type=whole(0), default=0, metavar="N", help="processes, of a thread each (default: one a core)")
    add(
        "--timeout",
        type=real(0, MAX_TIMEOUT),
        default=TIMEOUT,
        metavar="SECONDS",
        help=f"give up an input without a result for so long; 0 for no limit (default: {TIMEOUT:g})",
    )
    add("--image-column", metavar="NAME", help="of Parquet files: the column of images (default: the one of bytes)")
    add("--key-column", metavar="NAME", help="of Parquet files: the column of keys (default: key, id, path, …)")
    add_model(parser, engine="--graph-engine")
    add_video(parser.add_argument_group("films"))
    add_large(parser)


def run(args: argparse.Namespace) -> int:
    """Score and print a summary.

    Returns:
        The exit code: 3 when something could not be read.
    """
    columns = ParquetColumns(args.image_column, args.key_column)
    scoring = ScoreOptions(args.engine, args.workers, args.part_inputs, args.timeout, columns)

    def progress(step: str, unit: str) -> AbstractContextManager[Report]:
        return _Progress(step, unit, quiet=args.quiet)

    try:
        summary = score(
            args.sources, args.out, recognizer_options(args), video_options(args), scoring, progress=progress
        )
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(*interrupt.args, "the same command goes on") from None
    values = summary.to_dict()
    statuses = values.pop("statuses")
    write([{**values, **statuses}], args.format, summary.to_dict())
    return PARTIAL if summary.tally.failed else OK


class _Progress(Progress):
    """A bar on a terminal; a line each half a minute elsewhere, for the log of a machine that nobody watches.

    The first report says what earlier runs had scored. The rate counts from the last report of no more, as they begin:
    to start workers takes as long for a hundred inputs as for a million.
    """

    def __init__(self, step: str, unit: str, *, quiet: bool) -> None:
        super().__init__(step, unit)
        self.enabled &= not quiet
        self._quiet = quiet
        self._lined = self.start
        self._has_begun = False

    def __call__(self, done: int, total: int | None = None) -> None:
        if not self._has_begun:
            self._has_begun, self.before = True, done
        now = time.monotonic()
        if done == self.before:
            self.start = now
        super().__call__(done, total)
        if self.enabled or self._quiet or now - self._lined < INTERVAL:
            return
        self._lined = now
        rate = self.rate(done, now)
        of = f" of {total:,}" if total else ""
        left = f", {clock((total - done) / rate)} left" if total and rate else ""
        sys.stderr.write(f"moue: {self.step}: {done:,}{of} {self.unit}, {rate:.3g} {self.unit}/s{left}\n")
        sys.stderr.flush()
