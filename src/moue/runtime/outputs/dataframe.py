"""Results as tidy rows: one a face, for tables, CSV, Parquet and pandas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from moue.errors import require
from moue.runtime.outputs.tabular import probability_columns

#: The columns before those of the expressions.
COLUMNS = (
    *("source", "model", "status", "reason", "frame", "timestamp", "track"),
    *("face", "x", "y", "w", "h", "score", "label", "uncertain"),
)
#: Those that hold text, and those that hold whole numbers.
TEXT_COLUMNS = ("source", "model", "status", "reason", "label")
INTEGER_COLUMNS = ("frame", "track", "face")

_PANDAS_TYPES = {
    **dict.fromkeys(TEXT_COLUMNS, "string"),
    **dict.fromkeys(INTEGER_COLUMNS, "Int64"),
    "uncertain": "boolean",
}


@runtime_checkable
class Result(Protocol):
    """A :class:`moue.Faces`, which itself needs this module."""

    @property
    def predictions(self) -> Any:
        """Has the ``labels``."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The row of ``moue predict --format json``."""
        ...


def to_rows(faces: Result | Iterable[Result], labels: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """One flat dictionary a face, and one with None in the face's columns for a result without faces.

    Args:
        faces: one :class:`moue.Faces` or many.
        labels: the expressions' columns; those of the results where left out.

    Returns:
        Rows that all have the keys of :data:`COLUMNS`, then one an expression with its probability, 0 to 1; see
        :func:`columns_of`. ``face`` counts the faces of an image or frame from 1, in the order of the result.
    """
    results = [faces] if isinstance(faces, Result) else list(faces)
    if labels is None:
        labels = list(dict.fromkeys(label for result in results for label in result.predictions.labels))
    return [row for result in results for row in _rows(result.to_dict(), labels)]


def to_frame(faces: Result | Iterable[Result], labels: Sequence[str] | None = None) -> Any:
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


def _rows(result: dict[str, Any], labels: Sequence[str]) -> Iterable[dict[str, Any]]:
    for number, face in enumerate(result["faces"] or [None], start=1):
        row: dict[str, Any] = dict.fromkeys((*COLUMNS, *columns_of(labels)))
        row.update({name: result.get(name) for name in ("source", "model", "status", "reason", "frame", "timestamp")})
        if face is not None:
            row.update(zip("xywh", face["box"], strict=True))
            row.update(face=number, score=face["score"], track=face.get("track"))
            row.update(label=face["label"], uncertain=face["uncertain"])
            shown = face["probabilities"]
            row.update(zip(columns_of(shown), shown.values(), strict=True))
        yield row
