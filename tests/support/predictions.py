"""What ``moue predict`` wrote, and the type of a call of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from moue.signatures import JOURNAL

Predict = Callable[..., int]


def listed(folder: Path) -> list[str]:
    """The files of a folder of results, but for the one that no person reads."""
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in files if name != JOURNAL)
