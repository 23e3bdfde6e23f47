"""Where results are written as they come: JSON, JSON lines, CSV or Parquet, to a file or to an open stream."""

from __future__ import annotations

import contextlib
import json
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, Any, TextIO

from moue.errors import require
from moue.files import naming_errors, reserve
from moue.preprocess import ImageArray
from moue.runtime.inputs.source import Source
from moue.runtime.outputs.dataframe import COLUMNS, columns_of, to_rows
from moue.runtime.outputs.tabular import to_csv
from moue.runtime.results import Faces

#: Rows of a Parquet file that are collected in memory and written together.
ROW_GROUP = 4096
#: Bytes reserved for a row group beyond its values, and for its entry in the file's footer.
GROUP_OVERHEAD, FOOTER_ENTRY = 64 * 1024, 8 * 1024


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
            image: the image in which they were found, uint8 ``(H, W, 3)`` RGB; None for a video's frame, and where
                nothing could be read.

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
        file: a binary file or a pipe.
        labels: the class names, in the order of the columns.

    Raises:
        MissingExtra: without pyarrow.
    """

    def __init__(self, file: IO[bytes], labels: tuple[str, ...]) -> None:
        self._arrow = require("pyarrow", "parquet")
        parquet = require("pyarrow.parquet", "parquet")
        self._labels = labels
        self._schema = schema(self._arrow, labels)
        self._writer = parquet.ParquetWriter(file, self._schema)
        self._rows: list[dict[str, Any]] = []
        self._groups = 0

    def write(self, faces: Faces, image: ImageArray | None = None) -> None:
        """See :class:`ResultSink`; a full disk may be noticed up to :data:`ROW_GROUP` rows later."""
        self._rows += to_rows(faces, self._labels)
        if len(self._rows) >= ROW_GROUP:
            self._write_group()

    def close(self, complete: bool = True) -> None:
        """See :class:`ResultSink`."""
        try:
            self._write_group()
        finally:
            self._writer.close()

    def _write_group(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            for row in rows:
                row["source"] = row["source"].encode("utf-8", "backslashreplace").decode()
            table = self._arrow.Table.from_pylist(rows, self._schema)
            self._reserve(table.nbytes)
            self._writer.write_table(table)
            self._groups += 1

    def _reserve(self, size: int) -> None:
        """Make sure that there is space for a row group of so many bytes."""


class ParquetFileSink(ParquetSink):
    """Results in a Parquet file.

    The footer of such a file tells where its rows are. Space for it is reserved before each row group is written, so
    that a full disk leaves a file that can be read.
    """

    def __init__(self, path: str | os.PathLike[str], labels: tuple[str, ...]) -> None:
        require("pyarrow.parquet", "parquet")  # before an empty file is made
        self._path = Path(path)
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115
        super().__init__(self._file, labels)

    def close(self, complete: bool = True) -> None:
        """See :class:`ResultSink`."""
        if self._file.closed:
            return
        with self._file:
            try:
                super().close(complete)
            finally:
                self._file.truncate()
                if not self._groups:
                    self._path.unlink(missing_ok=True)

    def _reserve(self, size: int) -> None:
        with naming_errors(self._path):
            reserve(self._file, self._file.tell(), size + GROUP_OVERHEAD + FOOTER_ENTRY * (self._groups + 1))


def schema(arrow: Any, labels: tuple[str, ...]) -> Any:
    """The columns of :func:`moue.runtime.outputs.dataframe.to_rows` as a pyarrow schema."""
    types = dict.fromkeys((*COLUMNS, *columns_of(labels)), arrow.float64())
    types |= dict.fromkeys(("source", "status", "label"), arrow.string())
    types |= dict.fromkeys(("frame", "track"), arrow.int64())
    return arrow.schema(list((types | {"uncertain": arrow.bool_()}).items()))
