"""Shards as Parquet files that hold encoded images in a column of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from moue.errors import UsageError, require
from moue.scale.discover import Entry
from moue.scale.filesystem import (
    RETRIES,
    failure_of,
    is_address,
    may_pass,
    open_filesystem,
    patiently,
    reading_errors,
    shown,
    unplanned,
)
from moue.scale.item import Item, failed_item, source_of

#: Names of columns that hold a row's key, the first of which counts.
KEYS = ("key", "__key__", "id", "image_id", "path", "file_name", "filename", "url", "name")
#: Rows that are held in memory at a time.
ROWS = 16


@dataclass(frozen=True)
class ParquetColumns:
    """Which columns of Parquet files are read; None to find them."""

    image: str | None = None
    """That of the images: bytes, or a struct with ``bytes`` as Hugging Face's data sets have it."""
    key: str | None = None
    """That of the keys."""


def row_groups(path: str, columns: ParquetColumns) -> list[int] | Entry:
    """How many rows each row group of a Parquet file has; where none can be read, an entry that says why.

    Raises:
        UsageError: when the column of the images cannot be told, or a named one is not there; when a server cannot be
            reached.
    """
    try:
        schema, groups = patiently(open_filesystem(path)[0], lambda: _shape(path), RETRIES if is_address(path) else 0)
    except reading_errors() as error:
        if is_address(path) and may_pass(error):
            # Its rows would never be in the plan.
            raise UsageError(unplanned(path, error)) from error
        return Entry(path, "unreadable", f"it cannot be read as Parquet: {failure_of(error, path)}")
    name = shown(path)
    if columns.key is not None and columns.key not in schema.names:
        raise UsageError(f"{name} has no column {columns.key!r}. Its columns: {', '.join(schema.names)}.")
    if columns.image is not None:
        if columns.image not in schema.names:
            raise UsageError(f"{name} has no column {columns.image!r}. Its columns: {', '.join(schema.names)}.")
        if not _holds_bytes(schema.field(columns.image).type):
            raise UsageError(f"the column {columns.image!r} of {name} holds no bytes.")
    found = [columns.image] if columns.image is not None else _image_columns(schema)
    if len(found) > 1:
        raise UsageError(f"{name} has several columns of bytes: {', '.join(found)}. Choose one with --image-column.")
    if not found:
        return Entry(path, "skipped", "a Parquet file without a column of bytes")
    return groups if any(groups) else Entry(path, "skipped", "a Parquet file without rows")


def parquet_items(
    path: str, start: int, stop: int, columns: ParquetColumns, *, folder: str = "", patient: bool = False
) -> Iterator[Item]:
    """The rows of a Parquet file from ``start`` to ``stop``, an item each; one that says why where none can be read.

    Args:
        path: of the file, or its address.
        start: the first row.
        stop: the row after the last; there is an item for each up to it, even where the file has fewer by now.
        columns: what :func:`row_groups` has checked.
        folder: where a relative path begins, if not in the working folder.
        patient: whether to raise what reading the file raises, as the caller tries again.
    """
    name, row = shown(path), start
    why = "the Parquet file has changed since the run was planned: it has no such row any more"
    try:
        with _opened(path, folder) as file:
            image, key = _image_column(file.schema_arrow, columns), _key_column(file.schema_arrow, columns)
            for group, first, last in _groups(file, start, stop):
                try:
                    for content, label in _rows(file, group, row - first, last - first, image, key):
                        yield _item(f"{name}#{row}", label, content)
                        row += 1
                except reading_errors() as error:
                    if patient:
                        raise
                    # The next group of rows may well be sound.
                    for number in range(row, last):
                        yield failed_item(f"{name}#{number}", _why(error, path))
                    row = last
    except reading_errors() as error:
        if patient:
            raise
        why = _why(error, path)
    for number in range(row, stop):
        yield failed_item(f"{name}#{number}", why)


def _shape(path: str) -> tuple[Any, list[int]]:
    with _opened(path) as file:
        metadata = file.metadata
        return file.schema_arrow, [int(metadata.row_group(i).num_rows) for i in range(metadata.num_row_groups)]


def _item(name: str, key: str | None, content: bytes | None) -> Item:
    return Item(name, key, lambda: nullcontext(source_of(name, content)))


def _why(error: Exception, path: str) -> str:
    return f"the Parquet file cannot be read: {failure_of(error, path)}"


def _opened(path: str, folder: str = "") -> Any:
    filesystem, inside = open_filesystem(path, folder)
    parquet = require("pyarrow.parquet", "scale")
    # Without the first, the whole of a column of a row group would be in memory at once.
    return parquet.ParquetFile(filesystem.open(inside, "rb"), buffer_size=1 << 20, pre_buffer=False)


def _groups(file: Any, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """The groups of rows that have any from ``start`` to ``stop``: their number, first row, and last of these + 1."""
    first = 0
    for group in range(file.metadata.num_row_groups):
        after = first + file.metadata.row_group(group).num_rows
        if after > start and first < stop:
            yield group, first, min(after, stop)
        first = after


def _rows(
    file: Any, group: int, start: int, stop: int, image: str, key: str | None
) -> Iterator[tuple[bytes | None, str | None]]:
    """The image and the key of each row of a group from ``start`` to ``stop``."""
    row = 0
    for batch in file.iter_batches(ROWS, row_groups=[group], columns=[image, *([key] if key else [])]):
        # Row by row, as a list of all would be a second copy of them.
        for at in range(max(start - row, 0), min(stop - row, batch.num_rows)):
            value = batch.column(image)[at].as_py()
            content = value.get("bytes") if isinstance(value, dict) else value
            label = batch.column(key)[at].as_py() if key else value.get("path") if isinstance(value, dict) else None
            yield content, None if label is None else _text(label)
        row += batch.num_rows
        if row >= stop:
            return


def _text(label: Any) -> str:
    return label.decode("utf-8", "backslashreplace") if isinstance(label, bytes) else str(label)


def _image_column(schema: Any, columns: ParquetColumns) -> str:
    """The column of images of a file that had one when the run was planned."""
    found = [columns.image] if columns.image is not None else _image_columns(schema)
    if len(found) != 1:
        raise ValueError(f"it has {len(found)} columns of bytes, and had one when the run was planned")
    return found[0]


def _key_column(schema: Any, columns: ParquetColumns) -> str | None:
    image = _image_column(schema, columns)
    return columns.key or next((name for name in KEYS if name in schema.names and name != image), None)


def _image_columns(schema: Any) -> list[str]:
    return [field.name for field in schema if _holds_bytes(field.type)]


def _holds_bytes(kind: Any) -> bool:
    types = require("pyarrow", "scale").types
    if types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    if types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    tests = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    return any(test(kind) for test in tests)
