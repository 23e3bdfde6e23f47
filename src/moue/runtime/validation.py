"""Checks of options: one that cannot be used is refused by its name, before any work."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Integral, Real

from moue.errors import UnknownName, UsageError, quoted


def check_number(
    name: str,
    value: object,
    minimum: float,
    maximum: float = math.inf,
    *,
    integer: bool = False,
    exclusive: bool = False,
) -> None:
    """Make sure that an option is a finite number within its limits.

    Args:
        name: the option's, for the error.
        value: its value.
        minimum: the lower limit, allowed itself unless ``exclusive``.
        maximum: the upper limit, allowed itself.
        integer: whether it must be an integer.
        exclusive: whether the lower limit itself is not allowed.

    Raises:
        UsageError: where it is not.
    """
    # NaN, which stands for what is no number, fails every comparison.
    number = float(value) if isinstance(value, Integral if integer else Real) else math.nan
    if (minimum < number if exclusive else minimum <= number) and number <= maximum and number < math.inf:
        return
    kind = "a whole number" if integer else "a number"
    limits = f"above {minimum}" if exclusive else f"from {minimum}"
    if maximum < math.inf:
        limits += f" to {maximum}"
    raise UsageError(f"{name} must be {kind} {limits}. Got {quoted(value)} instead.")


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
