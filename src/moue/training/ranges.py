"""The range that a setting may have, beside its type: ``lr: Annotated[float, Range(0, above=True)]``."""

from __future__ import annotations

import math
import typing
from dataclasses import dataclass
from typing import Any

from moue.errors import UsageError, quoted


@dataclass(frozen=True)
class Range:
    """The numbers from ``low`` to ``high``, both included."""

    low: float
    high: float = math.inf
    above: bool = False
    """Whether ``low`` is excluded, and infinity too."""
    unit: str = ""
    """Of the numbers, with a space before it."""

    def __contains__(self, value: float) -> bool:
        return self.low < value < self.high if self.above else self.low <= value <= self.high

    def __str__(self) -> str:
        high = "2^63 - 1" if self.high == 2**63 - 1 else f"{self.high:,}"
        return (f"above {self.low:,}" if self.above else f"between {self.low:,} and {high}") + self.unit


def ranges_of(config: Any) -> dict[str, Range]:
    """The ranges of a dataclass' fields, by name."""
    hints = typing.get_type_hints(config, include_extras=True)
    found = {
        name: next((e for e in getattr(hint, "__metadata__", ()) if isinstance(e, Range)), None)
        for name, hint in hints.items()
    }
    return {name: range for name, range in found.items() if range is not None}


def check_ranges(config: Any) -> None:
    """Check the values of a section's fields; None is in every range, and of a list each value is looked at.

    Raises:
        UsageError: for the first one outside of its range.
    """
    section = type(config).__name__.removesuffix("Config").lower()
    for name, allowed in ranges_of(type(config)).items():
        value = getattr(config, name)
        if any(v is not None and v not in allowed for v in (value if isinstance(value, tuple) else (value,))):
            shown = list(value) if isinstance(value, tuple) else value
            raise UsageError(f"{section}.{name} must be {allowed}. Got {quoted(shown)} instead.")
