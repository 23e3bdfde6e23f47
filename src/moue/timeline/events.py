"""What happened in films, and when: a CSV with a line an event."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from moue.data.csv_rows import read_rows
from moue.errors import DataError, UnknownName, UsageError, quoted, shortened
from moue.runtime.validation import parse_time

COLUMNS = ("source", "start", "end", "condition")
#: The missing values of data frames, as text.
MISSING = ("nan", "NaT", "<NA>")


@dataclass(frozen=True)
class Event:
    """A part of a film in which a condition holds.

    Raises:
        UsageError: when it ends before it starts.
    """

    source: str
    """The film: its path as in the results, or so much of its end as no other film shares ("anna.mp4")."""
    start: float = -math.inf
    end: float = math.inf
    """Seconds of the film: frames from ``start`` on and before ``end``. The whole film where left out."""
    condition: str = ""
    """The condition's name."""

    def __post_init__(self) -> None:
        if not self.start <= self.end:
            raise UsageError(f"an event must end after its start. Got {self.start:g} to {self.end:g} s instead.")


def read_events(x: str | os.PathLike[str] | Iterable[Any]) -> list[Event]:
    """Read events.

    Args:
        x: a CSV file with the columns ``source, start, end, condition``, separated by commas, semicolons or tabs, where
            an empty start or end is that of the film and further columns do not matter; times are seconds (90 or 90.5),
            m:ss or h:mm:ss; a data frame or rows with these names; or events.

    Raises:
        DataError: when a file or a row cannot be used; names both.
        UsageError: when ``x`` is nothing of that.
    """
    if isinstance(x, (str, os.PathLike)):
        path = Path(x)
        return [
            _event(row, f"{path}, line {line}") for line, row in enumerate(read_rows(path, COLUMNS, "event"), start=2)
        ]
    rows: Iterable[Any] = x.to_dict("records") if hasattr(x, "to_dict") and hasattr(x, "columns") else x
    if not isinstance(rows, Iterable):
        raise UsageError(f"events must be a CSV file, a data frame or a list. Got {quoted(x)} instead.")
    return [row if isinstance(row, Event) else _event(row, f"event {i}") for i, row in enumerate(rows, start=1)]


def in_films(events: Iterable[Event], sources: Sequence[str]) -> list[Event]:
    """The events with the films' own names.

    Args:
        events: as :func:`read_events` gives them.
        sources: the films of the results.

    Raises:
        UnknownName: when an event's film is not among them.
        UsageError: when several films could be meant; or when there is no event.
    """
    endings: dict[tuple[str, ...], set[str]] = {}
    for source in sources:
        parts = _parts(source)
        for i in range(len(parts)):
            endings.setdefault(parts[i:], set()).add(source)
    found = []
    for event in events:
        matching = {event.source} if event.source in sources else endings.get(_parts(event.source), set())
        if not matching:
            raise UnknownName("film in the results", event.source, {*sources, *(_parts(name)[-1] for name in sources)})
        if len(matching) > 1:
            shown = " or ".join(shortened(name) for name in sorted(matching)[:2])
            raise UsageError(f"{quoted(event.source)} may be {shown}. Write more of the path.")
        found.append(Event(next(iter(matching)), event.start, event.end, event.condition))
    if not found:
        raise UsageError("there is no event. A file of events needs a line for each: source, start, end, condition.")
    return found


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/")).parts or ("",)


def _event(row: Any, where: str) -> Event:
    if not isinstance(row, Mapping) or not all(name in row for name in ("source", "condition")):
        raise DataError(f"{where}: an event needs {', '.join(COLUMNS)}. Got {quoted(row)} instead.")
    source, condition = ("" if _is_empty(row[name]) else str(row[name]).strip() for name in ("source", "condition"))
    if not source or not condition:
        raise DataError(f"{where}: an event needs a source and a condition. Got {quoted(dict(row))} instead.")
    start = _seconds(row.get("start"), -math.inf, f"{where}: start")
    end = _seconds(row.get("end"), math.inf, f"{where}: end")
    try:
        return Event(source, start, end, condition)
    except UsageError as error:
        raise DataError(f"{where}: {error}") from None


def _is_empty(value: Any) -> bool:
    """Whether a cell holds nothing. Data frames have NaN, NaT and NA for that, which are no text."""
    return value is None or not str(value).strip() or (not isinstance(value, str) and str(value) in MISSING)


def _seconds(value: Any, missing: float, what: str) -> float:
    if _is_empty(value):
        return missing
    # Spreadsheets of many countries write a decimal comma.
    text = str(value).strip().replace(",", ".")
    seconds = parse_time(text)
    if seconds is not None:
        return seconds
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{what} must be a time such as 12.5, 1:30 or 0:01:30. Got {quoted(value)} instead.") from None
