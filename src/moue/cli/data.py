"""``moue data info|import|synth``: inspect, convert and synthesize data sets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moue.cli import output
from moue.cli.progress import Progress
from moue.errors import MissingExtra, UsageError, require

SET_HELP = (
    "the competition's CSV (plain, .gz, .zip, .tar.gz), a folder or zip with one sub-folder a class, "
    "a file that `moue data import` wrote, or synth or synth:N:SEED"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    info = _action(actions, "info", _info, "count classes and splits, find exact duplicates and conflicting labels")
    info.add_argument("set", metavar="SET", help=SET_HELP)
    _reading(info)
    info.add_argument("--out", type=Path, metavar="DIR", help="write a bar chart, a pie chart and sample grids there")
    imports = _action(actions, "import", _import, "read a set once and write it as one file that loads at once")
    imports.add_argument("set", metavar="SRC", help=SET_HELP)
    imports.add_argument("-o", "--output", type=Path, metavar="SET", required=True, help="the file to write")
    _reading(imports)
    imports.add_argument(
        "--faces",
        action="store_true",
        help="find the faces in whole photos, and make a row of each (no face is no row)",
    )
    imports.add_argument(
        "--min-score", type=float, default=0.5, help="how sure the face detector must be, 0 to 1 (default: 0.5)"
    )
    imports.add_argument(
        "--small-faces", action="store_true", help="search large photos at their native size, not on 1280 pixels"
    )
    imports.add_argument(
        "--test",
        type=_share,
        metavar="SHARE",
        help="file this share of each class, as 0.2, under test, in a set that has no test rows",
    )
    imports.add_argument("--seed", type=int, metavar="S", help="which rows --test takes (default: 0)")
    synth = _action(actions, "synth", _synth, "draw a synthetic set of faces")
    synth.add_argument("-o", "--output", type=Path, metavar="SET", required=True, help="the file to write")
    synth.add_argument("--n", type=int, default=7000, help="number of faces (default: 7000)")
    synth.add_argument("--seed", type=int, default=0, help="of the drawing (default: 0)")


def run(args: argparse.Namespace) -> int | None:
    """Run the subcommand that was asked for."""
    act: Callable[[argparse.Namespace], int | None] = args.act
    return act(args)


def _action(
    actions: Any, name: str, act: Callable[[argparse.Namespace], int | None], line: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=line, description=line[0].upper() + line[1:] + ".")
    parser.set_defaults(act=act)
    output.add_format(parser)
    # Where the option stands must not matter; without a default it cannot undo the one that stands before the action.
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def _reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels",
        choices=("fer2013", "ferplus", "folders"),
        help="label set; folders takes the class folders' own names (default: fer2013, or that of a written set)",
    )
    parser.add_argument("--votes", type=Path, metavar="FILE", help="fer2013new.csv, for --labels ferplus")
    parser.add_argument(
        "--size", type=int, help="height and width of the images in pixels (default: 48, or those of a written set)"
    )
    parser.add_argument(
        "--color", choices=("gray", "rgb"), help="of the images (default: gray, or that of a written set)"
    )
    parser.add_argument("--skip-bad", action="store_true", help="go on without rows that cannot be used, and list them")


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and below 1, as in 0.2. Got {text!r} instead.")
    return share


def _load(args: argparse.Namespace, crop: Any = None) -> Any:
    from moue.data import load

    with Progress("reading", "images") as progress:
        return load(
            args.set,
            labels=args.labels,
            votes=args.votes,
            size=args.size,
            color=args.color,
            skip_bad=args.skip_bad,
            progress=progress,
            crop=crop,
        )


def _cutter(args: argparse.Namespace) -> Any:
    """What cuts the faces out of photos, as reading does."""
    from moue.runtime.crop import FaceCutter
    from moue.runtime.detect import open_detector

    detector = open_detector("centerface", long_side=None if args.small_faces else 1280, many=True)
    return FaceCutter(detector, size=args.size or 48, color=args.color or "gray", min_score=args.min_score)


def _info(args: argparse.Namespace) -> int:
    if args.out is not None:
        from moue.data.loading import source_files
        from moue.files import require_directory, require_no_overwrite
        from moue.report.charts import FILES, draw

        require_directory(args.out)
        require_no_overwrite([args.out / name for name in FILES], source_files(args.set))
    table = _load(args)
    if args.out is not None:
        for path in draw(table, args.out, _augmentation()):
            _remark(f"wrote {path}")
    return _show(table, args.format)


def _import(args: argparse.Namespace) -> int:
    from moue.data import hold_out_test
    from moue.data.readers import store

    if args.output.resolve() == Path(args.set).resolve():
        raise UsageError(f"{args.output} is the source itself. Give the new set another name.")
    _check_target(args.output)
    if args.seed is not None and args.test is None:
        raise UsageError("--seed says which rows --test takes. Add --test 0.2, or leave --seed out.")
    table = _load(args, _cutter(args) if args.faces else None)
    if args.test is not None:
        table = hold_out_test(table, args.test, args.seed or 0)
    store.save(table, args.output)
    _remark(f"wrote {args.output}")
    return _show(table, args.format)


def _check_target(path: Path) -> None:
    if path.suffix.lower() in (".csv", ".zip", ".parquet", ".json"):
        raise UsageError(f"a set is written as .npz, whatever its name ends in. Type: -o {path.with_suffix('.npz')}")


def _synth(args: argparse.Namespace) -> int:
    from moue.data.readers import store
    from moue.data.readers.synth import synthetic

    _check_target(args.output)
    table = synthetic(args.n, args.seed)
    store.save(table, args.output)
    _remark(f"wrote {args.output}")
    return _show(table, args.format)


def _show(table: Any, format: str) -> int:
    """Print what a set holds.

    Returns:
        3 where rows could not be read, else 0; rows that the label set's own rule leaves out are no failure, nor are
        those that were left out when the set was written.
    """
    from moue.data.info import describe

    answer = describe(table)
    rows = [
        {"split": split, "class": name, "images": n, "share": n / max(1, sum(counts.values()))}
        for split, counts in answer["splits"].items()
        for name, n in counts.items()
    ]
    output.write(rows, format, answer)
    if format == "table":
        sys.stdout.write(_sentences(answer))
    code = output.report_left_out(table.left_out)
    if ruled := sum(row.by_rule for row in table.left_out):
        _remark(
            f"left out {ruled:,} rows by the rule of the label set {table.label_set.name!r}; --format json lists them"
        )
    if earlier := sum(row.earlier and not row.by_rule for row in table.left_out):
        _remark(f"left out {earlier:,} rows when the set was written; --format json lists them")
    return code


def _sentences(answer: dict[str, Any]) -> str:
    duplicates = answer["duplicates"]
    lines = [f"\n{answer['n']:,} images of {answer['image_size']}×{answer['image_size']} pixels"]
    lines += [f"{n:,} images of {split} repeat another one of it exactly" for split, n in duplicates["within"].items()]
    for pair, n in duplicates["across"].items():
        first, second = pair.split("-")
        lines.append(f"{n:,} images of {second} have an exact duplicate in {first}")
    lines.append(f"{duplicates['conflicting']:,} images have an exact duplicate with another label")
    return "\n".join(lines) + "\n"


def _augmentation() -> Any:
    """How training changes a batch, where torch is installed."""
    try:
        require("torch", "train")
    except MissingExtra as error:
        _remark(f"no augmentation grid: {error}")
        return None
    from moue.training.augment import preview

    return preview


def _remark(text: str) -> None:
    sys.stderr.write(f"moue: {text}\n")
