"""The predictions of a model as a table, one row an image: CSV, or Parquet, which holds the model's spec, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.data.table import ImageTable
from moue.errors import UsageError, quoted, require
from moue.files import atomic_write_many
from moue.runtime.outputs.tabular import probability_columns, to_csv, to_parquet
from moue.runtime.results import Predictions
from moue.spec import ModelSpec

COLUMNS = ("source", "split", "truth", "predicted", "correct", "duplicate")
#: Under which a Parquet file holds, as JSON, the spec of the model and how many views were averaged.
ORIGIN = b"moue"


def prediction_rows(
    part: ImageTable,
    predictions: Predictions,
    truth: NDArray[np.int64],
    deduplicated: NDArray[np.bool_] | None = None,
    folds: NDArray[np.int64] | None = None,
) -> list[dict[str, Any]]:
    """One row an image: :data:`COLUMNS`, then a probability (0 to 1) for each class.

    ``duplicate`` says whether the image has an exact duplicate in Training; None where there is no Training to
    compare with. A class with the name of one of the columns gets a column ``p(name)``.

    Args:
        part: the rows that were scored.
        predictions: one row each.
        truth: int64 ``(N,)``: positions in ``predictions.labels``, see :func:`moue.evaluation.scoring.truth_of`.
        deduplicated: bool ``(N,)``, or None.
        folds: int64 ``(N,)``: the fold of a cross-validation that held out each row, as a column ``fold``; or None.
    """
    names = probability_columns(predictions.labels, COLUMNS if folds is None else (*COLUMNS, "fold"))
    predicted = predictions.class_ids
    return [
        {
            "source": part.source[i],
            "split": str(part.split[i]),
            **({} if folds is None else {"fold": int(folds[i])}),
            "truth": predictions.labels[truth[i]],
            "predicted": predictions.labels[predicted[i]],
            "correct": bool(truth[i] == predicted[i]),
            "duplicate": None if deduplicated is None else not deduplicated[i],
            **{name: round(float(p), 6) for name, p in zip(names, predictions.probabilities[i], strict=True)},
        }
        for i in range(len(predictions))
    ]


def check_suffix(path: Path | str) -> None:
    """Refuse a file that is neither ``.csv`` nor ``.parquet``, before any work is done for it.

    Raises:
        UsageError: for another suffix.
        MissingExtra: for Parquet without pyarrow.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise UsageError(f"--predictions takes a file that ends in .csv or .parquet. Got {quoted(str(path))} instead.")
    if suffix == ".parquet":
        require("pyarrow", "parquet")


def write_rows(
    path: Path | str, rows: list[dict[str, Any]], spec: ModelSpec | None = None, views: int | None = None
) -> Path:
    """Write rows with equal keys as CSV or Parquet, by the suffix; a failure leaves an older file as it was.

    Args:
        path: of the file.
        rows: as of :func:`prediction_rows`.
        spec: the model's, which a Parquet file holds, too: with it the file stands for the model in a comparison.
        views: of each image that were averaged.

    Raises:
        UsageError: for another suffix.
        MissingExtra: for Parquet without pyarrow.
        OSError: when it cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    if path.suffix.lower() == ".csv":
        content = to_csv(rows).encode()
    else:
        origin = {} if spec is None else {ORIGIN: json.dumps({"spec": spec.to_dict(), "views": views}).encode()}
        content = to_parquet(rows, origin)
    return atomic_write_many({path: content})[0]
