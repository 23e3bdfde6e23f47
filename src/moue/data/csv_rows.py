"""Small tables that people write by hand or save from a spreadsheet: CSV with commas, semicolons or tabs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moue.errors import DataError, shortened


def read_rows(path: Path, columns: Sequence[str], what: str) -> list[dict[str, Any]]:
    """The rows of a CSV file, by the names of their columns in lower case.

    Args:
        path: of the file.
        columns: that it must have, in lower case.
        what: a row is, for the error ("event").

    Raises:
        DataError: when it cannot be read, is no text in UTF-8, is empty, or lacks a column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    except ValueError:
        raise DataError(f"{path} is no text in UTF-8. Save it as CSV (UTF-8).") from None
    if not text.strip():
        raise DataError(f"{path} is empty. It needs a line with {','.join(columns)}, and one for each {what}.")
    head, _, _ = text.partition("\n")
    separator = max(",;\t", key=head.count)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise DataError(f"{path} is no CSV: {shortened(error)}.") from error
    names = {name.strip().lower() for name in next(csv.reader([head], delimiter=separator), [])}
    if not set(columns) <= names:
        raise DataError(f"{path} needs the columns {', '.join(columns)}. Its first line has {shortened(head)} instead.")
    return [{str(key).strip().lower(): value for key, value in row.items()} for row in rows]
