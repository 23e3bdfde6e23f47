"""Checks before a file is written, and writing that leaves a complete file or none."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from moue.errors import UsageError


def require_directory(path: Path) -> None:
    """Check, before any work, that an output folder can be made.

    Raises:
        UsageError: when there is a file of that name.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file, and --out is a folder. Give another name.")


def require_run_directory(path: Path) -> None:
    """Check, before any work, that a folder can be that of a run, or of several: weights are written there.

    Raises:
        UsageError: as :func:`require_directory`, and when its name is no valid text.
    """
    require_directory(path)
    require_text(path, "Give another --out.")


def require_text(path: Path, remedy: str) -> None:
    """Check that a name is valid text: safetensors and TensorBoard open no other.

    Args:
        path: of a file of weights, or a folder.
        remedy: a sentence for the error.

    Raises:
        UsageError: when it is not.
    """
    if valid_text(path) != str(path):
        raise UsageError(f"the name {valid_text(path)} is no valid text, which files of weights need. {remedy}")


def require_writable(path: Path) -> None:
    """Check, before any work, that a file can be written; its folder may be missing.

    Raises:
        UsageError: when there is a folder of that name, or its parent is a file or a folder without write permission.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder, and a file is to be written. Name a file in it.")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise UsageError(f"{path} cannot be written, as {parent} is a file. Give another name.")
    if not os.access(parent, os.W_OK):
        raise UsageError(f"{path} cannot be written: no write permission for {parent}. Give another folder.")


def require_no_overwrite(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Check, before any work, that no output replaces an input, lies in an input folder, or is written twice.

    Args:
        outputs: the files to be written.
        inputs: what is read: files, or whole folders.

    Raises:
        UsageError: when one does.
    """
    used = {_identity(path): path for path in inputs}
    for output in outputs:
        resolved = Path(os.path.realpath(output))
        if _identity(resolved) in used:
            raise UsageError(f"{output} is read or written by this command already. Give another name.")
        for parent in resolved.parents:
            if (folder := used.get(_identity(parent))) is not None:
                raise UsageError(f"{output} lies in {folder}, all of which this command reads. Give another folder.")
        used[_identity(resolved)] = output


def _identity(path: Path) -> object:
    """Equal for all names of one file: links, and upper and lower case, give it several."""
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def valid_text(name: object) -> str:
    """The name of a file, which need not be text, as text that every format can hold: other bytes are escapes."""
    return str(name).encode("utf-8", "backslashreplace").decode()


@contextlib.contextmanager
def naming_errors(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Put a file's name into each :class:`OSError` that has none.

    Args:
        path: the file that the user asked for.
        temporary: a file whose name the errors may have instead, and that the user does not know.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, temporary and str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file in one step: ``with atomic_write(path) as part: part.write_bytes(content)``.

    What is written to ``part`` becomes ``path`` when the block ends. When the block fails, the older file stays, and
    nothing of the new one is left.

    Args:
        path: the file to write or to replace, in a folder that exists.

    Yields:
        The temporary file to write: in the same folder, as a rename is atomic within one file system alone.

    Raises:
        OSError: when it cannot be written; names ``path``.
    """
    # Hidden; unique, as two processes may write the same file; and short, as the name of `path` may be as long as names
    # can be. No mkstemp, whose files only their owner can read.
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with naming_errors(path, part):
            yield part
            part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def append(path: Path, data: bytes) -> int:
    """Append to a file, which is made where it is missing: all of the data, or nothing.

    Returns:
        Where the data begin, in bytes.

    Raises:
        OSError: when it cannot be written (disk full); names ``path``.
    """
    with naming_errors(path), open(path, "ab", buffering=0) as file:
        length = file.tell()
        try:
            while data:
                data = data[file.write(data) :]
        except BaseException:
            with contextlib.suppress(OSError):
                file.truncate(length)
            raise
    return length


def atomic_write_many(contents: Mapping[Path, bytes]) -> list[Path]:
    """Write several files, then rename all of them: when one cannot be written, the older ones stay.

    Args:
        contents: by path; missing folders are made.

    Returns:
        The paths, in the order given.

    Raises:
        OSError: when a file cannot be written; nothing was replaced then.
    """
    with contextlib.ExitStack() as stack:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(atomic_write(path)).write_bytes(content)
    return list(contents)
