"""`moue export RUN -o model.onnx` (or `.pt2`), and several models as one: `moue export A B … -o ensemble.onnx`."""

from __future__ import annotations

import argparse
import math
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moue.cli.dataset import add_dataset, read_for
from moue.cli.main import OK
from moue.cli.output import add_format, exit_code, note_shadowed_runs, write
from moue.cli.progress import Progress
from moue.errors import UsageError, quoted, require
from moue.run_folder import EXPORTED
from moue.spec import ModelSpec
from moue.trained.open import spec_of

if TYPE_CHECKING:
    from moue.data.table import ImageTable


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue export`."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="RUN|MODEL",
        help="a finished run's folder; several runs, .onnx files or names of `moue models` are merged into one model",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="FILE",
        help="the file to write: .onnx, or .pt2 for torch.export.load (default: RUN/model.onnx)",
    )
    parser.add_argument("--int8", action="store_true", help="multiply in 8 bits; needs --data for its training images")
    parser.add_argument(
        "--store",
        choices=("float32", "float16", "int8"),
        default="float32",
        help="how the file stores the weights: float16 halves it, int8 quarters it; the arithmetic stays float32",
    )
    add_dataset(parser, "images to check, calibrate and measure with")
    parser.add_argument(
        "--split", metavar="SPLIT", help="where the loss of accuracy by quantization is measured (default: public_test)"
    )
    parser.add_argument("--name", metavar="NAME", help="the model's name (default: the file's)")
    parser.add_argument(
        "--weights", type=weights_of, metavar="W,W,…", help="weights of the members of a merged model (default: equal)"
    )
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Export, and print the file with the loss of accuracy by quantization.

    Returns:
        3 where rows of the data could not be read, else 0.
    """
    path, spec, table = _merge(args) if len(args.sources) > 1 else _export(args)
    row: dict[str, Any] = {
        "file": str(path),
        "name": spec.name,
        "megabytes": round(path.stat().st_size / 1e6, 3),
        "sha256": spec.sha256,
    }
    # Present where that loss was measured: {"public_test": 0.66, "public_test_fp32": 0.661}.
    for split in [name.removesuffix("_fp32") for name in spec.scores if name.endswith("_fp32")]:
        after, before = spec.scores[split], spec.scores[f"{split}_fp32"]
        row |= {"split": split, "accuracy": after, "accuracy_fp32": before, "loss": round(before - after, 6)}
    write([row], args.format)
    return OK if table is None else exit_code(table.left_out)


def _export(args: argparse.Namespace) -> tuple[Path, ModelSpec, ImageTable | None]:
    if args.weights is not None:
        raise UsageError("--weights are for merging: give two models or more.")
    require("torch", "train")
    with Progress("opening the run"):  # Importing torch takes seconds.
        from moue.export import export, exportable_spec

        # The text as typed: `./tiny` is a folder, `tiny` may be a bundled model.
        spec, folder = exportable_spec(args.sources[0]), Path(args.sources[0])
    path = args.out or folder / EXPORTED
    table = _read(args, folder, spec, path)
    options = {"int8": args.int8, "store": args.store, "data": table, "split": args.split, "name": args.name}
    return path, export(folder, path, progress=Progress, **options), table


def _merge(args: argparse.Namespace) -> tuple[Path, ModelSpec, ImageTable | None]:
    if args.out is None:
        raise UsageError("a merged model needs a file to be written to: -o FILE.onnx")
    if args.int8:
        raise UsageError("--int8 is for one run. Export each with --int8, then merge the files.")
    if args.split is not None:
        raise UsageError("--split is for one run: a merged model is calibrated on the rows that its members held out.")
    check_weights(args.weights, args.sources)
    from moue.ensembles.voting import merge

    note_shadowed_runs(args.sources)
    table = _read(args, args.sources[0], spec_of(args.sources[0]), args.out)
    with Progress("merging the models"):
        spec = merge(args.sources, args.out, args.weights, store=args.store, data=table, name=args.name)
    gain = [spec.trained["gain"]["summary"]] if "gain" in spec.trained else []
    for remark in [*spec.trained.get("remarks", ()), *gain]:
        sys.stderr.write(f"moue: {remark}\n")
    return args.out, spec, table


def _read(args: argparse.Namespace, model: str | Path, spec: ModelSpec, out: Path) -> ImageTable | None:
    from moue.data.loading import source_files
    from moue.export.files import model_files
    from moue.files import require_no_overwrite

    if args.data is None:
        return None
    require_no_overwrite(model_files(out), source_files(args.data, args.votes))
    return read_for(args, model, spec)


def weights_of(text: str) -> list[float]:
    """Numbers with commas between them, as an argument's type.

    Raises:
        argparse.ArgumentTypeError: where one is none above 0.
    """
    with suppress(ValueError):
        weights = [float(part) for part in text.split(",")]
        if all(0 < weight < math.inf for weight in weights):
            return weights
    raise argparse.ArgumentTypeError(f"must be numbers above 0, as in 2,1. Got {quoted(text)} instead.")


def check_weights(weights: list[float] | None, members: list[str]) -> None:
    """Make sure that there is one weight for each model, where there are any.

    Raises:
        UsageError: where there is not.
    """
    if weights is not None and len(weights) != len(members):
        raise UsageError(f"--weights takes one for each of the {len(members)} models. Got {len(weights)} instead.")
