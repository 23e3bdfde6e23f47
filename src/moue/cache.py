"""The folder for data that can be computed again: parsed data sets, compiled graphs. It can be deleted at any time."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path


def cache_dir(*parts: str) -> Path:
    """The user's cache folder for moue, or a folder inside of it; made where it is missing.

    ``MOUE_CACHE`` names the folder itself. Without it, it is ``moue`` inside the platform's cache folder:
    ``$XDG_CACHE_HOME`` or ``~/.cache``, ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on Windows.

    Raises:
        OSError: when the folder cannot be made; FileNotFoundError where there is no home directory for it to be in.
    """
    try:
        folder = _root().joinpath(*parts)
    except RuntimeError as error:
        # Python's for a user without a home directory, as the numbers that containers run under.
        where = os.environ.get("MOUE_CACHE") or "~"
        raise FileNotFoundError(errno.ENOENT, "no such home directory: set MOUE_CACHE to a folder", where) from error
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _root() -> Path:
    if named := os.environ.get("MOUE_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "moue"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "moue" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moue"
