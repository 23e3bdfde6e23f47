"""Where results are written as they come: JSON, JSON lines, CSV or Parquet, to a file or to an open stream."""

from __future__ import annotations

import contextlib
import json
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, Any, TextIO

from moue.errors import require
from moue.files import atomic_write, naming_errors, valid_text
from moue.preprocess import ImageArray
from moue.runtime.inputs.source import Source
from moue.runtime.outputs.dataframe import COLUMNS, INTEGER_COLUMNS, TEXT_COLUMNS, columns_of, to_rows
from moue.runtime.outputs.tabular import to_csv
from moue.runtime.results import Faces

#: Rows of a Parquet stream that are collected in memory and written together.
ROW_GROUP = 4096
#: A Parquet file is rewritten whenever its rows have grown by one part in that many …
GROWTH = 32
#: … but with that many new rows at least, and that many at most.
MIN_PENDING, MAX_PENDING = 32, 16_384


class ResultSink(ABC):
    """Takes the results of a run: for each input ``begin``, ``write`` once or more, ``end``; after the last ``close``.

    Only :meth:`write` must be defined.
    """

    def begin(self, source: Source) -> Path | None:
        """Prepare for the results of an input.

        Returns:
            Where its annotated video is to be written (.mp4); None where there is to be none.
        """
        return None

    @abstractmethod
    def write(self, faces: Faces, image: ImageArray | None = None) -> None:
        """Take one result.

        Args:
            faces: the faces of an image or frame, or the reason why there is none.
            image: the image or frame in which they were found, uint8 ``(H, W, 3)`` RGB; None where nothing could be
                read.

        Raises:
            OSError: when the disk is full or the file cannot be written; earlier results are kept.
        """

    def end(self) -> None:
        """Finish an input; not called when reading it was interrupted."""
        return

    def close(self, complete: bool = True) -> None:
        """Finish everything, so that what was written can be read. Without a result, no file is left.

        Args:
            complete: False after an error or an interrupt.
        """
        return


class TextFormatter:
    """Results as text, piece by piece.

    Args:
        format: "json", "jsonl" or "csv".
        labels: the class names, for the columns of CSV.
    """

    def __init__(self, format: str, labels: tuple[str, ...]) -> None:
        self.format, self._labels = format, labels
        self.empty = True

    def piece(self, faces: Faces) -> str:
        """The text to append for one result."""
        first, self.empty = self.empty, False
        if self.format == "csv":
            return to_csv(to_rows(faces, self._labels), header=first)
        if self.format == "jsonl":
            return json.dumps(faces.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"
        row = json.dumps(faces.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        return ("[\n  " if first else ",\n  ") + row.replace("\n", "\n  ")

    @property
    def end(self) -> str:
        """The text that completes a document after the pieces so far."""
        if self.format != "json":
            return ""
        return "[]\n" if self.empty else "\n]\n"


def open_sink(path: str | os.PathLike[str], format: str, labels: tuple[str, ...]) -> ResultSink:
    """A new file of results, in place of an older one.

    Args:
        path: where to write.
        format: "json", "jsonl", "csv" or "parquet".
        labels: the class names, in the order of the columns.

    Raises:
        MissingExtra: for Parquet without pyarrow.
        OSError: when it cannot be created.
    """
    if format == "parquet":
        return ParquetFileSink(path, labels)
    return TextFileSink(path, TextFormatter(format, labels))


class TextSink(ResultSink):
    """Results as text on an open stream, flushed after each of them."""

    def __init__(self, stream: TextIO, formatter: TextFormatter) -> None:
        self._stream, self._formatter = stream, formatter

    def write(self, faces: Faces, image: ImageArray | None = None) -> None:
        """See :class:`ResultSink`."""
        self._stream.write(self._formatter.piece(faces))
        self._stream.flush()

    def close(self, complete: bool = True) -> None:
        """See :class:`ResultSink`; after an error there is no empty document."""
        if complete or not self._formatter.empty:
            self._stream.write(self._formatter.end)


class TextFileSink(ResultSink):
    """Results in a text file that is a valid document after each of them, whatever stops the program."""

    def __init__(self, path: str | os.PathLike[str], formatter: TextFormatter) -> None:
        self._path, self._formatter = Path(path), formatter
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115
        # The results end here; what follows completes the document.
        self._length = 0

    def write(self, faces: Faces, image: ImageArray | None = None) -> None:
        """See :class:`ResultSink`."""
        previous_end = self._formatter.end.encode() if self._length else b""
        # File names need not be valid text; what cannot be encoded is written as an escape.
        piece = self._formatter.piece(faces).encode("utf-8", "backslashreplace")
        try:
            with naming_errors(self._path):
                self._write_at_end(piece + self._formatter.end.encode())
        except OSError:
            # Cutting off the incomplete row makes room for the end.
            with contextlib.suppress(OSError):
                self._file.truncate(self._length)
                self._write_at_end(previous_end)
            raise
        self._length += len(piece)

    def close(self, complete: bool = True) -> None:
        """See :class:`ResultSink`."""
        self._file.close()
        if not self._length:
            self._path.unlink(missing_ok=True)

    def _write_at_end(self, data: bytes) -> None:
        self._file.seek(self._length)
        while data:
            data = data[self._file.write(data) :]


class ParquetSink(ResultSink):
    """Results as Parquet on an open stream: a row a face, written in groups of :data:`ROW_GROUP` rows.

    Args:
        file: a binary file or a pipe. What it holds can be read after :meth:`close` alone.
        labels: the class names, in the order of the columns.

    Raises:
        MissingExtra: without pyarrow.
    """

    def __init__(self, file: IO[bytes], labels: tuple[str, ...]) -> None:
        self._table = _TableBuilder(labels)
        self._writer = require("pyarrow.parquet", "parquet").ParquetWriter(file, self._table.schema)

    def write(self, faces: Faces, image: ImageArray | None = None) -> None:
        """See :class:`ResultSink`; a full disk may be noticed up to :data:`ROW_GROUP` rows later."""
        self._table.add(faces)
        if len(self._table.rows) >= ROW_GROUP:
            self._writer.write_table(self._table.take())

    def close(self, complete: bool = True) -> None:
        """See :class:`ResultSink`."""
        try:
            if self._table.rows:
                self._writer.write_table(self._table.take())
        finally:
            self._writer.close()


class ParquetFileSink(ResultSink):
    """Results in a Parquet file that can be read at any time, whatever stops the program.

    The footer of such a file tells where its rows are, and nothing can be appended after it. So the file is written
    anew beside the old one and renamed, whenever its rows have grown by one part in :data:`GROWTH`: all rewriting
    together costs a constant number of writes a row, and at most the rows since the last time are lost.

    Args:
        path: where to write; an older file is replaced.
        labels: the class names, in the order of the columns.

    Raises:
        MissingExtra: without pyarrow.
        OSError: when the file cannot be created.
    """

    def __init__(self, path: str | os.PathLike[str], labels: tuple[str, ...]) -> None:
        self._parquet = require("pyarrow.parquet", "parquet")
        self._table = _TableBuilder(labels)
        self._path = Path(path)
        self._written = 0
        # Columnar tables take a tenth of the memory of rows.
        self._tables: list[Any] = []
        self._closed = False
        self._rewrite()

    def write(self, faces: Faces, image: ImageArray | None = None) -> None:
        """See :class:`ResultSink`; a full disk is noticed when the file is rewritten."""
        self._table.add(faces)
        pending = len(self._table.rows) + sum(table.num_rows for table in self._tables)
        if pending >= max(MIN_PENDING, min(self._written // GROWTH, MAX_PENDING)):
            self._rewrite()
        elif len(self._table.rows) >= ROW_GROUP:
            self._tables.append(self._table.take())

    def close(self, complete: bool = True) -> None:
        """See :class:`ResultSink`."""
        if self._closed:
            return
        self._closed = True
        if self._table.rows or self._tables:
            self._rewrite()
        if not self._written:
            self._path.unlink(missing_ok=True)

    def _rewrite(self) -> None:
        """Replace the file by one with the pending rows too; they are dropped where the disk is full."""
        tables, self._tables = [*self._tables, self._table.take()], []
        with (
            atomic_write(self._path) as part,
            open(part, "wb") as file,
            self._parquet.ParquetWriter(file, self._table.schema) as writer,
        ):
            if self._written:
                with self._parquet.ParquetFile(self._path) as old:
                    for batch in old.iter_batches(ROW_GROUP):
                        writer.write_batch(batch)
            for table in tables:
                if table.num_rows:
                    writer.write_table(table)
        self._written += sum(table.num_rows for table in tables)


class _TableBuilder:
    """Collects results as tidy rows and turns them into pyarrow tables."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._arrow = require("pyarrow", "parquet")
        self._labels = labels
        self.schema = schema(self._arrow, labels)
        self.rows: list[dict[str, Any]] = []

    def add(self, faces: Faces) -> None:
        self.rows += to_rows(faces, self._labels)

    def take(self) -> Any:
        """The rows so far as a table; they are forgotten."""
        rows, self.rows = self.rows, []
        for row in rows:
            for name in TEXT_COLUMNS:
                if row[name] is not None:
                    row[name] = valid_text(row[name])
        return self._arrow.Table.from_pylist(rows, self.schema)


def schema(arrow: Any, labels: tuple[str, ...]) -> Any:
    """The columns of :func:`moue.runtime.outputs.dataframe.to_rows` as a pyarrow schema."""
    types = dict.fromkeys((*COLUMNS, *columns_of(labels)), arrow.float64())
    types |= dict.fromkeys(TEXT_COLUMNS, arrow.string())
    types |= dict.fromkeys(INTEGER_COLUMNS, arrow.int64())
    return arrow.schema(list((types | {"uncertain": arrow.bool_()}).items()))
