"""One row a picture: what a model said of each, as CSV or Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.data.table import ImageTable
from moue.errors import UsageError, require
from moue.files import replace_files
from moue.runtime.results import Predictions
from moue.runtime.tabular import probability_columns, to_csv, to_parquet

COLUMNS = ("source", "split", "truth", "predicted", "correct", "twin")


def prediction_rows(
    part: ImageTable,
    predictions: Predictions,
    truth: NDArray[np.int64],
    twin_free: NDArray[np.bool_] | None = None,
) -> list[dict[str, Any]]:
    """One row a picture: :data:`COLUMNS`, then a probability (0 to 1) for each class.

    ``twin`` says whether the picture has an exact twin in Training; None where there is no Training to compare with.
    A class that is called like one of the columns gets a column ``p(name)``.

    Args:
        part: the rows that were scored.
        predictions: one row each.
        truth: int64 ``(N,)``: positions in ``predictions.labels``, see :func:`moue.evaluation.scoring.truth_of`.
        twin_free: bool ``(N,)``, or None.
    """
    names = probability_columns(predictions.labels, COLUMNS)
    top = predictions.top
    return [
        {
            "source": part.source[i],
            "split": str(part.split[i]),
            "truth": predictions.labels[truth[i]],
            "predicted": predictions.labels[top[i]],
            "correct": bool(truth[i] == top[i]),
            "twin": None if twin_free is None else not twin_free[i],
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
        raise UsageError(f"--predictions takes a file that ends in .csv or .parquet. Got {str(path)!r} instead.")
    if suffix == ".parquet":
        require("pyarrow", "parquet")


def write_rows(path: Path | str, rows: list[dict[str, Any]]) -> Path:
    """Write rows with equal keys as CSV or Parquet, by the suffix; an older file is replaced by a whole one only.

    Raises:
        UsageError: for another suffix.
        MissingExtra: for Parquet without pyarrow.
        OSError: when it cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    content = to_parquet(rows) if path.suffix.lower() == ".parquet" else to_csv(rows).encode()
    return replace_files({path: content})[0]
