"""Flat rows as files: CSV and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from moue.errors import require
from moue.files import valid_text


def probability_columns(labels: Iterable[str], other: Sequence[str]) -> list[str]:
    """A column for each class: its name, or ``p(name)`` where one of the ``other`` columns is named so."""
    return [f"p({label})" if label in other else label for label in labels]


def to_csv(rows: Sequence[Mapping[str, Any]], *, header: bool = True, columns: Sequence[str] | None = None) -> str:
    """Rows with the same keys as CSV; None is an empty field.

    Args:
        rows: flat dictionaries.
        header: whether the first line holds the keys.
        columns: the keys; those of the first row where left out, so that there is no header without rows.
    """
    text = io.StringIO(newline="")
    if columns or rows:
        writer = csv.DictWriter(text, fieldnames=columns or list(rows[0]), lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def to_parquet(rows: Sequence[Mapping[str, Any]], metadata: Mapping[bytes, bytes] | None = None) -> bytes:
    """Rows with the same keys as a Parquet file.

    Args:
        rows: flat dictionaries.
        metadata: what the file says of itself.

    Raises:
        MissingExtra: without pyarrow.
    """
    pyarrow = require("pyarrow", "parquet")
    parquet = require("pyarrow.parquet", "parquet")
    sink = io.BytesIO()
    valid = [{key: valid_text(v) if isinstance(v, str) else v for key, v in row.items()} for row in rows]
    table = pyarrow.Table.from_pylist(valid)
    parquet.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **(metadata or {})}), sink)
    return sink.getvalue()
