"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from moue.errors import UsageError


def require_directory(path: Path) -> None:
    """Say before any work that there is a file where a folder is to be written.

    Raises:
        UsageError: when there is one.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file, and --out is a folder. Give another name.")


def require_writable(path: Path) -> None:
    """Say before any work that a file cannot be written there; folders that are missing can be made.

    Raises:
        UsageError: when there is a folder of that name, or what it would lie in is a file or may not be written to.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder, and a file is to be written. Name a file in it.")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UsageError(f"{path} cannot be written, as {above} is a file. Give another name.")
    if not os.access(above, os.W_OK):
        raise UsageError(f"{path} cannot be written, as {above} takes no files from you. Give another folder.")


def require_no_overwrite(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Say before any work that a file to be written would replace or join those that are read, or be written twice.

    Args:
        outputs: the files to be written.
        inputs: what is read: files, or folders all of whose content is.

    Raises:
        UsageError: when it would.
    """
    taken = {_identity(path): path for path in inputs}
    for output in outputs:
        place = Path(os.path.realpath(output))
        if _identity(place) in taken:
            raise UsageError(f"{output} is read or written by this command already. Give another name.")
        for above in place.parents:
            if (folder := taken.get(_identity(above))) is not None:
                raise UsageError(f"{output} lies in {folder}, all of which this command reads. Give another folder.")
        taken[_identity(place)] = output


def _identity(path: Path) -> object:
    """Equal for all names of a file, as links or upper and lower case give it several."""
    try:
        found = path.stat()
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file in one step: ``with atomic_write(path) as part: part.write_bytes(content)``.

    What is written to ``part`` becomes ``path`` when the block ends; when it fails, what was there before stays, and
    nothing of the new file is left.

    Args:
        path: the file to write or to replace, in a folder that exists.
    """
    part = _beside(path)
    try:
        yield part
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def atomic_write_many(contents: Mapping[Path, bytes]) -> list[Path]:
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
            fresh[path] = _beside(path)
            fresh[path].write_bytes(content)
        for path, part in fresh.items():
            part.replace(path)
    finally:
        for part in fresh.values():
            part.unlink(missing_ok=True)
    return list(contents)


def _beside(path: Path) -> Path:
    """A name for what will become ``path``.

    Hidden, and beside its place, as a rename is atomic on one file system alone; of its own, as two processes may write
    the same file; and short, as the name of ``path`` may be as long as names can be. No mkstemp, whose files the owner
    alone can read.
    """
    return path.with_name(f".{secrets.token_hex(8)}.part")
