"""Rows of numbers, as they are computed, as a data frame and as CSV."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from moue.errors import require
from moue.files import atomic_write
from moue.runtime.outputs.tabular import to_csv


@dataclass(frozen=True)
class Table(Sequence[dict[str, Any]]):
    """Flat rows with the same columns; a sequence of dictionaries."""

    columns: tuple[str, ...]
    """The keys of every row."""
    rows: tuple[dict[str, Any], ...]
    """None stands for what cannot be computed."""

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[dict[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | Sequence[dict[str, Any]]:
        return self.rows[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def to_frame(self) -> Any:
        """A pandas ``DataFrame``.

        Raises:
            MissingExtra: without pandas.
        """
        return require("pandas", "").DataFrame(list(self.rows), columns=list(self.columns))

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """CSV, as text; None is an empty field.

        Args:
            path: a file to write it to, too.

        Raises:
            OSError: when it cannot be written.
        """
        text = to_csv(self.rows, columns=self.columns)
        if path is not None:
            with atomic_write(Path(path)) as part:
                part.write_bytes(text.encode("utf-8", "backslashreplace"))
        return text
