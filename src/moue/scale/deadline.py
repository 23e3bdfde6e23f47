"""Ends a worker process whose decoder hangs, which nothing inside of Python can stop."""

from __future__ import annotations

import faulthandler
import os
from typing import IO


class Deadline:
    """A time limit for each step of a process, entered for as long as there are any.

    Where it passes, the process ends at once, with the exit code 1: a thread of faulthandler's sees to it, which needs
    no lock of Python's. So a decoder that holds that lock is ended, too.

    Args:
        seconds: of a step; 0 for no limit.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._nowhere: IO[bytes] | None = None

    def __enter__(self) -> Deadline:
        if self._seconds:
            # The stack is written there: the input's row says what happened.
            self._nowhere = open(os.devnull, "wb")
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        if self._nowhere is not None:
            self._nowhere.close()

    def restart(self) -> None:
        """A step begins."""
        if self._nowhere is not None:
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._nowhere)

    def stop(self) -> None:
        """No step is under way."""
        if self._nowhere is not None:
            faulthandler.cancel_dump_traceback_later()
