"""Checks of options: one that cannot be used is refused by its name, before any work."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from moue.errors import UnknownName, UsageError, quoted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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


def to_array(name: str, value: object, dtype: type[np.generic]) -> NDArray[Any]:
    """Numbers as an array of a type; one that is so already comes back as it is.

    Args:
        name: what they are, for the error.
        value: an array, or lists.
        dtype: the array's.

    Raises:
        UsageError: where they are no numbers, or rows differ in length.
    """
    # Here, so that the options of commands are checked without NumPy.
    import numpy as np

    try:
        return np.asarray(value, dtype)
    except (TypeError, ValueError):
        raise UsageError(f"{name} must be an array of numbers. Got {quoted(value)} instead.") from None


def parse_time(text: str) -> float | None:
    """``90``, ``1:30``, ``0:01:30`` or ``1:30.5`` as seconds; None for anything else."""
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        return None
    whole = all(part.is_integer() for part in parts[:-1])
    below = all(part < 60 for part in parts[1:])
    if len(parts) > 3 or not all(0 <= part < math.inf for part in parts) or not (whole and below):
        return None
    return sum(part * unit for part, unit in zip(reversed(parts), (1, 60, 3600), strict=False))
