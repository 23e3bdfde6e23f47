"""The tables of a folder of results: ``index.csv``, a line an input, and ``people.csv``, a line a person and film."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moue.files import append, atomic_write
from moue.runtime.outputs import people
from moue.runtime.outputs.tabular import to_csv

INDEX, PEOPLE = "index.csv", "people.csv"
INDEX_COLUMNS = ("source", "status", "reason", "faces", "seconds", "answer")


class Tables:
    """Writes both tables. An entry is ``{"index": row, "people": [row, …]}``.

    Args:
        folder: where they lie.
        labels: the class names, in the order of the columns.
    """

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self._columns: dict[Path, Sequence[str]] = {
            folder / INDEX: INDEX_COLUMNS,
            folder / PEOPLE: people.columns_of(labels),
        }

    def rewrite(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Replace both tables, each in one step.

        Raises:
            OSError: when one cannot be written; the older one stays then.
        """
        index, persons = self._columns
        with atomic_write(index) as part, atomic_write(persons) as people_part:
            for path, columns in ((part, self._columns[index]), (people_part, self._columns[persons])):
                append(path, to_csv([], columns=columns).encode())
            for entry in entries:
                append(part, _lines([entry["index"]], self._columns[index]))
                append(people_part, _lines(entry["people"], self._columns[persons]))

    def append(self, entry: Mapping[str, Any]) -> None:
        """Append an input to both tables.

        Raises:
            OSError: when one cannot be written; it ends with a whole line all the same.
        """
        index, persons = self._columns
        append(persons, _lines(entry["people"], self._columns[persons]))
        append(index, _lines([entry["index"]], self._columns[index]))


def _lines(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    # File names need not be valid text; what cannot be encoded is written as an escape.
    return to_csv(rows, columns=columns, header=False).encode("utf-8", "backslashreplace")
