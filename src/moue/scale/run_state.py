"""How far a data set is: which units of its plan are complete, and what they had."""

from __future__ import annotations

from collections.abc import Iterator

from moue.scale.part import Tally, part_name
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
        self._done = set[int]()
        # Inputs of the units that say how many they have; of the others, what those had that are complete.
        self._counted = self._uncounted = self._found = self._found_units = 0
        self._under_way: dict[int, int] = {}
        self._uncounted_units = set[int]()
        self._load()

    @property
    def is_complete(self) -> bool:
        """Whether all units are."""
        return len(self._done) == self._units

    def pending(self) -> Iterator[tuple[int, Unit]]:
        """The units that are not complete, each with the byte at which its line of the plan begins."""
        return ((place, unit) for place, unit in read_plan(self._storage) if unit.number not in self._done)

    def begun(self, unit: int, inputs: int) -> None:
        """Of a unit, so many inputs are read."""
        self._under_way[unit] = inputs

    def complete(self, unit: int, tally: Tally) -> None:
        """A unit is complete, its parts are there."""
        self._storage.write(f"{UNITS}/{unit:07d}.json", tally.to_json())
        self._add(unit, tally)

    @property
    def progress(self) -> tuple[int, int | None]:
        """How many inputs are read, and about how many there are; None where nothing tells."""
        done = self.tally.inputs + sum(self._under_way.values())
        if self._uncounted and not self._found_units:
            return done, None
        unknown = self._uncounted * self._found / self._found_units if self._uncounted else 0
        return done, max(done, self._counted + round(unknown))

    def _load(self) -> None:
        self._units = 0
        for _, unit in read_plan(self._storage):
            self._units += 1
            if unit.inputs is None:
                self._uncounted += 1
                self._uncounted_units.add(unit.number)
            else:
                self._counted += unit.inputs
        parts = self._storage.names()
        for name, content in self._storage.read_all(UNITS):
            number, tally = int(name.partition(".")[0]), Tally.from_json(content)
            if all(part_name(number, part) in parts for part in range(tally.parts)):
                self._add(number, tally)

    def _add(self, unit: int, tally: Tally) -> None:
        self._done.add(unit)
        self._under_way.pop(unit, None)
        self.tally.add(tally)
        if unit in self._uncounted_units:
            self._found += tally.inputs
            self._found_units += 1
