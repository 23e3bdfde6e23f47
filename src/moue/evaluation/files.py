"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from moue.errors import UsageError


def need_folder(path: Path) -> None:
    """Say before any work that there is a file where a folder is to be written.

    Raises:
        UsageError: when there is one.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file, and --out is a folder. Give another name.")


def replace_files(contents: Mapping[Path, bytes]) -> list[Path]:
    """Write several files beside their places, then move all into them: a failure to write leaves older ones whole.

    Args:
        contents: by path; folders are made where they are missing.

    Returns:
        The paths, in the order given.

    Raises:
        OSError: when a file cannot be written; nothing was replaced then.
    """
    fresh: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Hidden, and beside its place: a rename is atomic on one file system alone.
            fresh[path] = path.with_name(f".{path.name}.{os.getpid()}.part")
            fresh[path].write_bytes(content)
        for path, part in fresh.items():
            part.replace(path)
    finally:
        for part in fresh.values():
            part.unlink(missing_ok=True)
    return list(contents)
