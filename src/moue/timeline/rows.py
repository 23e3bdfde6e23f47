"""The rows of results, from wherever they are: results in memory, data frames, files, folders of results."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from moue.damage import decoding
from moue.errors import DataError, UsageError, quoted, require
from moue.runtime.outputs.tables import INDEX
from moue.runtime.results import Faces

#: Files that hold results, by suffix.
SUFFIXES = (".csv", ".json", ".jsonl", ".parquet")


def iter_rows(x: Any) -> Iterator[tuple[str, Any]]:
    """The rows of results, each with where it comes from.

    Args:
        x: what :func:`moue.timeline.read` takes.

    Yields:
        The file that a row lies in, "" for rows in memory, and the row: a :class:`moue.Faces` or a dictionary, that of
        a film without rows with its ``source`` alone. A file that is given twice is read once.

    Raises:
        UsageError, DataError, MissingExtra: as of that function.
    """
    seen: set[str] = set()
    for origin, rows in _parts(x):
        if origin:
            if (path := os.path.realpath(origin)) in seen:
                continue
            seen.add(path)
        for row in rows:
            yield origin, row


def _parts(x: Any) -> Iterator[tuple[str, Iterable[Any]]]:
    if isinstance(x, (str, os.PathLike)):
        path = Path(x)
        if path.is_dir():
            yield from _folder(path)
        else:
            yield str(path), _file(path)
    elif isinstance(x, (Faces, Mapping)):
        yield "", [x]
    elif hasattr(x, "to_dict") and hasattr(x, "columns"):
        yield "", x.astype(object).where(x.notna(), None).to_dict("records")
    elif isinstance(x, Iterable):
        for item in x:
            yield from _parts(item)
    else:
        raise UsageError(f"statistics need results of films: files, folders or what moue.read gives. Got {quoted(x)}.")


def _folder(folder: Path) -> Iterator[tuple[str, Iterable[Any]]]:
    index = folder / INDEX
    if not index.is_file():
        above = next((parent for parent in folder.absolute().parents if (parent / INDEX).is_file()), None)
        remedy = f"That of {above} has it: name this folder." if above else "Name one that moue predict --out wrote."
        raise UsageError(f"{folder} holds no {INDEX}. {remedy}")
    for row in _file(index):
        if not {"source", "seconds", "answer"} <= row.keys():
            raise DataError(f"{index} is not of moue: name a folder that moue predict --out wrote.")
        # Photos have no seconds.
        if row["answer"] and row["seconds"]:
            answer = _answer(folder, row["answer"])
            yield str(answer), _file(answer)
        else:
            yield "", [{"source": row["source"]}]


def _answer(folder: Path, name: str) -> Path:
    """The file that a line of the index names: bytes that are no valid text stand there as escapes."""
    if (folder / name).exists():
        return folder / name
    return folder / re.sub(r"\\udc([89a-f][0-9a-f])", lambda found: os.fsdecode(bytes.fromhex(found[1])), name)


def _file(path: Path) -> Iterator[Any]:
    readers = {".csv": _csv, ".json": _json, ".jsonl": _json_lines, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    try:
        if reader is None:
            path.stat()
            raise UsageError(f"{path} must be a folder or end in {', '.join(SUFFIXES)}.")
        with decoding(path, lambda why: DataError(f"{path} is damaged: {why}. Write it again with: moue predict")):
            yield from reader(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from error


def _csv(path: Path) -> Iterator[Any]:
    """Rows as moue writes them, or as a spreadsheet saves them: with semicolons or tabs, and empty lines at the end."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        head = file.readline()
        file.seek(0)
        for row in csv.DictReader(file, delimiter=max(",;\t", key=head.count)):
            if None in row:
                raise ValueError(f"a line has more cells than the first one: {quoted(list(row.values()))}")
            if any(row.values()):
                yield {key: value or None for key, value in row.items()}


def _json(path: Path) -> Iterator[Any]:
    values = json.loads(path.read_text(encoding="utf-8-sig"))
    yield from values if isinstance(values, list) else [values]


def _json_lines(path: Path) -> Iterator[Any]:
    # No other character ends a line: names of files may hold those that Unicode has for it.
    with open(path, encoding="utf-8-sig", newline="\n") as file:
        yield from (json.loads(line) for line in file if not line.isspace())


def _parquet(path: Path) -> Iterator[Any]:
    yield from require("pyarrow.parquet", "parquet").read_table(path).to_pylist()
