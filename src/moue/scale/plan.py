"""The units of work of a run: written down once, before the first is read, so that a restart has the same ones."""

from __future__ import annotations

import itertools
import json
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from moue.errors import MoueError, shortened
from moue.scale.discover import Entry
from moue.scale.filesystem import is_address, shown
from moue.scale.parquet_shard import ParquetColumns, row_groups
from moue.scale.storage import ANOTHER, Storage
from moue.scale.tar_shard import NO_INPUTS, cut_tar

#: The plan's file, a line a unit.
PLAN = "_progress/plan.jsonl"

#: Inputs of the first units of a run; each further eight have twice as many, up to the inputs of a part. So a small
#: run keeps all workers busy, and a large one writes few files.
FIRST_UNIT, UNITS_OF_A_SIZE = 16, 8


@dataclass(frozen=True)
class Unit:
    """A piece of work for one worker."""

    number: int
    """From 0, in the order of the sources."""
    kind: Literal["files", "tar", "parquet"]
    """Single files, or a piece of a shard."""
    inputs: int | None
    """How many inputs it has; None where only reading it tells."""
    files: tuple[Entry, ...] = ()
    """The files; none of a shard."""
    path: str = ""
    """The shard's path or address."""
    start: int = 0
    """Where the piece of a shard begins: a byte of a tar file, a row of a Parquet file."""
    stop: int | None = None
    """Where it ends, exclusive; None: with the shard."""
    folder: str = ""
    """The folder that relative paths begin in: a run may go on from another one."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The files that it is in."""
        return self.files if self.kind == "files" else (Entry(self.path, self.kind),)

    @classmethod
    def from_json(cls, line: bytes | str) -> Unit:
        """A line of the plan."""
        values = json.loads(line)
        return cls(**{**values, "files": tuple(Entry(**file) for file in values["files"])})

    def to_json(self) -> str:
        """The line of the plan."""
        return json.dumps(asdict(self))


class Planner:
    """Cuts the files of the sources into units.

    Args:
        part_inputs: inputs of a unit at most, but of a shard, or a row group of another machine's Parquet file, that
            cannot be cut.
        columns: of Parquet files.
    """

    def __init__(self, part_inputs: int, columns: ParquetColumns) -> None:
        self._part_inputs, self._columns = part_inputs, columns
        self._number, self._folder = 0, os.getcwd()  # noqa: PTH109 - a string is written

    def units(self, entries: Iterable[Entry]) -> Iterator[Unit]:
        """The units, in the order of the entries.

        Raises:
            UsageError: when the columns of a Parquet file cannot be told.
        """
        waiting: list[Entry] = []
        for entry in entries:
            if entry.kind in ("tar", "parquet"):
                yield from self._files(waiting)
                yield from self._shard(entry)
            elif entry.kind == "video":
                yield from self._files(waiting)
                # A film is work for minutes.
                yield from self._files([entry])
            else:
                waiting.append(entry)
                if len(waiting) >= self._size():
                    yield from self._files(waiting)
        yield from self._files(waiting)

    def _size(self) -> int:
        doublings = min(self._number // UNITS_OF_A_SIZE, 40)
        return int(min(self._part_inputs, FIRST_UNIT << doublings))

    def _files(self, entries: list[Entry]) -> Iterator[Unit]:
        if entries:
            yield self._unit(kind="files", inputs=len(entries), files=tuple(entries))
            entries.clear()

    def _shard(self, entry: Entry) -> Iterator[Unit]:
        try:
            if entry.kind == "parquet":
                yield from self._parquet(entry.name)
            else:
                for start, stop, inputs in cut_tar(entry.name, self._size):
                    if inputs == 0:
                        yield from self._files([Entry(entry.name, "skipped", NO_INPUTS)])
                    else:
                        yield self._unit(kind="tar", inputs=inputs, path=entry.name, start=start, stop=stop)
        except OSError as error:
            reason = shortened(error.strerror or str(error), 200)
            yield from self._files([Entry(entry.name, "unreadable", reason)])

    def _parquet(self, name: str) -> Iterator[Unit]:
        groups = row_groups(name, self._columns)
        if isinstance(groups, Entry):
            yield from self._files([groups])
            return
        ends = list(itertools.accumulate(groups))
        start = 0
        while start < ends[-1]:
            stop = min(ends[-1], start + self._size())
            if is_address(name):
                # A row is reached through those before it in its group, which another machine would send for each unit.
                whole = bisect_right(ends, stop) - 1
                stop = ends[max(whole, bisect_right(ends, start))]
            yield self._unit(kind="parquet", inputs=stop - start, path=name, start=start, stop=stop)
            start = stop

    def _unit(self, **values: Any) -> Unit:
        self._number += 1
        return Unit(self._number - 1, folder=self._folder, **values)


def write_plan(storage: Storage, units: Iterable[Unit]) -> None:
    """Write the plan, as a whole or not at all."""
    with storage.writing(PLAN) as part, open(part, "w", encoding="utf-8") as file:
        for unit in units:
            file.write(unit.to_json() + "\n")


def read_plan(storage: Storage) -> Iterator[tuple[int, Unit]]:
    """The units of the plan, each with the byte at which its line begins.

    Raises:
        MoueError: when it is damaged.
    """
    offset = 0
    with storage.open(PLAN) as file:
        for line in file:
            with storage.decoding(PLAN, ANOTHER):
                unit = Unit.from_json(line)
            yield offset, unit
            offset += len(line)
    if not offset:
        # One of no inputs is never written.
        raise MoueError(f"{shown(storage.place)}/{PLAN} is empty. {ANOTHER}.")


def read_unit(storage: Storage, offset: int) -> Unit:
    """The unit whose line begins at a byte of the plan."""
    with storage.open(PLAN) as file:
        file.seek(offset)
        return Unit.from_json(file.readline())
