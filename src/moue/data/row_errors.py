"""Rows that cannot be used: an error that names the row, or an entry in the list of rows left out."""

from __future__ import annotations

from moue.data.table import LeftOut
from moue.errors import DataError, shortened


class RowErrors:
    """Raises for the rows that a reader cannot use, or collects them.

    Args:
        file: the file or folder being read, as messages name it.
        skip: list bad rows in ``left_out`` and go on, instead of raising.
    """

    def __init__(self, file: str, skip: bool) -> None:
        self.file, self.skip = file, skip
        self.left_out: list[LeftOut] = []

    def add(self, row: str, reason: str) -> None:
        """Report one bad row.

        Args:
            row: "row 17", or a path inside the file or folder; empty for the whole of it.
            reason: what was required and what was found, without a full stop.

        Raises:
            DataError: unless bad rows are skipped.
        """
        if not self.skip:
            source = f"{self.file}, {shortened(row)}" if row else self.file
            raise DataError(f"{source}: {reason}. Correct it, or type --skip-bad to go on without it.")
        self.left_out.append(LeftOut(f"{self.file}, {row}" if row else self.file, reason))
