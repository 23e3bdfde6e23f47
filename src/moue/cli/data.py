"""``moue data info|import|synth``: inspect, convert and synthesize data sets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moue.cli import output
from moue.cli.dataset import SET_HELP, add_reading, reading_options
from moue.cli.numbers import real, seed, whole
from moue.cli.progress import Progress
from moue.errors import MissingExtra, UsageError, require
from moue.spec import MAX_SIZE


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    info = _action(actions, "info", _info, "count classes and splits, find exact duplicates and conflicting labels")
    info.add_argument("set", metavar="SET", help=SET_HELP)
    _add_reading(info)
    info.add_argument(
        "-o", "--out", type=Path, metavar="DIR", help="write a bar chart, a pie chart and sample grids there"
    )
    info.add_argument(
        "--near-copies",
        action="store_true",
        help="count near copies across splits, too: the same photo, cropped, lit or mirrored otherwise",
    )
    imports = _action(actions, "import", _import, "convert a set to one file that loads fast")
    imports.add_argument("set", metavar="SRC", help=SET_HELP)
    imports.add_argument("-o", "--out", type=Path, metavar="SET", required=True, help="the file to write")
    _add_reading(imports)
    imports.add_argument(
        "--faces",
        action="store_true",
        help="detect the faces in whole photos, and make a row of each (photos without a face are left out)",
    )
    imports.add_argument(
        "--min-score", type=real(0, 1), default=0.5, help="the least score of a detected face, 0 to 1 (default: 0.5)"
    )
    imports.add_argument(
        "--small-faces", action="store_true", help="search large photos at their native size, not on 1280 pixels"
    )
    imports.add_argument(
        "--test",
        type=_share,
        metavar="SHARE",
        help="move this share of each class, as 0.2, to the test split, in a set without test rows",
    )
    imports.add_argument("--seed", type=seed(), metavar="S", help="of the random choice of --test (default: 0)")
    imports.add_argument(
        "--duplicates",
        choices=["exact", "near"],
        help="what --test keeps on one side: equal images, or near copies, too, as the same photo in another "
        "crop or light (default: exact)",
    )
    synth = _action(actions, "synth", _synth, "draw a synthetic set of faces")
    synth.add_argument("-o", "--out", type=Path, metavar="SET", required=True, help="the file to write")
    synth.add_argument("--n", type=whole(10), default=7000, help="number of faces (default: 7000)")
    synth.add_argument("--seed", type=seed(), default=0, help="of the random numbers (default: 0)")


def run(args: argparse.Namespace) -> int | None:
    """Run the subcommand."""
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


def _add_reading(parser: argparse.ArgumentParser) -> None:
    add_reading(parser, "fer2013, or that of a written set", "for --labels ferplus")
    parser.add_argument(
        "--size",
        type=whole(1, MAX_SIZE),
        help="height and width of the images in pixels (default: 48, or those of a written set)",
    )
    parser.add_argument(
        "--color", choices=("gray", "rgb"), help="of the images (default: gray, or that of a written set)"
    )


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and below 1, as in 0.2. Got {text!r} instead.")
    return share


def _load(args: argparse.Namespace, crop: Any = None) -> Any:
    with Progress("reading", "images") as progress:
        return reading_options(args).load(args.set, size=args.size, color=args.color, progress=progress, crop=crop)


def _face_cutter(args: argparse.Namespace) -> Any:
    """Detects and crops the faces of photos as `moue predict` does."""
    from moue.runtime.crop import FaceCropper
    from moue.runtime.detect import open_detector

    detector = open_detector("centerface", long_side=None if args.small_faces else 1280, optimize_for="throughput")
    return FaceCropper(detector, size=args.size or 48, color=args.color or "gray", min_score=args.min_score)


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
            _note(f"wrote {path}")
    return _show(table, args.format, args.near_copies)


def _import(args: argparse.Namespace) -> int:
    from moue.data import hold_out_test
    from moue.data.readers import store

    if args.out.resolve() == Path(args.set).resolve():
        raise UsageError(f"{args.out} is the source itself. Give the new set another name.")
    _check_suffix(args.out)
    for option in ("seed", "duplicates"):
        if getattr(args, option) is not None and args.test is None:
            raise UsageError(f"--{option} is for --test. Add --test 0.2, or leave --{option} out.")
    table = _load(args, _face_cutter(args) if args.faces else None)
    if args.test is not None:
        table = hold_out_test(table, args.test, args.seed or 0, args.duplicates or "exact")
    store.save(table, args.out)
    _note(f"wrote {args.out}")
    return _show(table, args.format)


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() in (".csv", ".zip", ".parquet", ".json"):
        raise UsageError(f"a set is written as .npz, whatever its name ends in. Type: -o {path.with_suffix('.npz')}")


def _synth(args: argparse.Namespace) -> int:
    from moue.data.readers import store
    from moue.data.readers.synth import synthetic

    _check_suffix(args.out)
    table = synthetic(args.n, args.seed)
    store.save(table, args.out)
    _note(f"wrote {args.out}")
    return _show(table, args.format)


def _show(table: Any, format: str, near: bool = False) -> int:
    """Print the contents of a set.

    Returns:
        3 where rows could not be read, else 0; rows that the label set's own rule leaves out are no failure, nor are
        those that were left out when the set file was written.
    """
    from moue.data.info import describe

    description = describe(table, near)
    rows = [
        {"split": split, "class": name, "images": n, "share": n / max(1, sum(counts.values()))}
        for split, counts in description["splits"].items()
        for name, n in counts.items()
    ]
    output.write(rows, format, description)
    if format == "table":
        sys.stdout.write(_sentences(description))
    code = output.report_left_out(table.left_out)
    if by_rule := sum(row.by_rule for row in table.left_out):
        _note(
            f"left out {by_rule:,} rows by the rule of the label set {table.label_set.name!r}; --format json lists them"
        )
    if earlier := sum(row.earlier and not row.by_rule for row in table.left_out):
        _note(f"left out {earlier:,} rows when the set was written; --format json lists them")
    return code


def _sentences(description: dict[str, Any]) -> str:
    duplicates = description["duplicates"]
    lines = [f"\n{description['n']:,} images of {description['image_size']}×{description['image_size']} pixels"]
    lines += [f"exact duplicates within {split}: {n:,}" for split, n in duplicates["within"].items()]
    for pair, n in duplicates["across"].items():
        first, second = pair.split("-")
        lines.append(f"images of {second} with an exact duplicate in {first}: {n:,}")
    for pair, n in description.get("near_copies", {}).get("across", {}).items():
        first, second = pair.split("-")
        lines.append(f"images of {second} with a near copy in {first}, or an exact one: {n:,}")
    lines.append(f"images with an exact duplicate of another label: {duplicates['conflicting']:,}")
    return "\n".join(lines) + "\n"


def _augmentation() -> Any:
    """Training's augmentation of a batch, where torch is installed."""
    try:
        require("torch", "train")
    except MissingExtra as error:
        _note(f"no augmentation grid: {error}")
        return None
    from moue.training.augment import preview

    return preview


def _note(text: str) -> None:
    sys.stderr.write(f"moue: {text}\n")
