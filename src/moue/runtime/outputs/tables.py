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
        self._index, self._people = folder / INDEX, folder / PEOPLE
        self._people_columns = people.columns_of(labels)

    def rewrite(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Replace both tables, each in one step.

        Raises:
            OSError: when one cannot be written; the older one stays then.
        """
        with (
            atomic_write(self._index) as index_part,
            atomic_write(self._people) as people_part,
            open(index_part, "wb") as index,
            open(people_part, "wb") as persons,
        ):
            index.write(to_csv([], columns=INDEX_COLUMNS).encode())
            persons.write(to_csv([], columns=self._people_columns).encode())
            for entry in entries:
                index.write(_lines([entry["index"]], INDEX_COLUMNS))
                persons.write(_lines(entry["people"], self._people_columns))

    def append(self, entry: Mapping[str, Any]) -> None:
        """Append an input to both tables.

        Raises:
            OSError: when one cannot be written; it ends with a whole line all the same.
        """
        if entry["people"]:
            append(self._people, _lines(entry["people"], self._people_columns))
        append(self._index, _lines([entry["index"]], INDEX_COLUMNS))


def _lines(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    # File names need not be valid text; what cannot be encoded is written as an escape.
    return to_csv(rows, columns=columns, header=False).encode("utf-8", "backslashreplace")
