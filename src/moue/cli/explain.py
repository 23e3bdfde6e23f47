"""``moue explain``: which parts of a face an answer rests on, for photos or for a data set's classes."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from moue.cli.evaluate import SPLITS
from moue.cli.main import OK, PARTIAL
from moue.cli.output import add_format, note_shadowed_runs, report_left_out, write
from moue.cli.progress import Progress
from moue.errors import Unreadable, UsageError
from moue.image import read_image
from moue.runtime.validation import check

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from moue.explain.explainer import Explainer, Explanation
    from moue.explain.faces import ExplainedFaces
    from moue.runtime.detect import Detector
    from moue.runtime.inputs.source import Source
    from moue.runtime.outputs.folder import OutputFolder
    from moue.runtime.results import Faces

METHODS = ("occlusion", "gradcam", "integrated-gradients")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("sources", nargs="*", metavar="SOURCE", help="photo, folder or glob; or give --data")
    add("--data", metavar="SET", help="instead of photos: the mean map of each class of a data set")
    add("--split", choices=SPLITS, help="the rows of --data")
    add("--per-class", type=int, default=10, metavar="N", help="images of a class that are explained (default: 10)")
    add("--seed", type=int, default=0, help="of the draw of those images (default: 0)")
    add("--out", metavar="DIR", help="folder for the rows and an image of each input's maps")
    add("--model", default="default", help="a name of `moue models`, an .onnx file or a run folder (default: default)")
    add(
        "--method",
        default="occlusion",
        choices=METHODS,
        help="occlusion asks any model (default); the others look into a run's network",
    )
    add("--label", help="the class to explain (default: the answer)")
    add("--detector", default="centerface", choices=("centerface", "none"), help="none: each image is one face")
    add("--min-score", type=float, default=0.5, help="how sure the detector must be, 0 to 1 (default: 0.5)")
    add("--small-faces", action="store_true", help="search at the native size, not on 1280 pixels")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Explain, print, and answer 3 when something could not be read."""
    if (args.data is None) == (not args.sources):
        raise UsageError("explain takes photos, or a data set: moue explain photo.jpg, or --data SET --split SPLIT.")
    if (args.data is None) != (args.split is None):
        raise UsageError("--data and --split go together, as in --data fer2013.csv.zip --split public_test.")
    check("min-score", args.min_score, 0, 1)
    check("per-class", args.per_class, 1, whole=True)
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

    output_folder = OutputFolder(args.out, files_of(args.model)) if args.out else None
    sources = list(resolve(args.sources, exclude=output_folder.path if output_folder else None))
    explainer = Explainer(args.model, args.method)
    if args.label is not None:
        explainer.target(args.label)
    detector = open_detector(args.detector, long_side=None if args.small_faces else 1280)
    rows: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    failed = False
    try:
        with Progress("explaining", "inputs") as progress:
            for done, source in enumerate(sources, start=1):
                named, said = {"source": source.name}, _photo(source, explainer, detector, args)
                rows.append(said.to_dict())
                if isinstance(said, Faces):
                    failed |= said.status != "skipped"
                    lines.append(_line(named, None, f"{said.status}: {said.reason}"))
                else:
                    lines += [_line(named, one) for one in said.explanations] or [_line(named, None, "no face")]
                    if output_folder is not None and said.explanations:
                        _keep(
                            output_folder,
                            output_folder.stem(source),
                            list(zip(said.crops, said.explanations, strict=True)),
                        )
                progress(done, len(sources))
    except BaseException:
        # Interrupted, what was explained so far is the answer.
        if lines:
            _answer(args, output_folder, lines, rows)
        raise
    _answer(args, output_folder, lines, rows)
    return PARTIAL if failed else OK


def _photo(
    source: Source, explainer: Explainer, detector: Detector, args: argparse.Namespace
) -> ExplainedFaces | Faces:
    """The faces of one input, explained; where it cannot be read, the row that says why."""
    from moue.explain.faces import explain_faces
    from moue.runtime.results import Faces

    try:
        if source.kind != "image":
            raise Unreadable(source.reason or "a moving image: explain takes photos, as single frames of it")
        image = read_image(source.data)
    except Unreadable as error:
        return Faces(source.name, "skipped" if source.kind == "skipped" else error.status, reason=str(error))
    return explain_faces(explainer, detector, image, source.name, label=args.label, min_score=args.min_score)


def _classes(args: argparse.Namespace) -> int:
    """Explain the classes of a data set."""
    from moue.data.loading import load
    from moue.evaluation.evaluate_model import rows_of
    from moue.explain.classes import explain_classes
    from moue.explain.explainer import Explainer
    from moue.runtime.outputs.folder import OutputFolder
    from moue.trained.open import labels_of

    if args.label is not None:
        raise UsageError("--label is for photos: of a data set every class is explained.")
    output_folder = OutputFolder(args.out) if args.out else None
    explainer = Explainer(args.model, args.method)
    spec = explainer.spec
    with Progress("reading", "rows") as progress:
        suiting = labels_of(args.model)
        table = load(args.data, fallback=suiting, size=spec.size, color=spec.color, progress=progress)
    code = report_left_out(table.left_out)
    part, _ = rows_of(table, args.split, args.model)
    with Progress("explaining", "images") as progress:
        classes = explain_classes(explainer, part, args.per_class, args.seed, progress)
    if output_folder is not None and classes:
        _keep(output_folder, "classes", [(one.face, one.mean) for one in classes])
    lines = [_line({"n": one.n, "passed": one.below}, one.mean) for one in classes]
    _answer(args, output_folder, lines, [one.to_dict() for one in classes])
    return code


def _keep(output_folder: OutputFolder, stem: str, faces: list[tuple[NDArray[np.uint8], Explanation]]) -> None:
    from moue.explain.panel import panel

    sys.stderr.write(f"{output_folder.write_image(f'{stem}.explain', panel(faces), 'png')}\n")


def _answer(
    args: argparse.Namespace,
    output_folder: OutputFolder | None,
    lines: list[dict[str, Any]],
    rows: list[dict[str, Any]],
) -> None:
    """Print the rows; in a folder they stand as JSON."""
    if output_folder is not None:
        sys.stderr.write(f"{output_folder.write_json('explain.json', rows)}\n")
    write(lines, args.format, rows)


def _line(head: dict[str, Any], said: Explanation | None, remark: str = "") -> dict[str, Any]:
    """A row of the table; of what has no explanation the remark says why."""
    values = {} if said is None else said.to_dict()
    areas = values.get("areas", {})
    names = ("label", "probability", "deletion", "random")
    row = head | {name: values.get(name) for name in names}
    if "source" in head:
        row |= {name: areas.get(name) for name in ("eyes", "nose", "mouth", "elsewhere")} | {"remark": remark}
    return row
