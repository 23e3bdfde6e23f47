"""Times as people write them: ``2:03`` and ``1:02:03``."""

from __future__ import annotations

import argparse
import math

from moue.errors import quoted


def clock(seconds: float) -> str:
    """Seconds as ``1:02:03`` or ``2:03``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def seconds(text: str) -> float:
    """``90``, ``1:30``, ``0:01:30`` or ``1:30.5`` as seconds; the type of an option.

    Raises:
        argparse.ArgumentTypeError: for anything else.
    """
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    whole = all(part.is_integer() for part in parts[:-1])
    below = all(part < 60 for part in parts[1:])
    if not 1 <= len(parts) <= 3 or not all(0 <= part < math.inf for part in parts) or not (whole and below):
        raise argparse.ArgumentTypeError(
            f"a time is written as seconds, m:ss or h:mm:ss, such as 90, 1:30 or 0:01:30. Got {quoted(text)} instead."
        )
    return sum(part * unit for part, unit in zip(reversed(parts), (1, 60, 3600), strict=False))
