"""Who is in an image: a CSV with a line an image and a column a way to group them, as its user writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.data.csv_rows import read_rows
from moue.errors import DataError, UnknownName, UsageError, quoted, shortened

#: The columns that are no groups.
FILE, ROW, PERSON = "file", "row", "person"

#: A column with more different values than this is no grouping.
MAX_GROUPS = 40


@dataclass(frozen=True)
class Groups:
    """The groups of N images."""

    columns: dict[str, list[str]]
    """By column, the group of each image; "" where it is not given."""
    persons: NDArray[np.int64] | None
    """``(N,)``: a number for each person, -1 where it is not given; None without that column."""
    unused: int
    """Lines of the file whose image is not among the N."""
    without: int
    """Images without a line."""


@dataclass(frozen=True)
class GroupFile:
    """A file of groups, read and checked, whose images are not looked up yet."""

    path: Path
    rows: list[dict[str, Any]]
    key: str
    """:data:`FILE` or :data:`ROW`."""
    columns: tuple[str, ...]
    cross: tuple[str, ...]
    """Columns whose combinations are groups, too; none, or several."""
    has_persons: bool

    def of(self, sources: Sequence[str], root: Path | str = "") -> Groups:
        """The groups of images.

        Args:
            sources: the images, as :class:`moue.data.table.ImageTable` names them.
            root: the folder that they are in: a line may begin with its name, or with its whole path.

        Raises:
            DataError: when no line is of one of these images, a line may be of several, two lines are of one image, or
                a column has too many different values; names file, line and remedy.
        """
        lines = _by_image(self, sources, _parts(str(Path(root).absolute())))
        found = [lines.get(i) for i in range(len(sources))]
        values = {n: [_text(row, n) for row in found] for n in dict.fromkeys([*self.columns, *self.cross])}
        for name in self.columns:
            _require_few(self.path, name, values[name])
        groups = {name: values[name] for name in self.columns}
        if self.cross:
            name = " × ".join(self.cross)
            combined = zip(*(values[n] for n in self.cross), strict=True)
            groups[name] = [" × ".join(parts) if all(parts) else "" for parts in combined]
            _require_few(self.path, name, groups[name])
        persons = _numbers([_text(row, PERSON) for row in found]) if self.has_persons else None
        return Groups(groups, persons, len(self.rows) - len(lines), len(sources) - len(lines))


def read_groups(path: Path | str, *, columns: Iterable[str] = (), cross: Iterable[str] = ()) -> GroupFile:
    """Read groups.

    Args:
        path: a CSV with commas, semicolons or tabs: ``file`` (a path inside of the folder, or so much of its end as no
            other image shares) or ``row`` (the number of a row of a data set, from 1), columns of groups, and
            ``person`` where several images show the same person.
        columns: the columns to use; all where left out.
        cross: columns whose combinations are groups, too.

    Raises:
        DataError: when the file cannot be used; names it and the remedy.
        UnknownName: for a column that it lacks.
        UsageError: for a single column in ``cross``.
    """
    path = Path(path)
    rows = read_rows(path, [], "image")
    names = list(rows[0]) if rows else []
    key = next((name for name in (FILE, ROW) if name in names), None)
    if key is None:
        raise DataError(
            f"{path} needs a column {FILE!r} with the path of each image, or {ROW!r} with the number of its row, and a "
            f"column for each way to group them. Its lines have {shortened(', '.join(names)) or 'nothing'} instead."
        )
    available = [name for name in names if name not in (FILE, ROW, PERSON, "none", "")]
    used, crossed = ([name.strip().lower() for name in wanted] for wanted in (columns, cross))
    for name in (*used, *crossed):
        if name not in available:
            raise UnknownName(f"column of groups in {path}", name, available)
    if len(crossed) == 1:
        raise UsageError(
            f"combinations are of two columns or more, as age_group,light. Got {quoted(crossed[0])} instead."
        )
    used = list(dict.fromkeys(used or available))
    if not used:
        raise DataError(f"{path} has no column of groups beside {', '.join(names)}. Add one, as age_group or light.")
    return GroupFile(path, rows, key, tuple(used), tuple(crossed), PERSON in names)


def _require_few(path: Path, name: str, values: Sequence[str]) -> None:
    different = sorted({value for value in values if value})
    if len(different) > MAX_GROUPS:
        raise DataError(
            f"{path}: the column {quoted(name)} has {len(different):,} different values, as {quoted(different[0])} and "
            f"{quoted(different[1])}; groups are at most {MAX_GROUPS}. Write ranges, as 20-29, or leave it out with "
            "--columns."
        )


def _by_image(file: GroupFile, sources: Sequence[str], root: tuple[str, ...]) -> dict[int, Mapping[str, Any]]:
    """The line of each image that has one."""
    by_row = file.key == ROW
    endings = _endings([f"row {number}" for number in _row_numbers(sources)] if by_row else sources)
    lines: dict[int, Mapping[str, Any]] = {}
    numbers: dict[int, int] = {}
    for number, row in enumerate(file.rows, start=2):
        value, where = _text(row, file.key), f"{file.path}, line {number}"
        if not value or (by_row and not value.isdigit()):
            raise DataError(f"{where}: {file.key} must name an image. Got {quoted(value)} instead.")
        parts = (f"row {int(value)}",) if by_row else _parts(value)
        images = endings.get(parts) or _inside(parts, endings, root)
        if len(images) > 1:
            first, second = (shortened(sources[i]) for i in images[:2])
            raise DataError(f"{where}: {quoted(value)} may be {first} or {second}. Write more of the path.")
        for image in images:
            if image in lines:
                both = f"lines {numbers[image]} and {number}"
                raise DataError(f"{file.path}, {both}: both are of {shortened(sources[image])}. Keep one.")
            lines[image], numbers[image] = row, number
    if not lines:
        example = str(_row_numbers(sources)[0]) if by_row else quoted(sources[0])
        got = quoted(_text(file.rows[0], file.key))
        raise DataError(
            f"{file.path}: no line names an image of the set. Its first is {got}, where the set has {example}."
        )
    return lines


def _inside(parts: tuple[str, ...], endings: Mapping[tuple[str, ...], list[int]], root: tuple[str, ...]) -> list[int]:
    """The image of a path that begins with the last part of its folder's own path, or with more of it."""
    for start in range(1, len(parts)):
        if parts[:start] == root[-start:] and (found := endings.get(parts[start:])):
            return found
    return []


def _endings(sources: Sequence[str]) -> dict[tuple[str, ...], list[int]]:
    """Images by their path and by each end of it; a whole path is that image alone."""
    endings: dict[tuple[str, ...], list[int]] = {}
    for i, source in enumerate(sources):
        parts = _parts(source)
        for start in range(1, len(parts)):
            endings.setdefault(parts[start:], []).append(i)
    endings.update({_parts(source): [i] for i, source in enumerate(sources)})
    return endings


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/")).parts or ("",)


def _row_numbers(sources: Sequence[str]) -> list[int]:
    """The number at the end of each row's name, as in "row 17"; where there is none, its position from 1."""
    found = [re.search(r" (\d+)$", source) for source in sources]
    return [int(number[1]) if number else i for i, number in enumerate(found, start=1)]


def _numbers(names: Sequence[str]) -> NDArray[np.int64]:
    known: dict[str, int] = {}
    return np.array([known.setdefault(name, len(known)) if name else -1 for name in names], np.int64)


def _text(row: Mapping[str, Any] | None, name: str) -> str:
    return "" if row is None else str(row.get(name) or "").strip()
