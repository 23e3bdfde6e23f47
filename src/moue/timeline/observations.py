"""What films showed: the people of each, and when which expression was read of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.errors import DataError, UsageError, quoted, shortened
from moue.runtime.outputs import dataframe, people
from moue.runtime.outputs.tables import INDEX
from moue.runtime.results import Faces
from moue.timeline.rows import iter_rows


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
        UsageError: when it is nothing of that; when it holds no person of a film; when two films have one name, so that
            their people could not be told apart; or when it comes from models of different expressions.
        DataError: when a file or a row cannot be read; names both.
        MissingExtra: for Parquet without pyarrow.
    """
    builder = _Builder()
    for origin, row in iter_rows(x):
        builder.add(row, origin)
    return builder.build()


class _Builder:
    """Collects rows of any kind."""

    def __init__(self) -> None:
        # Each film, with the file that its rows come from.
        self._sources: dict[str, str] = {}
        # Of each film in memory, the last frame that was seen.
        self._frames: dict[str, int] = {}
        self._people: dict[tuple[str, int], int] = {}
        self._labels: tuple[str, ...] | None = None
        self._rows: list[tuple[int, float, float, int, list[float], list[float] | None, float]] = []

    def add(self, part: Any, origin: str) -> None:
        """Add a row.

        Args:
            part: a :class:`moue.Faces` or a dictionary.
            origin: the file that it lies in, "" for none.
        """
        if isinstance(part, Faces):
            part = part.to_dict()
        if not isinstance(part, Mapping) or not isinstance(part.get("source"), str):
            raise UsageError(f"a row of results needs a source. Got {quoted(part)}.")
        self._require_one_film(part, origin)
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
            what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else shortened(error)
            raise DataError(f"a row of {shortened(part['source'])} cannot be used: {what}.") from error

    def _require_one_film(self, row: Mapping[str, Any], origin: str) -> None:
        """Refuse a second film of the same name: a track counts the people of one film."""
        source, frame = row["source"], row.get("frame")
        before = self._sources.setdefault(source, origin)
        # The frames of a result in memory come in their order, those of a table in any.
        again = not origin and isinstance(row.get("faces"), list) and (frame or 0) < self._frames.get(source, 0)
        if before != origin or again:
            where = f" ({before or 'in memory'}; {origin or 'in memory'})" if before != origin else ""
            raise UsageError(
                f"two films are called {shortened(source)}{where}, and their people cannot be told apart. Read both in "
                "one moue predict, by different paths, or get the statistics of one at a time."
            )
        if isinstance(frame, int):
            self._frames[source] = frame

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
                time = _number("timestamp", row["timestamp"])
                self._append(row["source"], face["track"], (time, time), 1, shown, None, face["uncertain"])

    def _add_face(self, row: Mapping[str, Any]) -> None:
        """A row of CSV, Parquet or a data frame."""
        shown = {_label(name): row[name] for name in row if name not in dataframe.COLUMNS}
        time = _number("timestamp", row["timestamp"])
        self._append(row["source"], row["track"], (time, time), 1, shown, None, row["uncertain"])

    def _add_person(self, row: Mapping[str, Any]) -> None:
        """A line of people.csv."""
        names = [name for name in row if name not in (*people.COLUMNS, people.UNCERTAIN_SHARE)]
        # The means of all expressions come first, then their shares.
        means = names[: len(names) // 2]
        shares = [_number(f"{name}_share", row[f"{name}_share"]) for name in means]
        shown = {_label(name): row[name] for name in means}
        span = _number("start", row["start"]), _number("end", row["end"])
        frames = int(_number("frames", row["frames"]))
        self._append(row["source"], row["track"], span, frames, shown, shares, row[people.UNCERTAIN_SHARE])

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
        person = self._people.setdefault((source, int(_number("track", track))), len(self._people))
        values = [_number(name, value) for name, value in shown.items()]
        self._rows.append((person, *span, frames, values, shares, _number("uncertain", uncertain)))


def _number(column: str, value: Any) -> float:
    """A number or truth value as moue writes it, or as spreadsheets do: TRUE, and 0,5 in many countries."""
    # Most are numbers as they are: rows in memory, JSON and Parquet.
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    text = str(value).strip().lower()
    try:
        number = {"true": 1.0, "false": 0.0}.get(text)
        number = float(text.replace(",", ".")) if number is None else number
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{column} must be a number. Got {quoted(value)} instead")
    return number


def _label(column: str) -> str:
    """The expression of a column, which is called ``p(name)`` where another column has its name."""
    return column[2:-1] if column.startswith("p(") and column.endswith(")") else column
