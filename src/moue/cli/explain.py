"""``moue explain``: which parts of a face a prediction depends on, for photos or for a data set's classes."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from moue.cli.dataset import add_dataset, read_for, typed_options
from moue.cli.evaluate import SPLITS
from moue.cli.main import OK, PARTIAL
from moue.cli.numbers import real, seed, whole
from moue.cli.output import add_format, exit_code, note_shadowed_runs, write
from moue.cli.progress import Progress
from moue.errors import Unreadable, UsageError
from moue.image import read_image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from moue.explain.explainer import Explainer, Explanation
    from moue.explain.faces import ExplainedFaces
    from moue.progress import Report
    from moue.runtime.detect import Detector
    from moue.runtime.inputs.source import Source
    from moue.runtime.outputs.folder import OutputFolder
    from moue.runtime.results import Faces

METHODS = ("occlusion", "gradcam", "integrated-gradients")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("sources", nargs="*", metavar="SOURCE", help="photo, folder or glob; or give --data")
    add_dataset(parser, "instead of photos: the mean heatmap of each class of a data set")
    add("--split", choices=SPLITS, help="the rows of --data")
    add(
        "--per-class", type=whole(1), default=10, metavar="N", help="images of a class that are explained (default: 10)"
    )
    add("--seed", type=seed(), default=0, help="of the random choice of those images (default: 0)")
    add("-o", "--out", metavar="DIR", help="folder for the rows and an image of each input's heatmaps")
    add("--model", default="default", help="a name of `moue models`, an .onnx file or a run folder (default: default)")
    add(
        "--method",
        default="occlusion",
        choices=METHODS,
        help="occlusion works with any model (default); the others need a run folder",
    )
    add("--label", help="the class to explain (default: the predicted one)")
    add("--detector", default="centerface", choices=("centerface", "none"), help="none: each image is one face")
    add("--min-score", type=real(0, 1), default=0.5, help="the least score of a detected face, 0 to 1 (default: 0.5)")
    add("--small-faces", action="store_true", help="search at the native size, not on 1280 pixels")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Explain, print, and return 3 when an input could not be read."""
    if (args.data is None) == (not args.sources):
        raise UsageError("explain takes photos, or a data set: moue explain photo.jpg, or --data SET --split SPLIT.")
    if (args.data is None) != (args.split is None):
        raise UsageError("--data and --split go together, as in --data fer2013.csv.zip --split public_test.")
    if args.data is None and (typed := typed_options(args)):
        raise UsageError(f"{typed[0]} says how --data is read. Give --data and --split, or leave it out.")
    note_shadowed_runs([args.model])
    return _photos(args) if args.data is None else _classes(args)


def _photos(args: argparse.Namespace) -> int:
    """Explain the faces of photos, one after the other."""
    from moue.explain.explainer import Explainer
    from moue.runtime.detect import open_detector
    from moue.runtime.inputs.resolve import resolve
    from moue.runtime.outputs.folder import OutputFolder
    from moue.runtime.results import Faces
    from moue.runtime.weights import files_of

    output_folder = OutputFolder(args.out, files_of(args.model), args.sources) if args.out else None
    sources = list(resolve(args.sources, exclude=output_folder.path if output_folder else None))
    explainer = Explainer(args.model, args.method)
    if args.label is not None:
        explainer.target(args.label)
    detector = open_detector(args.detector, long_side=None if args.small_faces else 1280)
    rows: list[dict[str, Any]] = []
    table: list[dict[str, Any]] = []
    failed = False
    try:
        with Progress("explaining inputs", "inputs") as progress:
            for done, source in enumerate(sources, start=1):
                explained = partial(_explained, progress, done - 1, len(sources))
                head, result = {"source": source.name}, _photo(source, explainer, detector, args, explained)
                rows.append(result.to_dict())
                if isinstance(result, Faces):
                    failed |= result.status != "skipped"
                    table.append(_table_row(head, None, f"{result.status}: {result.reason}"))
                else:
                    table += [_table_row(head, e) for e in result.explanations] or [_table_row(head, None, "no face")]
                    if output_folder is not None and result.explanations:
                        faces = list(zip(result.crops, result.explanations, strict=True))
                        _write_panel(output_folder, output_folder.stem(source), faces)
                progress.step = "explaining inputs"
                progress(done, len(sources))
    except BaseException:
        # An interrupted run prints what it has completed.
        if table:
            _write_rows(args, output_folder, table, rows)
        raise
    _write_rows(args, output_folder, table, rows)
    return PARTIAL if failed else OK


def _photo(
    source: Source, explainer: Explainer, detector: Detector, args: argparse.Namespace, progress: Report
) -> ExplainedFaces | Faces:
    """The explained faces of one input, or a row with the reason why it cannot be read."""
    from moue.explain.faces import explain_faces
    from moue.runtime.results import Faces

    try:
        if source.kind != "image":
            raise Unreadable(source.reason or "a video or animation: explain takes photos, such as single frames of it")
        image = read_image(source.data)
    except Unreadable as error:
        return Faces(source.name, "skipped" if source.kind == "skipped" else error.status, reason=str(error))
    options = {"label": args.label, "min_score": args.min_score, "progress": progress}
    return explain_faces(explainer, detector, image, source.name, **options)


def _explained(progress: Progress, inputs: int, all_inputs: int, faces: int, all_faces: int | None) -> None:
    """Draw which face of an input is explained: one face takes seconds."""
    progress.step = f"explaining face {faces + 1}/{all_faces}, inputs"
    progress(inputs, all_inputs)


def _classes(args: argparse.Namespace) -> int:
    """Explain the classes of a data set."""
    from moue.evaluation.evaluate_model import rows_of
    from moue.explain.classes import explain_classes
    from moue.explain.explainer import Explainer
    from moue.runtime.outputs.folder import OutputFolder

    if args.label is not None:
        raise UsageError("--label is for photos: of a data set every class is explained.")
    output_folder = OutputFolder(args.out) if args.out else None
    explainer = Explainer(args.model, args.method)
    table = read_for(args, args.model, explainer.spec)
    code = exit_code(table.left_out)
    part, _ = rows_of(table, args.split, args.model)
    with Progress("explaining", "images") as progress:
        classes = explain_classes(explainer, part, args.per_class, args.seed, progress)
    if output_folder is not None and classes:
        _write_panel(output_folder, "classes", [(c.image, c.explanation) for c in classes])
    rows = [_table_row({"n": c.n, "passed": c.passed}, c.explanation) for c in classes]
    _write_rows(args, output_folder, rows, [c.to_dict() for c in classes])
    return code


def _write_panel(output_folder: OutputFolder, stem: str, faces: list[tuple[NDArray[np.uint8], Explanation]]) -> None:
    from moue.explain.panel import panel

    sys.stderr.write(f"{output_folder.write_image(f'{stem}.explain', panel(faces), 'png')}\n")


def _write_rows(
    args: argparse.Namespace,
    output_folder: OutputFolder | None,
    table: list[dict[str, Any]],
    rows: list[dict[str, Any]],
) -> None:
    """Print the table or rows; with an output folder, write the rows there as JSON."""
    if output_folder is not None:
        sys.stderr.write(f"{output_folder.write_json('explain.json', rows)}\n")
    write(table, args.format, rows)


def _table_row(head: dict[str, Any], explanation: Explanation | None, remark: str = "") -> dict[str, Any]:
    """A row of the table; without an explanation, the remark says why."""
    values = {} if explanation is None else explanation.to_dict()
    regions = values.get("regions", {})
    row = head | {name: values.get(name) for name in ("label", "probability", "deletion", "random")}
    if "source" in head:
        row |= {name: regions.get(name) for name in ("eyes", "nose", "mouth", "elsewhere")}
    return row | {"remark": remark or values.get("remark") or ""}
