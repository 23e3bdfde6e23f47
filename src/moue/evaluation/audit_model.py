"""Reads labeled images with a model, and compares the groups that their user gives: what ``moue audit`` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from moue.data.loading import AS_IT_IS, ReadingOptions, source_files
from moue.data.readers.archive import archive_kind
from moue.data.readers.synth import is_synthetic
from moue.data.table import SPLITS, ImageTable, LeftOut
from moue.errors import DataError, UnknownName, UsageError
from moue.evaluation.audit import Audit, AuditedImages, audit
from moue.evaluation.group_file import Groups, read_groups
from moue.evaluation.scoring import predict, truth_of
from moue.preprocess import ImageArray
from moue.progress import ProgressFactory, no_progress
from moue.runtime.crop import detect_faces
from moue.runtime.detect import Detector, open_detector
from moue.runtime.engine import EngineName
from moue.runtime.quality import Quality, content_of
from moue.runtime.results import TILTED_MARGIN, Predictions
from moue.runtime.validation import check_number
from moue.spec import ModelSpec
from moue.trained.open import labels_of, open_any

FaceDetector = Literal["auto", "centerface", "none"]


@dataclass(frozen=True)
class AuditResult:
    """An audit, and what it was made of."""

    audit: Audit
    spec: ModelSpec
    data: str
    """The data set's name."""
    fingerprint: str
    """Of the faces that were read."""
    split: str | None
    """None for all rows."""
    detector: str
    groups: Groups
    several: int
    """Images with more than one face, of which the largest was read."""
    other_splits: dict[str, int]
    """Images of each split that is not audited, where the test rows were chosen because the set has them."""


def audit_model(
    name: str | Path,
    data: str | Path,
    groups: str | Path,
    *,
    columns: Iterable[str] = (),
    cross: Iterable[str] = (),
    split: str | None = None,
    reading: ReadingOptions = AS_IT_IS,
    detector: FaceDetector = "auto",
    min_score: float = 0.5,
    resamples: int = 10_000,
    seed: int = 0,
    engine: EngineName = "auto",
    left_out: Callable[[Iterable[LeftOut]], None] | None = None,
    progress: ProgressFactory = no_progress,
) -> AuditResult:
    """Audit a model on labeled images.

    Args:
        name: a name of ``moue models``, a run folder, or an ``.onnx`` with its ``.json``.
        data: any source that :func:`moue.data.loading.load` reads. In photos of class folders the largest face is the
            labeled one.
        groups: the CSV of groups, see :func:`moue.evaluation.group_file.read_groups`.
        columns, cross: of it, see there.
        split: one of :data:`moue.data.table.SPLITS`; by default the test rows where the set has them, else all rows.
        reading: how the data is read.
        detector: "centerface" finds the faces, as ``moue predict`` does; "none" takes each image as a face; "auto" is
            the first for folders and zips of images, the second for other sets.
        min_score: the least score of a detected face, 0 to 1.
        resamples: permutations of each test.
        seed: of the permutations.
        engine: what runs the model's graph.
        left_out: called with the images that ``reading.skip_bad`` skips.
        progress: makes a progress line for each of reading and predicting.

    Raises:
        UsageError: for a wrong option, or a class that the model does not know.
        DataError: for data or groups that cannot be used.
        ModelError: for a model that cannot be opened.
    """
    if split is not None and split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    if detector not in get_args(FaceDetector):
        raise UnknownName("detector", detector, get_args(FaceDetector))
    check_number("min_score", min_score, 0, 1)
    check_number("resamples", resamples, 99, 1_000_000, integer=True)
    if not Path(groups).is_file():
        raise DataError(
            f"the file of groups {groups} does not exist. It is a CSV: file,age_group,… with a line an image."
        )
    file = read_groups(groups, columns=columns, cross=cross)
    model = open_any(name, engine)
    spec = model.spec
    finder = None
    if _finds(detector, data):
        finder = _Finder(open_detector("centerface", optimize_for="throughput"), spec, min_score)
    with progress("reading", "images") as report:
        table = reading.load(
            data,
            fallback=reading.labels or labels_of(name, reading.votes is not None),
            size=spec.size,
            color=spec.color,
            progress=report,
            crop=finder,
        )
    if left_out is not None:
        left_out(table.left_out)
    others = Counter(of for of in table.split.tolist() if of in ("train", "validation"))
    if split is not None or others.total() in (0, len(table)):
        others.clear()
    else:
        split = "test"
    part = table if split is None else table.part(split)
    found = file.of(part.source, data)
    faces = finder.faces_of(part) if finder is not None else _whole_images(part)
    read = np.flatnonzero(faces.read)
    if not len(read):
        raise DataError(f"no face was found in {part.name}. Where its images are faces already, type --detector none.")
    with progress("predicting", "faces") as report:
        predictions = predict(model, part.images[read], views=spec.views, progress=report)
    images = _audited(truth_of(part, spec), predictions, faces)
    return AuditResult(
        audit(images, found.columns, found.persons, resamples=resamples, seed=seed),
        spec,
        part.name,
        part.fingerprint,
        split,
        "none" if finder is None else "centerface",
        found,
        faces.several,
        dict(others),
    )


def inputs_of(data: str | Path, groups: str | Path, votes: str | Path | None) -> list[Path]:
    """The files that an audit reads, which no output may overwrite."""
    return [Path(groups), *source_files(data, votes)]


@dataclass(frozen=True)
class _Faces:
    """Where a face was found in N images, and its quality."""

    read: NDArray[np.bool_]
    """``(N,)``."""
    quality: dict[str, NDArray[np.float64]]
    """``(N,)`` each; NaN where unknown."""
    poor: NDArray[np.bool_]
    """``(N,)``: too poor to be certain."""
    tilted: NDArray[np.bool_]
    """``(N,)``."""
    several: int = 0


class _Finder:
    """Cuts the largest face out of each photo that a reader gives, and keeps its quality."""

    def __init__(self, detector: Detector, spec: ModelSpec, min_score: float) -> None:
        self.detector, self.spec, self.min_score = detector, spec, min_score
        self.quality: dict[str, Quality | None] = {}
        self.several: set[str] = set()

    def __call__(self, image: ImageArray, source: str) -> list[ImageArray]:
        """The face of one photo; an empty one, which is left out later, where none was found."""
        found = detect_faces(image, self.detector, self.spec, source, min_score=self.min_score)
        shape = (self.spec.size, self.spec.size)
        if not found.crops:
            self.quality[source] = None
            return [np.zeros(shape if self.spec.color == "gray" else (*shape, 3), np.uint8)]
        if len(found.crops) > 1:
            self.several.add(source)
        largest = int(found.detections.boxes[:, 2:].prod(1).argmax())
        self.quality[source] = found.quality[[largest]]
        crop = found.crops[largest]
        return [crop[0] if self.spec.color == "gray" else np.ascontiguousarray(crop.transpose(1, 2, 0))]

    def faces_of(self, part: ImageTable) -> _Faces:
        """The faces of these images, all of which were given to it."""
        found = [self.quality[source] for source in part.source]
        values = {name: np.full(len(found), np.nan) for name in ("size", "sharpness", "brightness", "yaw", "roll")}
        poor, tilted = np.zeros(len(found), bool), np.zeros(len(found), bool)
        for i, quality in enumerate(found):
            if quality is None:
                continue
            yaw, _, roll = np.abs(quality.pose[0])
            values["yaw"][i], values["roll"][i] = yaw, roll
            for name in ("size", "sharpness", "brightness"):
                values[name][i] = getattr(quality, name)[0]
            poor[i], tilted[i] = quality.poor[0], quality.tilted[0]
        read = np.array([quality is not None for quality in found], bool)
        return _Faces(read, values, poor, tilted, len(self.several.intersection(part.source)))


def _finds(detector: FaceDetector, data: str | Path) -> bool:
    """Whether faces are to be found in the images of this source."""
    if detector != "auto":
        if detector == "centerface" and not _is_folder(data):
            raise UsageError(f"faces are found in folders and zips of images. {data} is none: leave --detector out.")
        return detector == "centerface"
    return _is_folder(data)


def _is_folder(data: str | Path) -> bool:
    """Whether the source is a folder or a zip of images, as far as its form says."""
    if is_synthetic(data):
        return False
    path = Path(data)
    if path.is_dir():
        return source_files(path) == [path]
    if not path.is_file() or archive_kind(path) != "zip":
        return False
    from moue.data.readers.archive import open_zip, zip_members
    from moue.data.readers.folders import is_image

    with open_zip(path) as archive:
        return any(is_image(member.path) for member in zip_members(archive))


def _whole_images(part: ImageTable) -> _Faces:
    """Each image as a face, whose size and pose are not known."""
    sharpness, _, brightness = content_of(part.images)
    none = np.zeros(len(part), bool)
    quality = {"sharpness": sharpness.astype(np.float64), "brightness": brightness.astype(np.float64)}
    return _Faces(~none, quality, none, none)


def _audited(truth: NDArray[np.int64], predictions: Predictions, faces: _Faces) -> AuditedImages:
    predicted, uncertain = np.full(len(truth), -1, np.int64), np.zeros(len(truth), bool)
    predicted[faces.read] = predictions.class_ids
    # As moue.Faces.uncertain has it.
    close = faces.tilted[faces.read] & (predictions.margin < TILTED_MARGIN)
    uncertain[faces.read] = predictions.uncertain | faces.poor[faces.read] | close
    return AuditedImages(predictions.labels, truth, predicted, uncertain, faces.quality)
