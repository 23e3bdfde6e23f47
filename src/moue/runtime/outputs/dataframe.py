"""Answers as tidy rows: one a face, for tables, CSV, Parquet and pandas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from moue.errors import require
from moue.runtime.outputs.tabular import probability_columns
from moue.runtime.results import Faces

#: The columns before those of the expressions.
COLUMNS = ("source", "status", "frame", "timestamp", "track", "x", "y", "w", "h", "score", "label", "uncertain")

_PANDAS_TYPES = {
    **dict.fromkeys(("source", "status", "label"), "string"),
    **dict.fromkeys(("frame", "track"), "Int64"),
    "uncertain": "boolean",
}


def to_rows(faces: Faces | Iterable[Faces], labels: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """One flat dictionary a face, and one with None in the face's columns for an answer without faces.

    Args:
        faces: one answer or many.
        labels: the expressions' columns; those of the answers where left out.

    Returns:
        Rows that all have the keys of :data:`COLUMNS`, then one an expression with its probability, 0 to 1; see
        :func:`columns_of`.
    """
    answers = [faces] if isinstance(faces, Faces) else list(faces)
    if labels is None:
        labels = list(dict.fromkeys(label for answer in answers for label in answer.predictions.labels))
    return [row for answer in answers for row in _rows(answer, labels)]


def to_frame(faces: Faces | Iterable[Faces], labels: Sequence[str] | None = None) -> Any:
    """:func:`to_rows` as a pandas ``DataFrame``; what is missing is NaN among numbers and NA elsewhere.

    Raises:
        MissingExtra: without pandas.
    """
    pandas = require("pandas", "")
    rows = to_rows(faces, labels)
    table = pandas.DataFrame(rows, columns=list(rows[0]) if rows else [*COLUMNS, *columns_of(labels or ())])
    # A column of nothing, or of whole numbers and nothing, would be one of Python objects.
    return table.astype(dict.fromkeys(table, "float64") | _PANDAS_TYPES)


def columns_of(labels: Iterable[str]) -> list[str]:
    """The expressions' columns: their names, as ``p(name)`` where one is called like another column."""
    return probability_columns(labels, COLUMNS)


def _rows(answer: Faces, labels: Sequence[str]) -> Iterable[dict[str, Any]]:
    whole = answer.to_dict()
    for face in whole["faces"] or [None]:
        row: dict[str, Any] = dict.fromkeys((*COLUMNS, *columns_of(labels)))
        row.update(source=answer.source, status=answer.status, frame=answer.frame, timestamp=whole.get("timestamp"))
        if face is not None:
            row.update(zip("xywh", face["box"], strict=True))
            row.update(score=face["score"], track=face.get("track"), label=face["label"], uncertain=face["uncertain"])
            shown = face["probabilities"]
            row.update(zip(columns_of(shown), shown.values(), strict=True))
        yield row
