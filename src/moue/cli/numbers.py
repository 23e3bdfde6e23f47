"""Numbers as options: ``type=whole(1)`` or ``type=real(0, 1)`` refuses any other before the command begins."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from moue.runtime.validation import check_number

#: What every seed is, that of a training included.
MAX_SEED = 2**63 - 1


def whole(minimum: int, maximum: float = math.inf) -> Callable[[str], int]:
    """The type of an option of whole numbers within limits, both allowed themselves."""
    return partial(_number, int, minimum, maximum, integer=True)


def real(minimum: float, maximum: float = math.inf, *, exclusive: bool = False) -> Callable[[str], float]:
    """The type of an option of numbers within limits; ``exclusive`` says that the lower one is not allowed itself."""
    return partial(_number, float, minimum, maximum, exclusive=exclusive)


def seed() -> Callable[[str], int]:
    """The type of an option that seeds random numbers."""
    return whole(0, MAX_SEED)


def _number(kind: Callable[[str], float], minimum: float, maximum: float, text: str, **limits: bool) -> Any:
    """The number in a text.

    Raises:
        UsageError: where it is none within its limits; the parser names the option.
    """
    value: Any = text
    with suppress(ValueError):
        value = kind(text)
    check_number("", value, minimum, maximum, **limits)
    return value
