"""One model on one split of one data set: what ``moue evaluate`` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moue.data.loading import AS_IT_IS, ReadingOptions, source_files
from moue.data.near_copies import near_copies
from moue.data.table import SPLITS, ImageTable, LeftOut
from moue.errors import DataError, UnknownName, UsageError
from moue.evaluation.metrics import Evaluation, Scores, scores
from moue.evaluation.predictions_file import check_suffix, prediction_rows, write_rows
from moue.evaluation.scoring import score, truth_of, without_duplicates
from moue.evaluation.scoring_robustness import score_robustness
from moue.files import require_no_overwrite, require_writable
from moue.labels import FERPLUS
from moue.progress import ProgressFactory, no_progress
from moue.runtime.engine import EngineName
from moue.runtime.results import Predictions
from moue.runtime.weights import files_of
from moue.spec import Color, ModelSpec
from moue.trained.open import WithSpec, labels_of, open_any
from moue.trained.split_of import split_of


def evaluate_model(
    name: str | Path,
    data: str | Path,
    split: str,
    *,
    reading: ReadingOptions = AS_IT_IS,
    size: int | None = None,
    color: Color | None = None,
    views: int | None = None,
    logit_adjustment: float | None = None,
    left_out: Callable[[Iterable[LeftOut]], None] | None = None,
    predictions: str | Path | None = None,
    robustness: bool = False,
    robustness_sample: int | None = None,
    without_near_copies: bool = False,
    batch: int | None = None,
    engine: EngineName = "auto",
    progress: ProgressFactory = no_progress,
    further_outputs: Sequence[str | Path] = (),
    inspect: Callable[[ImageTable, Predictions, NDArray[np.int64]], None] | None = None,
) -> Evaluation:
    """Evaluate a trained model.

    Args:
        name: a name of ``moue models``, a run folder, or an ``.onnx`` with its ``.json``.
        data: any source that :func:`moue.data.loading.load` reads.
        split: one of :data:`moue.data.table.SPLITS`; see :func:`rows_of`.
        reading: how the data is read. Its label set is by default the one that a written set has, and of other data
            the one that suits the model, see :func:`moue.trained.open.labels_of`.
        size: height and width at which the data is read, in pixels, before it is scaled to the model's input, which is
            the default, as in training.
        color: "gray" or "rgb", in which it is read; by default the model's.
        views: how many views of each face are averaged, one of :data:`moue.spec.VIEWS`; by default what the model's
            spec says.
        logit_adjustment: how much rare classes are favored, see :class:`moue.spec.ModelSpec`; by default what the
            model's spec says.
        left_out: called with the rows that ``reading.skip_bad`` skips.
        predictions: a CSV or Parquet file to write with one row an image.
        robustness: score it on corrupted images, too, which takes 65 times as long.
        robustness_sample: how many images of the split, drawn by class, to corrupt; by default all.
        without_near_copies: score the rows without a near copy in Training, too, see :mod:`moue.data.near_copies`.
        batch: images that are read at a time; by default what suits the engine's device.
        engine: what runs the model's graph, see :func:`moue.trained.open.open_any`.
        progress: makes a progress line for each of reading and evaluating.
        further_outputs: files that the caller writes afterwards, as a model card; checked before any work, as
            ``predictions`` is.
        inspect: called with the rows, their predictions and their classes, as positions in the model's labels.

    Raises:
        UsageError: for a wrong option, a file that cannot be written or would replace one that is read, votes that
            nothing would use, or a class that the model does not know.
        DataError: for data that cannot be used, or lacks the split.
        ModelError: for a model that cannot be opened.
    """
    if split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    if robustness_sample is not None and robustness_sample < 1:
        raise UsageError(f"--robustness-sample must be at least 1. Got {robustness_sample} instead.")
    if outputs := [Path(path) for path in (predictions, *further_outputs) if path is not None]:
        _require_outputs(outputs, predictions)
        require_no_overwrite(outputs, [*source_files(data, reading.votes), *files_of(name)])
    model = open_any(name, engine)
    if logit_adjustment is not None:
        model = WithSpec(model, logit_adjustment=logit_adjustment)
    fallback = reading.labels or labels_of(name, reading.votes is not None)
    if reading.votes is not None and fallback != FERPLUS.name:
        raise UsageError(
            f"votes are for --labels ferplus and models of FER+'s eight classes. Got {name} with --labels {fallback}: "
            "leave --votes out."
        )
    with progress("reading", "rows") as report:
        size, color = size or model.spec.size, color or model.spec.color
        table = reading.load(data, fallback=fallback, size=size, color=color, progress=report)
    if left_out is not None:
        left_out(table.left_out)
    part, reference = rows_of(table, split, name)
    with progress("evaluating", "images") as report:
        evaluation, scored = score(
            model, part, reference=reference, split=split, views=views, batch=batch, progress=report
        )
    if robustness:
        with progress("evaluating corrupted", "images") as report:
            found = score_robustness(model, part, views=views, batch=batch, sample=robustness_sample, progress=report)
        evaluation = replace(evaluation, robustness=found)
    if without_near_copies:
        evaluation = replace(evaluation, without_near_copies=_strict_scores(part, reference, scored, model.spec))
    if inspect is not None:
        inspect(part, scored, truth_of(part, model.spec))
    if predictions is not None:
        deduplicated = without_duplicates(part, reference)
        rows = prediction_rows(part, scored, truth_of(part, model.spec), deduplicated)
        write_rows(predictions, rows, model.spec, evaluation.views)
    return evaluation


def _require_outputs(outputs: Sequence[Path], predictions: str | Path | None) -> None:
    """Refuse files that cannot be written."""
    for path in outputs:
        require_writable(path)
    if predictions is not None:
        check_suffix(predictions)


def _strict_scores(
    part: ImageTable, reference: ImageTable | None, predictions: Predictions, spec: ModelSpec
) -> Scores | None:
    """The scores on the rows without a near copy among the reference; None without one, or without such rows."""
    if reference is None:
        return None
    kept = np.flatnonzero(~near_copies(part, reference))
    return scores(predictions[kept], truth_of(part, spec)[kept]) if len(kept) else None


def rows_of(table: ImageTable, split: str, name: str | Path | None = None) -> tuple[ImageTable, ImageTable | None]:
    """The rows of a split, and the Training rows that its duplicates are looked for in.

    "train" and "validation" are the two parts that a model was trained with, see
    :func:`moue.trained.split_of.split_of`; where nothing says so, the rows that the data set itself labels so. Every
    other split is compared with all of Training, as the validation part was used to choose the weights.

    Args:
        table: the whole set.
        split: one of :data:`moue.data.table.SPLITS`.
        name: the model, where there is one.

    Returns:
        The rows, and their reference: None for "train" itself and where the set has no Training rows.

    Raises:
        DataError: when there are no such rows, or the run was trained on another set.
    """
    if split in ("train", "validation") and name is not None and (saved := split_of(name, table)) is not None:
        rows = saved.train if split == "train" else saved.validation
        if not len(rows):
            few = " Classes of few images, or members that share no held-out image, leave none." * bool(saved.fraction)
            raise DataError(
                f"{name} held out no {split} rows (data.validation = {saved.fraction:g}).{few} Choose another split."
            )
        part = table.take(rows)
        part = replace(part, split=np.full(len(part), split))  # Cut from Training: the table calls all of it so.
        return part, table.take(saved.train) if split == "validation" else None
    if split == "validation" and not (table.split == "validation").any():
        raise DataError(
            f"{table.name or 'the data set'} has no validation rows of its own: a run cuts them from Training. "
            "Give run folders as models, or take a split that the data have."
        )
    part = table.part(split)
    trained = np.isin(table.split, ("train",) if split == "validation" else ("train", "validation"))
    return part, table.take(trained) if split != "train" and trained.any() else None
