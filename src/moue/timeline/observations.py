"""What films showed, read from wherever it is: results in memory, data frames, files, folders of results."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.errors import DataError, UsageError, quoted, require, shortened
from moue.runtime.outputs import dataframe, people
from moue.runtime.outputs.tables import INDEX
from moue.runtime.results import Faces

#: Files that hold results, by suffix.
SUFFIXES = (".csv", ".json", ".jsonl", ".parquet")


@dataclass(frozen=True, eq=False)
class Observations:
    """A row a face of each frame; or, read from ``people.csv``, a row a person of each film."""

    sources: tuple[str, ...]
    """All films, those without a face among them."""
    people: tuple[tuple[str, int], ...]
    """Source and track of each person, in the order in which they appear."""
    labels: tuple[str, ...]
    """The K expressions."""
    person: NDArray[np.int64]
    """int64 ``(N,)``: who it is, a number of ``people``."""
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    """float64 ``(N,)``: seconds of the film. Both are the time of a frame; of a person, when first and last seen."""
    frames: NDArray[np.int64]
    """int64 ``(N,)``: how many frames it stands for."""
    probabilities: NDArray[np.float64]
    """float64 ``(N, K)``: of each expression; of a person, the means."""
    shares: NDArray[np.float64]
    """float64 ``(N, K)``: 1 for the most probable expression, else 0; of a person, the shares of frames."""
    uncertain: NDArray[np.float64]
    """float64 ``(N,)``: 1 for an uncertain label; of a person, the share of frames."""

    def __len__(self) -> int:
        return len(self.person)

    @property
    def timed(self) -> bool:
        """Whether each row is one frame, with its time."""
        return bool((self.frames == 1).all() and (self.start == self.end).all())

    def rows_of_people(self) -> list[NDArray[np.int64]]:
        """The rows of each person, in their order."""
        order = np.argsort(self.person, kind="stable")
        return np.split(order, np.searchsorted(self.person[order], np.arange(1, len(self.people))))

    def require_timed(self) -> None:
        """Refuse means of whole films where the time of each frame is needed.

        Raises:
            UsageError: when they are.
        """
        if not self.timed:
            raise UsageError(
                f"people.csv has no times of single frames, which events inside of films need. Read the folder that it "
                f"lies in instead: its {INDEX} names the rows of each film."
            )


def read(x: Any) -> Observations:
    """Read results of films.

    Args:
        x: a folder that ``moue predict --out`` wrote; a file with the rows of ``moue predict`` (.csv, .json, .jsonl,
            .parquet), or ``people.csv``; the results that :func:`moue.read` or :meth:`moue.Recognizer.stream` gave; a
            data frame of them; or a list of all these. What has no track, as photos have none, is left out.

    Raises:
        UsageError: when it is nothing of that; when it holds no person of a film; or when it comes from models of
            different expressions.
        DataError: when a file cannot be read; names it.
        MissingExtra: for Parquet without pyarrow.
    """
    builder = _Builder()
    for part in _parts(x):
        builder.add(part)
    return builder.build()


def _parts(x: Any) -> Iterator[Any]:
    """Results and dictionaries of rows."""
    if isinstance(x, (str, os.PathLike)):
        path = Path(x)
        if path.is_dir():
            yield from _folder(path)
        else:
            yield from _file(path)
    elif isinstance(x, (Faces, Mapping)):
        yield x
    elif hasattr(x, "to_dict") and hasattr(x, "columns"):
        yield from x.astype(object).where(x.notna(), None).to_dict("records")
    elif isinstance(x, Iterable):
        for item in x:
            yield from _parts(item)
    else:
        raise UsageError(f"statistics need results of films: files, folders or what moue.read gives. Got {quoted(x)}.")


def _folder(folder: Path) -> Iterator[dict[str, Any]]:
    index = folder / INDEX
    if not index.is_file():
        above = next((parent for parent in folder.absolute().parents if (parent / INDEX).is_file()), None)
        remedy = f"That of {above} has it: name this folder." if above else "Name one that moue predict --out wrote."
        raise UsageError(f"{folder} holds no {INDEX}. {remedy}")
    for row in _file(index):
        # Photos have no seconds.
        if row["answer"] and row["seconds"]:
            yield from _file(_answer(folder, row["answer"]))
        else:
            yield {"source": row["source"]}


def _answer(folder: Path, name: str) -> Path:
    """The file that a line of the index names: bytes that are no valid text stand there as escapes."""
    if (folder / name).exists():
        return folder / name
    return folder / re.sub(r"\\udc([89a-f][0-9a-f])", lambda found: os.fsdecode(bytes.fromhex(found[1])), name)


def _file(path: Path) -> Iterator[dict[str, Any]]:
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            yield from require("pyarrow.parquet", "parquet").read_table(path).to_pylist()
        elif suffix == ".csv":
            with open(path, encoding="utf-8-sig", newline="") as file:
                yield from ({key: value or None for key, value in row.items()} for row in csv.DictReader(file))
        elif suffix in (".json", ".jsonl"):
            text = path.read_text(encoding="utf-8")
            yield from json.loads(text) if suffix == ".json" else map(json.loads, text.splitlines())
        else:
            path.stat()
            raise UsageError(f"{path} must be a folder or end in {', '.join(SUFFIXES)}.")
    except (ValueError, csv.Error) as error:
        if isinstance(error, UsageError):
            raise
        raise DataError(f"{path} is damaged: {shortened(error)}. Write it again with: moue predict") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from error


class _Builder:
    """Collects rows of any kind."""

    def __init__(self) -> None:
        self._sources: dict[str, None] = {}
        self._people: dict[tuple[str, int], int] = {}
        self._labels: tuple[str, ...] | None = None
        self._rows: list[tuple[int, float, float, int, list[float], list[float] | None, float]] = []

    def add(self, part: Any) -> None:
        if isinstance(part, Faces):
            part = part.to_dict()
        if not isinstance(part, Mapping) or not isinstance(part.get("source"), str):
            raise UsageError(f"a row of results needs a source. Got {quoted(part)}.")
        self._sources[part["source"]] = None
        try:
            if "faces" in part and isinstance(part["faces"], list):
                self._add_frame(part)
            elif part.get("track") is not None and people.UNCERTAIN_SHARE in part:
                self._add_person(part)
            elif part.get("track") is not None and part.get("timestamp") is not None:
                self._add_face(part)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            raise DataError(f"a row of {shortened(part['source'])} is incomplete: {shortened(repr(error))}.") from error

    def build(self) -> Observations:
        if self._labels is None:
            raise UsageError("statistics over time need people in films, and these results have none.")
        person, start, end, frames, probabilities, shares, uncertain = zip(*self._rows, strict=True)
        p = np.array(probabilities, np.float64)
        top = np.eye(p.shape[1])[p.argmax(axis=1)]
        for i, given in enumerate(shares):
            if given is not None:
                top[i] = given
        return Observations(
            tuple(self._sources),
            tuple(self._people),
            self._labels,
            np.array(person, np.int64),
            np.array(start, np.float64),
            np.array(end, np.float64),
            np.array(frames, np.int64),
            p,
            top,
            np.array(uncertain, np.float64),
        )

    def _add_frame(self, row: Mapping[str, Any]) -> None:
        """A row of JSON, or a result in memory."""
        for face in row["faces"]:
            if face.get("track") is not None and row.get("timestamp") is not None:
                shown = face["probabilities"]
                time = float(row["timestamp"])
                self._append(row["source"], face["track"], (time, time), 1, shown, None, face["uncertain"])

    def _add_face(self, row: Mapping[str, Any]) -> None:
        """A row of CSV, Parquet or a data frame."""
        shown = {_label(name): row[name] for name in row if name not in dataframe.COLUMNS}
        time = float(row["timestamp"])
        self._append(row["source"], row["track"], (time, time), 1, shown, None, row["uncertain"])

    def _add_person(self, row: Mapping[str, Any]) -> None:
        """A line of people.csv."""
        names = [name for name in row if name not in (*people.COLUMNS, people.UNCERTAIN_SHARE)]
        # The means of all expressions come first, then their shares.
        means = names[: len(names) // 2]
        shares = [float(row[f"{name}_share"]) for name in means]
        shown = {_label(name): row[name] for name in means}
        span = float(row["start"]), float(row["end"])
        self._append(row["source"], row["track"], span, int(row["frames"]), shown, shares, row[people.UNCERTAIN_SHARE])

    def _append(
        self,
        source: str,
        track: Any,
        span: tuple[float, float],
        frames: int,
        shown: Mapping[str, Any],
        shares: list[float] | None,
        uncertain: Any,
    ) -> None:
        if self._labels is None:
            self._labels = tuple(shown)
        elif self._labels != tuple(shown):
            raise UsageError(
                f"all results must be of one model: {shortened(source)} has the expressions "
                f"{shortened(', '.join(shown))}, and those before it {shortened(', '.join(self._labels))}."
            )
        person = self._people.setdefault((source, int(float(track))), len(self._people))
        values = [float(value) for value in shown.values()]
        if not all(math.isfinite(value) for value in (*span, *values)):
            raise ValueError("a number is missing")
        flag = {"True": 1.0, "False": 0.0}.get(uncertain) if isinstance(uncertain, str) else float(uncertain)
        self._rows.append((person, *span, frames, values, shares, float(uncertain) if flag is None else flag))


def _label(column: str) -> str:
    """The expression of a column, which is called ``p(name)`` where another column has its name."""
    return column[2:-1] if column.startswith("p(") and column.endswith(")") else column
