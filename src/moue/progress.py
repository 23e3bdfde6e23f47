"""Progress reporting of library functions: types for the callbacks, which whoever calls the function draws."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

#: Called as work goes on: (done, total, or None where that is unknown).
Report = Callable[[int, int | None], None]

#: Called at the start of each step of the work with its name and its unit; gives a context manager around a `Report`.
ProgressFactory = Callable[[str, str], AbstractContextManager[Report]]


def no_progress(step: str, unit: str) -> AbstractContextManager[Report]:
    """A :data:`ProgressFactory` that draws nothing."""
    return nullcontext(lambda done, total: None)
