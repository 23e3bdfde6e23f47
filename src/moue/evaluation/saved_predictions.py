"""Predictions in place of a model: those that `moue evaluate --predictions` wrote, or any other program."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.damage import decoding, parse_json
from moue.data.table import ImageTable
from moue.errors import DataError, UnknownName, require, shortened
from moue.evaluation.metrics import Evaluation, evaluate
from moue.evaluation.predictions_file import COLUMNS, ORIGIN
from moue.evaluation.scoring import truth_of, without_duplicates
from moue.labels import LabelSet
from moue.runtime.outputs.tabular import probability_columns
from moue.runtime.results import Predictions
from moue.spec import ModelSpec
from moue.tta import check_views

SUFFIXES = (".csv", ".parquet")

#: How far from 1 the sum of a row's probabilities may be, which others round.
TOLERANCE = 0.01


@dataclass(frozen=True)
class SavedPredictions:
    """What a file says of the images of a split."""

    spec: ModelSpec
    """That of the model, in a Parquet file that moue wrote; else the file's name, and the data's classes."""
    predictions: Predictions
    """One row an image of the split."""
    evaluation: Evaluation


def is_predictions(name: str | Path) -> bool:
    """Whether a name is that of such a file, by its suffix."""
    return Path(name).suffix.lower() in SUFFIXES


def load_predictions(
    path: str | Path, part: ImageTable, *, reference: ImageTable | None = None, split: str | None = None
) -> SavedPredictions:
    """Read and score the predictions of a split.

    Args:
        path: a CSV or Parquet file with a column ``source`` and one of probabilities (0 to 1, a row adds up to 1) for
            each class, named by any name of the class, or ``p(name)``. Other columns, and rows of other images, are
            passed over.
        part: the images; each has a row of its ``source``.
        reference: as of :func:`moue.evaluation.scoring.score`.
        split: the name to report.

    Raises:
        DataError: when it cannot be read, lacks a column or an image, or when a row is no distribution.
        MissingExtra: for Parquet without pyarrow.
        UsageError: when the images have a class that the model does not know.
    """
    path, start = Path(path), time.perf_counter()
    rows, origin = _read(path)
    spec, views = _origin(path, origin, part)
    by_source = _by_source(path, rows, part)
    columns = _columns(path, by_source[part.source[0]], spec.labels) if len(part) else []
    values = np.array([_row(path, by_source[source], columns) for source in part.source], np.float64)
    values = values.reshape(len(part), len(spec.labels))
    predictions = Predictions(_distributions(path, values, part), spec.labels, spec.uncertain_below)
    evaluation = evaluate(
        predictions,
        truth_of(part, spec),
        model=path.stem,
        network=spec.network,
        data=part.name,
        split=split or "",
        label_set=part.label_set.name,
        deduplicated=without_duplicates(part, reference),
        views=views,
        seconds=time.perf_counter() - start,
    )
    return SavedPredictions(spec, predictions, evaluation)


def _read(path: Path) -> tuple[list[dict[str, Any]], bytes | None]:
    """The rows, and what a Parquet file says of the model."""

    def damaged(reason: str) -> DataError:
        return DataError(f"{path} is no table of predictions ({reason}). Write it with: moue evaluate --predictions")

    try:
        with decoding(path, damaged):
            if path.suffix.lower() == ".parquet":
                table = require("pyarrow.parquet", "parquet").ParquetFile(path).read()
                return table.to_pylist(), (table.schema.metadata or {}).get(ORIGIN)
            with open(path, encoding="utf-8-sig", newline="") as file:
                return list(csv.DictReader(file)), None
    except FileNotFoundError:
        raise DataError(f"{path} is missing: no such file of predictions.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from error


def _origin(path: Path, origin: bytes | None, part: ImageTable) -> tuple[ModelSpec, int]:
    """The model's spec, and how many views were averaged."""
    if origin is None:
        return ModelSpec(path.stem, "", part.label_set.labels), 1

    def damaged(reason: str) -> DataError:
        return DataError(f"{path} does not say which model made it ({reason}). Write it again: moue evaluate")

    with decoding(path, damaged):
        values = parse_json(origin, damaged)
        views = values["views"]
        check_views(views)
        return ModelSpec.from_dict(values["spec"]), views


def _by_source(path: Path, rows: Sequence[Mapping[str, Any]], part: ImageTable) -> dict[str, Mapping[str, Any]]:
    """The rows of the images."""
    if not rows or "source" not in rows[0]:
        found = shortened(", ".join(map(str, rows[0]))) if rows else "no rows"
        raise DataError(f"{path} needs a column source, which names the image of a row. Got {found} instead.")
    wanted = set(part.source)
    by_source: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        source = row["source"]
        # A Parquet file may have lists there.
        if isinstance(source, str) and source in wanted and by_source.setdefault(source, row) is not row:
            raise DataError(f"{path} has two rows for {shortened(source)}. Each image has one.")
    missing = [source for source in part.source if source not in by_source]
    if missing:
        raise DataError(
            f"{path} has no row for {len(missing)} of {len(part)} images of {part.name or 'the data set'}; the "
            f"first is {shortened(missing[0])}. Predict all images of the split."
        )
    return by_source


def _columns(path: Path, row: Mapping[str, Any], labels: tuple[str, ...]) -> list[str]:
    """The column of each class."""
    columns, classes = list[str](), LabelSet("columns", tuple(str(name) for name in row if name not in COLUMNS))
    for label, column in zip(labels, probability_columns(labels, COLUMNS), strict=True):
        try:
            columns.append(column if column in row else classes.labels[classes.index(label)])
        except UnknownName:
            raise DataError(
                f"{path} needs a column of probabilities for each class: {', '.join(labels)}. "
                f"Got {shortened(', '.join(map(str, row)))} instead."
            ) from None
    return columns


def _row(path: Path, row: Mapping[str, Any], columns: Sequence[str]) -> list[float]:
    try:
        return [float(row[column]) for column in columns]
    except (TypeError, ValueError):
        found = shortened(", ".join(str(row[column]) for column in columns))
        raise DataError(f"{path} must have numbers as probabilities. {shortened(row['source'])} has {found}.") from None


def _distributions(path: Path, values: NDArray[np.float64], part: ImageTable) -> NDArray[np.float32]:
    """The probabilities, which add up to 1 but for their rounding."""
    with np.errstate(invalid="ignore", over="ignore"):
        total = values.sum(axis=1)
        wrong = ~((values >= 0).all(axis=1) & (abs(total - 1) <= TOLERANCE))
    if wrong.any():
        i = int(wrong.argmax())
        raise DataError(
            f"{path} must have probabilities from 0 to 1 that add up to 1. "
            f"{shortened(part.source[i])} has {shortened(', '.join(f'{v:g}' for v in values[i]))}."
        )
    return np.asarray(values / total[:, None], np.float32)
