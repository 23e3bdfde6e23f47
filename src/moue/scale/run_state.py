"""How far a data set is: which units of its plan are complete, and what they had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from moue.damage import DECODING_ERRORS
from moue.scale.part import Tally, part_name, read_tally, unit_of
from moue.scale.plan import Unit, read_plan
from moue.scale.storage import Storage

#: Where the tallies of the complete units are, a file each: object stores cannot append.
UNITS = "_progress/units"


class RunState:
    """The units of a data set.

    A unit is complete when it is noted so and its parts are there: one whose part was lost is scored again.

    Args:
        storage: the data set, with its plan.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.tally = Tally()
        """What the complete units had."""
        self.already_scored = 0
        """Inputs in the parts that earlier runs have made, those of units that are not complete, too."""
        self._done = set[int]()
        # Rows of the units under way, and how many more than inputs they will have.
        self._under_way: dict[int, tuple[int, int | None]] = {}
        # Inputs of the units to do that are an input a row; the others, by what they are.
        self._counted = 0
        self._kinds: dict[int, str] = {}
        # How many of these are done by kind, and their rows.
        self._found, self._found_rows = Counter[str](), Counter[str]()
        self._load()

    @property
    def is_complete(self) -> bool:
        """Whether all units are."""
        return len(self._done) == self._units

    def pending(self) -> Iterator[tuple[int, Unit]]:
        """The units that are not complete, each with the byte at which its line of the plan begins."""
        return ((place, unit) for place, unit in read_plan(self._storage) if unit.number not in self._done)

    def begun(self, unit: int, rows: int, more: int | None) -> None:
        """Of a unit, so many rows are made; in the end it has so many more than inputs, or nothing tells."""
        self._under_way[unit] = rows, more

    def complete(self, unit: int, tally: Tally) -> None:
        """A unit is complete, its parts are there."""
        self._storage.write(f"{UNITS}/{unit:07d}.json", tally.to_json())
        self._add(unit, tally)

    @property
    def progress(self) -> tuple[int, int | None]:
        """How many rows are made, and about how many there will be; None where nothing tells.

        Not inputs: a film is one, and takes as long as a thousand images.
        """
        done = self.tally.rows + sum(rows for rows, _ in self._under_way.values())
        total = float(self.tally.rows + self._counted)
        left, found, rows = Counter(self._kinds.values()), self._found.copy(), self._found_rows.copy()
        for unit, (_, more) in self._under_way.items():
            kind = self._kinds.get(unit)
            if kind is None and more is None:
                return done, None
            if more is not None and kind != "archive":
                total += more + (kind == "film")
            if more is not None and kind == "film":
                left[kind] -= 1
                found[kind] += 1
                rows[kind] += more + 1
        for kind, count in (+left).items():
            if not found[kind]:
                return done, None
            total += count * rows[kind] / found[kind]
        return done, max(done, round(total))

    def _load(self) -> None:
        self._units = 0
        for _, unit in read_plan(self._storage):
            self._units += 1
            if unit.inputs is None:
                self._kinds[unit.number] = "archive"
            elif any(file.kind == "video" for file in unit.files):
                self._kinds[unit.number] = "film"
            else:
                self._counted += unit.inputs
        parts = self._storage.names()
        for name, content in self._storage.read_all(UNITS):
            try:
                number, tally = int(name.partition(".")[0]), Tally.from_json(content)
            except DECODING_ERRORS:
                # Its parts say what it had.
                continue
            if all(part_name(number, part) in parts for part in range(tally.parts)):
                self._add(number, tally)
        self.already_scored = self.tally.inputs
        begun: dict[int, Tally] = {}
        for name in parts:
            of = unit_of(name)
            if of is not None and of not in self._done:
                begun.setdefault(of, Tally()).add(read_tally(self._storage, name) or Tally())
        for of, tally in begun.items():
            self.already_scored += tally.inputs
            self.begun(of, tally.rows, tally.rows - tally.inputs)

    def _add(self, unit: int, tally: Tally) -> None:
        self._done.add(unit)
        self._under_way.pop(unit, None)
        self.tally.add(tally)
        kind = self._kinds.pop(unit, None)
        if kind is None:
            self._counted -= tally.inputs
        else:
            self._found[kind] += 1
            self._found_rows[kind] += tally.rows
