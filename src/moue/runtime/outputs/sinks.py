"""Answers on disk as they come: JSON, JSON lines, CSV or Parquet, whole after every row or group of rows."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import IO, Any, Protocol

from moue.errors import require
from moue.runtime.outputs.dataframe import COLUMNS, columns_of, to_rows
from moue.runtime.outputs.tabular import to_csv
from moue.runtime.results import Faces

#: Rows of a Parquet file that wait in memory to be written together.
GROUP = 4096
#: Bytes set aside for a group beyond its rows, and at the end of the file for what tells where a group is.
GROUP_ROOM, END_ROOM = 64 * 1024, 8 * 1024


class Text:
    """Answers as text, a piece at a time.

    Args:
        format: "json", "jsonl" or "csv".
        labels: the expressions' columns of CSV.
    """

    def __init__(self, format: str, labels: tuple[str, ...]) -> None:
        self.format, self._labels = format, labels
        self._first = True

    def piece(self, answer: Faces) -> str:
        """What follows the answers so far."""
        first, self._first = self._first, False
        if self.format == "csv":
            return to_csv(to_rows(answer, self._labels), header=first)
        if self.format == "jsonl":
            return json.dumps(answer.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"
        row = json.dumps(answer.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        return ("[\n  " if first else ",\n  ") + row.replace("\n", "\n  ")

    @property
    def end(self) -> str:
        """What makes a whole of the pieces so far."""
        if self.format != "json":
            return ""
        return "[]\n" if self._first else "\n]\n"


class ResultSink(Protocol):
    """A file that takes one answer after the other. What stands in it when it is closed can be read."""

    def write(self, answer: Faces) -> None:
        """Append one answer.

        Raises:
            OSError: when the disk is full or the file cannot be written; the answers before it are kept.
        """
        ...

    def close(self) -> None:
        """Finish the file; one without an answer is removed."""
        ...


def open_sink(path: str | os.PathLike[str], format: str, labels: tuple[str, ...]) -> ResultSink:
    """A new file of answers, in place of an older one.

    Args:
        path: where to write.
        format: "json", "jsonl", "csv" or "parquet".
        labels: the expressions, in the order of the columns.

    Raises:
        MissingExtra: for Parquet without pyarrow.
        OSError: when it cannot be made.
    """
    if format == "parquet":
        return ParquetFileSink(path, labels)
    return TextFileSink(path, Text(format, labels))


class TextFileSink:
    """Answers in a text file that is whole after each of them, whatever stops the program."""

    def __init__(self, path: str | os.PathLike[str], text: Text) -> None:
        self._path, self._text = Path(path), text
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115
        # Up to here stand answers; behind it what makes a whole of them.
        self._length = 0

    def write(self, answer: Faces) -> None:
        """See :class:`ResultSink`."""
        before = self._text.end.encode() if self._length else b""
        # Names of files need not be text; what cannot be written is written as an escape.
        piece = self._text.piece(answer).encode("utf-8", "backslashreplace")
        try:
            self._put(piece + self._text.end.encode())
        except OSError as error:
            # Cutting the half row off makes the room that the end needs.
            with contextlib.suppress(OSError):
                self._file.truncate(self._length)
                self._put(before)
            raise _named(error, self._path) from error
        self._length += len(piece)

    def close(self) -> None:
        """See :class:`ResultSink`."""
        self._file.close()
        if not self._length:
            self._path.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        self._file.seek(self._length)
        while data:
            data = data[self._file.write(data) :]


class ParquetSink:
    """Answers as Parquet, one row per face, written :data:`GROUP` rows at a time.

    Args:
        sink: an open binary file, or a pipe.
        labels: the expressions, in the order of the columns.

    Raises:
        MissingExtra: without pyarrow.
    """

    def __init__(self, sink: IO[bytes], labels: tuple[str, ...]) -> None:
        self._arrow = require("pyarrow", "parquet")
        parquet = require("pyarrow.parquet", "parquet")
        self._labels = labels
        self._schema = schema(self._arrow, labels)
        self._writer = parquet.ParquetWriter(sink, self._schema)
        self._rows: list[dict[str, Any]] = []
        self._groups = 0

    def write(self, answer: Faces) -> None:
        """See :class:`ResultSink`; that the disk is full may be found up to :data:`GROUP` rows later."""
        self._rows += to_rows(answer, self._labels)
        if len(self._rows) >= GROUP:
            self._flush()

    def close(self) -> None:
        """See :class:`ResultSink`."""
        try:
            self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            for row in rows:
                row["source"] = row["source"].encode("utf-8", "backslashreplace").decode()
            table = self._arrow.Table.from_pylist(rows, self._schema)
            self._set_aside(table.nbytes)
            self._writer.write_table(table)
            self._groups += 1

    def _set_aside(self, size: int) -> None:
        """Make sure that there is room for a group of so many bytes."""


class ParquetFileSink(ParquetSink):
    """Answers in a Parquet file.

    The end of such a file tells where its rows are. Room for it is set aside before each group is written, so that a
    full disk leaves a file that can be read.
    """

    def __init__(self, path: str | os.PathLike[str], labels: tuple[str, ...]) -> None:
        require("pyarrow.parquet", "parquet")  # before an empty file is made
        self._path = Path(path)
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115
        super().__init__(self._file, labels)

    def close(self) -> None:
        """See :class:`ResultSink`."""
        if self._file.closed:
            return
        with self._file:
            try:
                super().close()
            finally:
                self._file.truncate()
                if not self._groups:
                    self._path.unlink(missing_ok=True)

    def _set_aside(self, size: int) -> None:
        try:
            reserve(self._file, self._file.tell(), size + GROUP_ROOM + END_ROOM * (self._groups + 1))
        except OSError as error:
            raise _named(error, self._path) from error


def schema(arrow: Any, labels: tuple[str, ...]) -> Any:
    """The columns of :func:`moue.runtime.outputs.dataframe.to_rows`, as pyarrow knows them."""
    types = dict.fromkeys((*COLUMNS, *columns_of(labels)), arrow.float64())
    types |= dict.fromkeys(("source", "status", "label"), arrow.string())
    types |= dict.fromkeys(("frame", "track"), arrow.int64())
    return arrow.schema(list((types | {"uncertain": arrow.bool_()}).items()))


def reserve(file: IO[bytes], place: int, size: int) -> None:
    """Write ``size`` zeros at ``place`` and go back there.

    Raises:
        OSError: when there is no room for them; what fitted is still set aside.
    """
    try:
        file.seek(place)
        left = size
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 20)))
    finally:
        file.seek(place)


def _named(error: OSError, path: Path) -> OSError:
    return OSError(error.errno, error.strerror, str(path))
