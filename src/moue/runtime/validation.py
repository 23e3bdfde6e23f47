"""Checks of options: one that cannot be used is refused by its name, before any work."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Integral, Real

from moue.errors import UnknownName, UsageError


def check(
    name: str, value: object, least: float, most: float = math.inf, *, whole: bool = False, above: bool = False
) -> None:
    """Make sure that an option is a finite number within its limits.

    Args:
        name: the option's, for the error.
        value: its value.
        least: the lower limit, allowed itself unless ``above``.
        most: the upper limit.
        whole: whether it must be an integer.
        above: whether the lower limit is not allowed itself.

    Raises:
        UsageError: where it is not.
    """
    # NaN fails every comparison.
    size = float(value) if isinstance(value, Integral if whole else Real) else math.nan
    if (least < size if above else least <= size) and size <= most and size < math.inf:
        return
    kind = "a whole number" if whole else "a number"
    span = f"above {least}" if above else f"from {least}" if most == math.inf else f"from {least} to {most}"
    raise UsageError(f"{name} must be {kind} {span}. Got {value!r} instead.")


def check_choice(kind: str, value: object, choices: Collection[str]) -> None:
    """Make sure that an option is one of a few words.

    Args:
        kind: what the word should name, for the error.
        value: the option's value.
        choices: the words.

    Raises:
        UnknownName: where it is not.
    """
    if value not in choices:
        raise UnknownName(kind, str(value), choices)
