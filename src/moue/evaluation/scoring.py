"""From a model and a table of images to its scores."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from moue.data.duplicates import deduplicated
from moue.data.table import ImageTable
from moue.errors import DataError, ModelError, UnknownName, UsageError, quoted, shortened
from moue.evaluation.metrics import Evaluation, evaluate
from moue.labels import LabelSet
from moue.preprocess import to_inputs
from moue.progress import Report
from moue.runtime.engine import Engine
from moue.runtime.graph import BATCH_SIZE
from moue.runtime.results import Predictions, class_probabilities
from moue.spec import ModelSpec
from moue.trained.open import Model
from moue.tta import check_views, tta_logits


def score(
    model: Model,
    part: ImageTable,
    *,
    reference: ImageTable | None = None,
    split: str | None = None,
    views: int | None = None,
    batch: int | None = None,
    progress: Report | None = None,
) -> tuple[Evaluation, Predictions]:
    """Evaluate a model on every row of a table.

    Args:
        model: what :func:`moue.trained.open.open_any` gives.
        part: the rows to score; their images may have any size and color, their classes are mapped by name.
        reference: the rows that the model was trained on; with them, the rows of ``part`` without an exact duplicate
            there are also scored separately.
        split: the name to report; by default the one that all rows of ``part`` share, or "test".
        views: how many views of each image are averaged, one of :data:`moue.spec.VIEWS`; by default what the spec
            says.
        batch: images that are read at a time; by default what suits the device of the model's engine.
        progress: called after each batch.

    Returns:
        The scores, and the probabilities in the spec's label order, one row an image.

    Raises:
        DataError: when there are no rows.
        UsageError: when the table holds a class that the model does not know; names it.
        ModelError: when the model gives something other than finite logits.
    """
    if not len(part):
        raise DataError(f"{part.name or 'the data set'} has no rows to evaluate.")
    spec, truth = model.spec, truth_of(part, model.spec)
    views = spec.views if views is None else views
    start = time.perf_counter()
    predictions = predict(model, part.images, views=views, batch=batch, progress=progress)
    seconds = time.perf_counter() - start
    splits = set(part.split.tolist())
    evaluation = evaluate(
        predictions,
        truth,
        model=spec.name,
        network=spec.network,
        data=part.name,
        split=split or (splits.pop() if len(splits) == 1 else "test"),
        label_set=part.label_set.name,
        deduplicated=without_duplicates(part, reference),
        views=views,
        seconds=seconds,
    )
    return evaluation, predictions


def predict(
    model: Model,
    images: NDArray[np.uint8],
    *,
    views: int = 1,
    batch: int | None = None,
    progress: Report | None = None,
) -> Predictions:
    """Class probabilities of images.

    The logits of a face's views are averaged, then divided by the spec's temperature (which was fitted that way) and
    turned into probabilities.

    Args:
        model: the model.
        images: uint8 ``(N, C, H, W)``, 0..255, C = 1 gray or 3 RGB, of any size.
        views: one of :data:`moue.spec.VIEWS`.
        batch: images that are read at a time; by default what suits the device of the model's engine.
        progress: called after each batch.

    Raises:
        UsageError: for another number of views, or a batch below 1.
        ModelError: when the model gives something other than finite logits ``(N, K)``.
    """
    check_views(views)
    if batch is None:
        batch = model.graph.batch_size if isinstance(model, Engine) else BATCH_SIZE
    if batch < 1:
        raise UsageError(f"batch must be at least 1. Got {quoted(batch)} instead.")
    spec = model.spec
    logits = np.empty((len(images), len(spec.labels)), np.float32)

    def checked_logits(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        output = model.logits(rows)
        if output.shape != (len(rows), len(spec.labels)) or not np.isfinite(output).all():
            raise ModelError(
                f"the model {quoted(spec.name)} must give finite logits ({len(rows)}, {len(spec.labels)}). "
                f"Got {output.shape} with {int((~np.isfinite(output)).sum())} that are not finite."
            )
        return output

    for start in range(0, len(images), batch):
        pixels = to_inputs(images[start : start + batch], spec.size, spec.color)
        logits[start : start + len(pixels)] = tta_logits(checked_logits, pixels, views, batch, spec.crop_size)
        if progress:
            progress(start + len(pixels), len(images))
    return Predictions(class_probabilities(logits, spec), spec.labels, spec.uncertain_below)


def truth_of(part: ImageTable, spec: ModelSpec) -> NDArray[np.int64]:
    """The table's labels, int64 ``(N,)``, as positions in the model's own labels; mapped by name.

    Raises:
        UsageError: when rows have a class that the model does not know.
    """
    known, unknown = LabelSet(spec.name, spec.labels), []
    mapping = np.full(len(part.label_set), -1, np.int64)
    for i in np.unique(part.labels):
        try:
            mapping[i] = known.index(part.label_set.labels[i])
        except UnknownName:
            unknown.append(part.label_set.labels[i])
    if unknown:
        raise UsageError(
            f"the model {quoted(spec.name)} does not know the class{'es' if len(unknown) > 1 else ''} "
            f"{shortened(', '.join(unknown))} of {part.name or 'the data set'}; it knows "
            f"{', '.join(spec.labels)}. Choose --labels to match."
        )
    return mapping[part.labels]


def without_duplicates(part: ImageTable, reference: ImageTable | None) -> NDArray[np.bool_] | None:
    """bool ``(N,)``: rows of ``part`` whose pixels do not occur in ``reference``; None without one."""
    if reference is None or not len(reference):
        return None
    return deduplicated(part, reference)
