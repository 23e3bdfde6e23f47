"""What happens to a row that cannot be used: an error that names it, or a line in the list of what was left out."""

from __future__ import annotations

from moue.data.table import LeftOut
from moue.errors import DataError


class RowErrors:
    """The one place where a reader's complaints go.

    Args:
        file: the file or folder being read, as messages name it.
        skip: whether to go on without bad rows, and list them, instead of raising.
    """

    def __init__(self, file: str, skip: bool) -> None:
        self.file, self.skip = file, skip
        self.left_out: list[LeftOut] = []

    def add(self, where: str, reason: str) -> None:
        """Report one bad row.

        Args:
            where: "row 17", or a path inside the file or folder; empty for the whole of it.
            reason: what was required and what came, without a full stop.

        Raises:
            DataError: unless bad rows are skipped.
        """
        place = f"{self.file}, {where}" if where else self.file
        if not self.skip:
            raise DataError(f"{place}: {reason}. Correct it, or type --skip-bad to go on without it.")
        self.left_out.append(LeftOut(place, reason))
