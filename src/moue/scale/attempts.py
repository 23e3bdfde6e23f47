"""Which input a worker was at when it died: one that no worker survives is given up, and the others are read."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

from moue.damage import DECODING_ERRORS
from moue.errors import MoueError
from moue.scale.storage import Storage

#: Deaths of workers at the same input after which it is given up.
MAX_DEATHS = 2
#: Inputs of a unit that may be given up. More say that the fault is not in the inputs.
MAX_GIVEN_UP = 8
#: The place before a unit's first input, where a shard is opened.
OPENING = -1


class Attempts:
    """The attempts at one unit, in a file that is there while one is made or failed.

    The first one notes only that it began: a file an input would cost more than reading a small image. After that has
    failed, the place is noted before each input.

    Args:
        storage: where.
        unit: its number.
        run: names the run. What an earlier run left says nothing, as the whole program may have been stopped.
        timeout: seconds after which a process ends itself at an input; 0 for never.
    """

    def __init__(self, storage: Storage, unit: int, run: str, timeout: float = 0.0) -> None:
        self._storage, self._name = storage, f"_progress/attempts/{unit:07d}.json"
        self._run, self._timeout = run, timeout
        self.place = OPENING
        """The number of the input that is read."""
        self._deaths: dict[int, int] = {}
        self._reasons: dict[int, str] = {}
        self._count = 0

    def begin(self) -> None:
        """Begin an attempt, and count what became of the one before.

        Raises:
            MoueError: when so much was given up that the fault is in the program or the machine.
        """
        left: dict[str, Any] = {}
        # What a failing disk has made of it says nothing.
        with suppress(*DECODING_ERRORS):
            left = json.loads(self._storage.read(self._name) or b"{}")
        if left.get("run") == self._run:
            self._count = left["count"]
            self._deaths = {int(at): deaths for at, deaths in left["deaths"].items()}
            self._reasons = {int(at): reason for at, reason in left["reasons"].items()}
            # Of the first attempt nobody knows where it was.
            if self._count > 1:
                self._deaths[left["at"]] = self._deaths.get(left["at"], 0) + 1
                if self._timeout and time.time() - left["time"] >= self._timeout:
                    # A process that ends itself cannot say so: its lock of Python's may be held.
                    reason = f"no result within {self._timeout:g} s, or the worker process died"
                    self._reasons.setdefault(left["at"], reason)
        given_up = [at for at, deaths in self._deaths.items() if deaths >= MAX_DEATHS]
        if len(given_up) > MAX_GIVEN_UP or self._deaths.get(OPENING, 0) > MAX_DEATHS:
            self.end()
            why = self.given_up(given_up[-1])
            raise MoueError(f"{len(given_up)} inputs together failed, which looks like no fault of theirs: {why}.")
        self._count += 1
        self.place = OPENING
        self._write()

    def at(self, index: int) -> None:
        """The input of this number of the unit is read next."""
        self.place = index
        if self._count > 1:
            self._write()

    def failed(self, reason: str) -> None:
        """The attempt ended with an exception at the present input; it counts as a death that nobody need guess at."""
        self._reasons[self.place] = reason
        self._count = max(self._count, 2)
        self._write()

    def given_up(self, index: int) -> str | None:
        """Why an input is not tried again; None where it is."""
        deaths = self._deaths.get(index, 0)
        if deaths < MAX_DEATHS:
            return None
        reason = self._reasons.get(index, "the worker process died")
        return f"given up after {deaths} attempts: {reason}"

    def end(self) -> None:
        """The unit is complete."""
        self._storage.remove(self._name)

    def _write(self) -> None:
        values = {"run": self._run, "count": self._count, "at": self.place, "time": time.time()}
        values |= {"deaths": self._deaths, "reasons": self._reasons}
        self._storage.write(self._name, json.dumps(values).encode())
