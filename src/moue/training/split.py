"""The validation part that a config asks for."""

from __future__ import annotations

from moue.data.splits import Split, stratified_split
from moue.data.table import ImageTable
from moue.training.config import DataConfig


def configured_split(table: ImageTable, data: DataConfig) -> Split:
    """Cut the validation part that a config asks for from a set; see :func:`moue.data.splits.stratified_split`.

    Raises:
        DataError, UsageError: as of that function.
    """
    return stratified_split(table, data.validation, data.split_seed, data.fold, data.duplicates)
