"""Times as people write them: ``2:03`` and ``1:02:03``."""

from __future__ import annotations

import argparse

from moue.errors import quoted
from moue.runtime.validation import check_number, parse_time


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
    if (time := parse_time(text)) is None:
        raise argparse.ArgumentTypeError(
            f"a time is written as seconds, m:ss or h:mm:ss, such as 90, 1:30 or 0:01:30. Got {quoted(text)} instead."
        )
    return time


def end(text: str) -> float:
    """A time as :func:`seconds` reads it, after the beginning; the type of an option.

    Raises:
        argparse.ArgumentTypeError, UsageError: for anything else.
    """
    time = seconds(text)
    check_number("", time, 0, exclusive=True)
    return time
