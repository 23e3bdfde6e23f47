"""A file of the data set: the rows of some inputs, written whole or not at all."""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moue.errors import require
from moue.files import valid_text
from moue.preprocess import ImageArray
from moue.runtime.inputs.source import Source
from moue.runtime.outputs.sinks import ResultSink
from moue.runtime.results import Faces
from moue.scale.storage import Storage, writing_errors

#: Rows of a group of a part; that many are in memory at most.
ROW_GROUP = 2048
#: The key of a part's tally in its footer.
TALLY = b"moue.tally"


@dataclass
class Tally:
    """What some inputs had."""

    inputs: int = 0
    rows: int = 0
    """One an image, one a frame of a film."""
    faces: int = 0
    failed: int = 0
    """Inputs that could not be read, or not to their end."""
    parts: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    """Inputs by status; a film has that of its end, or "ok" where any frame had a face."""
    ended: bool = False
    """Of a part: whether its last input stands for all that is left of its shard, which cannot be read."""

    def add(self, other: Tally) -> None:
        """Count in what other inputs had."""
        for name in ("inputs", "rows", "faces", "failed", "parts"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.statuses.update(other.statuses)

    @classmethod
    def from_json(cls, text: bytes | str) -> Tally:
        """As :meth:`to_json` writes it."""
        values = json.loads(text)
        return cls(**{**values, "statuses": Counter(values["statuses"])})

    def to_json(self) -> bytes:
        """One line of JSON."""
        return json.dumps({**self.to_dict(), "ended": self.ended}).encode()

    def to_dict(self) -> dict[str, Any]:
        """Plain types; what a whole data set has, too."""
        # Not asdict, which takes a counter's items for its elements.
        counts = {name: value for name, value in vars(self).items() if name != "ended"}
        return {**counts, "statuses": dict(sorted(self.statuses.items()))}


def part_name(unit: int, number: int) -> str:
    """The name of a part of a unit; their order is that of the sources."""
    return f"part-{unit:07d}-{number:05d}.parquet"


def unit_of(name: str) -> int | None:
    """The number of the unit that a part of this name is of; None where it is no part."""
    match = re.fullmatch(r"part-(\d{7,})-\d{5,}\.parquet", name)
    return None if match is None else int(match[1])


def read_tally(storage: Storage, name: str) -> Tally | None:
    """The tally in a part's footer; None where there is no such part.

    Raises:
        MoueError: when the part is damaged.
    """
    if not storage.exists(name):
        return None
    with (
        storage.decoding(name, "Delete it and type the same command, which makes it again"),
        storage.open(name) as file,
    ):
        return Tally.from_json(require("pyarrow.parquet", "scale").read_metadata(file).metadata[TALLY])


class PartSink(ResultSink):
    """Writes one part.

    Args:
        storage: where.
        name: of the part.
        labels: the classes of the model, in its order.
    """

    def __init__(self, storage: Storage, name: str, labels: tuple[str, ...]) -> None:
        self.tally = Tally(parts=1)
        self.key: str | None = None
        """The key of the input that is read."""
        self._parquet = require("pyarrow.parquet", "scale")
        self._arrow = require("pyarrow", "scale")
        self._schema = schema(labels)
        self._rows: list[dict[str, Any]] = []
        self._stack = ExitStack()
        with writing_errors():
            part = self._stack.enter_context(storage.writing(name))
            # Not by pyarrow, which opens no file whose name is no valid text.
            file = self._stack.enter_context(open(part, "wb"))  # noqa: SIM115
            self._writer = self._parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._source, self._status, self._faces = "", "no_face", 0

    @property
    def rows(self) -> int:
        """Rows so far."""
        return self.tally.rows + len(self._rows)

    def begin(self, source: Source) -> Path | None:
        """See :class:`ResultSink`."""
        self._source, self._status, self._faces = source.name, "no_face", 0
        return None

    def write(self, faces: Faces, image: ImageArray | None = None) -> None:
        """See :class:`ResultSink`."""
        # The frames of a film in memory do not know what it is called.
        row = {**faces.to_dict(), "source": self._source, "key": self.key}
        for name in ("source", "key", "reason"):
            if row[name] is not None:
                row[name] = valid_text(row[name])
        self._rows.append(row)
        self._faces += len(faces)
        if faces.timestamp is None:
            self._status = faces.status
        elif len(faces):
            self._status = "ok"
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def end(self) -> None:
        """See :class:`ResultSink`."""
        self.tally.inputs += 1
        self.tally.faces += self._faces
        self.tally.statuses[self._status] += 1

    def __enter__(self) -> PartSink:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave nothing of a part that was not committed."""
        with suppress(_Incomplete, OSError), self._stack:
            self._writer.close()
            raise _Incomplete

    def commit(self, failed: int) -> Tally:
        """Make the part one of the data set.

        Args:
            failed: how many inputs could not be read.
        """
        self.tally.failed = failed
        self._flush()
        with writing_errors(), self._stack:
            self._writer.add_key_value_metadata({TALLY: self.tally.to_json()})
            self._writer.close()
        return self.tally

    def _flush(self) -> None:
        if self._rows:
            with writing_errors():
                self._writer.write_table(self._arrow.Table.from_pylist(self._rows, self._schema))
            self.tally.rows += len(self._rows)
            self._rows = []


class _Incomplete(Exception):
    """A part that is not going to be complete."""


def schema(labels: tuple[str, ...]) -> Any:
    """The columns of a part: the rows of ``moue predict --format json`` with the key of the input in its shard."""
    pa = require("pyarrow", "scale")
    face = pa.struct(
        [
            ("box", pa.list_(pa.float32())),
            ("score", pa.float32()),
            ("landmarks", pa.list_(pa.list_(pa.float32()))),
            ("track", pa.int64()),
            ("label", pa.string()),
            ("uncertain", pa.bool_()),
            ("quality", _quality(pa)),
            ("probabilities", pa.struct([(label, pa.float32()) for label in labels])),
        ]
    )
    texts = [(name, pa.string()) for name in ("source", "key", "model", "status", "reason")]
    numbers = [("width", pa.int32()), ("height", pa.int32()), ("frame", pa.int64()), ("timestamp", pa.float64())]
    return pa.schema([*texts, *numbers, ("faces", pa.list_(face))])


def _quality(pa: Any) -> Any:
    pose = pa.struct([(name, pa.float32()) for name in ("yaw", "pitch", "roll")])
    measures = [(name, pa.float32()) for name in ("size", "sharpness", "contrast", "brightness", "visible")]
    return pa.struct([*measures, ("pose", pose), ("flaws", pa.list_(pa.string()))])
