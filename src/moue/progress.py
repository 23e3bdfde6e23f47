"""How library functions say how far they are; who draws it, if anyone, is the caller's affair."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

#: Called as work goes on: (done, total, or None where that is not known).
Report = Callable[[int, int | None], None]

#: Makes a progress line: called with what is done and its unit, gives a context manager whose value is a `Report`.
Line = Callable[[str, str], AbstractContextManager[Report]]


def silent(what: str, unit: str) -> AbstractContextManager[Report]:
    """A :data:`Line` that draws nothing."""
    return nullcontext(lambda done, total: None)
