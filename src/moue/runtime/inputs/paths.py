"""Finds the inputs that a name stands for: files, folders, globs, cameras, lists on stdin."""

from __future__ import annotations

import glob
import io
import itertools
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from moue.errors import UsageError
from moue.runtime.inputs.source import Source
from moue.runtime.network.url import ADDRESS, Url, public_name
from moue.runtime.video.container import is_sound, is_video
from moue.signatures import HEAD, IMAGE_SUFFIXES, JOURNAL, JPEG, PNG, SYSTEM_FILES, VIDEO_SUFFIXES, kind_of


def expand(
    name: str | os.PathLike[str], *, stdin: IO[str] | None = None, exclude: Path | None = None
) -> Iterator[Source]:
    """The inputs that a name stands for, in order, found as they are asked for.

    Args:
        name: a file; a folder, searched with all its folders and those that links lead to, in natural order (``2.jpg``
            before ``10.jpg``), hidden files ignored; a glob with ``*``, ``?``, ``[…]`` or ``**``; a camera's number; an
            address; or ``-`` for a list on stdin, a path a line (see :func:`listed`), where a folder counts as above
            but nothing is a glob, a number, an address or ``-``. A path object is always a file or folder, or ``-``.
        stdin: where ``-`` reads from.
        exclude: a folder that is passed over, with all that a glob finds in it, because results lie there. A file in
            it that is named itself is not.

    Yields:
        At least one source, but for an empty list on stdin and for ``exclude`` itself. In a folder, a file that by name
        and content is neither image nor video, a pipe or device, a link back up and a folder of moue's results are
        "skipped" with the reason, as is an empty folder; a folder without permission and a glob that matches nothing
        are "unreadable". A file that is named itself is always tried.

    Raises:
        UsageError: see :func:`require_list`; when all that a glob matches lies in ``exclude``.
    """
    # As NumPy's text is one, too, but not shown as one.
    text = str(os.fspath(name))
    if not text:
        yield Source(text, "unreadable", "an empty path")
    elif text == "-":
        for line in _lines(stdin or sys.stdin):
            path = listed(line)
            if path is not None:
                yield from _path(path, exclude)
    elif os.path.lexists(text) or not isinstance(name, str):
        yield from _path(text, exclude)
    elif text.isdecimal():
        yield Source(text, "camera")
    elif ADDRESS.match(text):
        try:
            url = Url(text)
            yield Source(url.name, "stream", stem=url.file_stem, content=url)
        except UsageError as error:
            yield Source(public_name(text), "unreadable", str(error))
    elif _is_pattern(text):
        yield from _matching(text, exclude)
    else:
        yield from _path(text, exclude)


def listed(line: str) -> str | None:
    """The path or address on a line of a list, without white space around it; None for an empty line and for a comment,
    which begins with ``#``. A file of exactly that name comes first, as names may hold both."""
    # Text files of editors and of PowerShell begin with an invisible byte order mark.
    name = line.rstrip("\r\n").removeprefix("\ufeff")
    if os.path.lexists(name):
        return name
    name = name.strip()
    return None if not name or name.startswith("#") else name


def is_single_file(name: str | os.PathLike[str]) -> bool:
    """Whether a name stands for one file, there or not, rather than for a folder, a glob or a list on stdin."""
    text = os.fspath(name)
    if text == "-" or os.path.isdir(text):  # noqa: PTH112 - Path.is_dir raises where a parent may not be read
        return False
    return os.path.lexists(text) or not isinstance(name, str) or not _is_pattern(text)


def require_one(names: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse names of which not a single one is there, and malformed addresses.

    Raises:
        UsageError: when every name is a path, and no path exists; for an address of a kind that is not read.
    """
    missing = [os.fspath(name) for name in names]
    for name in missing:
        if ADDRESS.match(name) and not os.path.lexists(name):
            Url(name)
    for name in missing:
        if name == "-" or name.isdecimal() or os.path.lexists(name) or ADDRESS.match(name) or _is_pattern(name):
            return
    if missing:
        raise UsageError(f"{' and '.join(missing)}: no such file or folder.")


def require_list(stdin: IO[str]) -> None:
    """Refuse an image, a video or other binary data where a list of paths belongs; nothing is consumed from stdin.

    Raises:
        UsageError: when that is what stdin holds.
    """
    binary = getattr(stdin, "buffer", None)
    # A text stream without a buffer, as in tests, has no bytes to look at.
    head = binary.peek(HEAD)[:HEAD] if isinstance(binary, io.BufferedReader) else b""
    # A path may begin like a bitmap ("BM"), but no text has a NUL.
    if b"\0" not in head and not head.startswith((JPEG, PNG)):
        return
    if kind_of(head) == "video":
        raise UsageError("- reads a list of paths from stdin. Got a video instead: save it and give its path.")
    raise UsageError(
        "- reads a list of paths from stdin, one per line. Got binary data instead. "
        "If it is an image, type: moue predict /dev/stdin"
    )


def natural(path: str) -> list[tuple[int, int, str]]:
    """A sort key that counts digits as numbers and leaves case out."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.lower()) for part in re.split(r"(\d+)", path)]


def _lines(stdin: IO[str]) -> Iterator[str]:
    require_list(stdin)
    binary = getattr(stdin, "buffer", None)
    # Names of files need not be valid text: decoded as arguments of a program are.
    return map(os.fsdecode, binary) if isinstance(binary, io.BufferedReader) else iter(stdin)


def _path(path: str, exclude: Path | None) -> Iterator[Source]:
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a parent may not be read
        if exclude is None or os.path.realpath(path) != os.path.realpath(exclude):
            yield from _folder(path, exclude)
    elif ADDRESS.match(path) and not os.path.lexists(path):
        # In a list, which may come from anywhere. Only what was itself given as a source may open a connection.
        yield Source(
            public_name(path), "unreadable", "a list holds paths, no addresses: give it as a source of its own"
        )
    else:
        yield Source(path, "video" if is_video(path) else "image")


def _matching(pattern: str, exclude: Path | None) -> Iterator[Source]:
    """The inputs of a glob, in natural order."""
    matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    matches = [m for m in matches if "**" not in pattern or not _through_link(m, pattern)]
    folder = None if exclude is None else Path(os.path.realpath(exclude))
    found = sorted((m for m in matches if folder is None or not _lies_in(m, folder)), key=natural)
    if matches and not found:
        raise UsageError(f"all that {pattern} matches lies in {exclude}: choose another folder for the results.")
    if not found:
        yield Source(pattern, "unreadable", "nothing matches this pattern")
    for path in found:
        yield from _path(path, exclude)


def _lies_in(path: str, folder: Path) -> bool:
    """Whether a path is a folder, or lies in it, which is given as it is without links."""
    inside = Path(os.path.realpath(path))
    return folder == inside or folder in inside.parents


def _is_pattern(text: str) -> bool:
    # An address may have a question mark; the name of a file cannot have a NUL.
    return glob.has_magic(text) and not ADDRESS.match(text) and "\0" not in text


def _through_link(path: str, pattern: str) -> bool:
    """Whether ``**`` went through a link to a folder, which could lead back to where it came from."""
    fixed = len(list(itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts)))
    return any(parent.is_symlink() for parent in Path(path).parents if len(parent.parts) > fixed)


def _folder(path: str, exclude: Path | None, above: frozenset[str] = frozenset()) -> Iterator[Source]:
    """The inputs of a folder inside the folders ``above``, as links lead to it; it is none of them."""
    above |= {os.path.realpath(path)}
    try:
        names = sorted((entry.name for entry in Path(path).iterdir()), key=natural)
    except OSError as error:
        yield Source(path, "unreadable", (error.strerror or str(error)).lower())
        return
    seen = False
    for name in names:
        if name.startswith(".") or name.lower() in SYSTEM_FILES:
            continue
        inside = Path(path) / name
        folder = os.path.realpath(inside) if os.path.isdir(inside) else None  # noqa: PTH112 - as above
        if folder and exclude is not None and folder == os.path.realpath(exclude):
            continue
        seen = True
        if not folder:
            yield _file(inside)
        elif os.path.isfile(inside / JOURNAL):  # noqa: PTH113 - as above
            yield Source(str(inside), "skipped", "results of moue: name this folder itself to read its images")
        elif folder in above:
            yield Source(str(inside), "skipped", "a link back to a folder that it lies in")
        else:
            yield from _folder(str(inside), exclude, above)
    if not seen:
        yield Source(path, "skipped", "an empty folder")


def _file(path: Path) -> Source:
    """A file in a folder."""
    suffix = path.suffix.lower()
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113 - as above
        return Source(str(path), "skipped", "neither a file nor a folder")
    if is_video(path):
        # Sound comes in the same containers as videos; a file named as a video is opened, to say what is wrong with it.
        if suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES or not is_sound(path):
            return Source(str(path), "video")
    elif suffix in VIDEO_SUFFIXES:
        # It is none by its first bytes; opened as what its name says, it is unreadable, with the reason.
        return Source(str(path), "image" if kind_of(_head(path)) == "image" else "video")
    elif suffix in IMAGE_SUFFIXES or kind_of(_head(path)) == "image":
        return Source(str(path), "image")
    return Source(str(path), "skipped", "neither an image nor a video")


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""
