"""What a user names, one input at a time: files, folders, globs, videos, cameras, lists on stdin."""

from __future__ import annotations

import glob
import io
import itertools
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from moue.errors import UsageError
from moue.image import LITTER
from moue.runtime.video.container import SUFFIXES, is_sound, is_video, known_video

Kind = Literal["image", "video", "camera", "skipped", "unreadable"]

#: A file in a folder with another suffix is opened to see what it is.
IMAGES = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff", "ppm", "pgm", "pbm"),
        *("pnm", "jp2", "j2k", "avif", "heic", "heif", "hif", "ico", "tga", "pcx", "mpo"),
    )
)
#: First bytes of the common images.
MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P5", b"P6")
#: So many bytes of stdin are looked at to tell a list from anything else.
HEAD = 512

#: What looks like the address of something on the web or another machine.
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """One input."""

    path: str
    """The path, or a camera's number."""
    kind: Kind
    """What to open it as."""
    reason: str | None = None
    """Why it is skipped or unreadable."""


def expand(
    names: Iterable[str | os.PathLike[str]], *, stdin: IO[str] | None = None, without: Path | None = None
) -> Iterator[Source]:
    """The inputs that some names stand for, in order, found as they are asked for.

    Args:
        names: a file; a folder, searched with all its folders and those that links lead to, in natural order
            (``2.jpg`` before ``10.jpg``), hidden files passed over; a glob with ``*``, ``?``, ``[…]`` or ``**``; a
            camera's number; or ``-`` for a list on stdin, a path a line, where a folder counts as above but nothing is
            a glob, a number or ``-``.
        stdin: where ``-`` reads from.
        without: a folder that is passed over where another one is searched, as answers lie there.

    Yields:
        At least one source a name. In a folder, a file that is neither image nor video, a pipe or device, and a link
        back up are "skipped" with the reason, as is an empty folder; a folder without permission and a glob that
        matches nothing are "unreadable". A file that is named itself is always tried.

    Raises:
        UsageError: see :func:`require_list`.
    """
    for name in names:
        text = os.fspath(name)
        if text == "-":
            for line in _lines(stdin or sys.stdin):
                # Editors and PowerShell begin a file of text with a mark that nobody sees.
                path = line.rstrip("\r\n").removeprefix("\ufeff")
                if path.strip():
                    yield from _path(path, without)
        elif os.path.lexists(text) or not isinstance(name, str):
            yield from _path(text, without)
        elif text.isdecimal():
            yield Source(text, "camera")
        elif _is_pattern(text):
            matches = glob.glob(text, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
            found = sorted((m for m in matches if "**" not in text or not _through_link(m, text)), key=natural)
            if not found:
                yield Source(text, "unreadable", "nothing matches this pattern")
            for path in found:
                yield from _path(path, without)
        else:
            yield from _path(text, without)


def require_one(names: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse names of which not one is there.

    Raises:
        UsageError: when every name is a path, and no path exists.
    """
    missing = [os.fspath(name) for name in names]
    for name in missing:
        if name == "-" or name.isdecimal() or os.path.lexists(name) or _is_pattern(name):
            return
    for name in missing:
        if ADDRESS.match(name):
            raise UsageError(f"moue reads local files, not addresses. Download it first: curl -LO {shlex.quote(name)}")
    if missing:
        raise UsageError(f"{' and '.join(missing)}: no such file or folder.")


def require_list(stdin: IO[str]) -> None:
    """Refuse an image, a video or other binary data where a list of paths belongs; nothing is taken from stdin by it.

    Raises:
        UsageError: when that is what stdin holds.
    """
    binary = getattr(stdin, "buffer", None)
    # Text that was made up, as in tests, has no bytes to look at.
    head = binary.peek(HEAD)[:HEAD] if isinstance(binary, io.BufferedReader) else b""
    # A path may begin with "BM" as well as a bitmap does, but no text has a NUL.
    if b"\0" not in head and not head.startswith(MAGIC[:2]):
        return
    if known_video(head):
        raise UsageError("- reads a list of paths from stdin, and a video came: save it as a file, and name that.")
    raise UsageError(
        "- reads a list of paths from stdin, one a line, and binary data came. "
        "If it is an image, name it /dev/stdin: moue predict /dev/stdin"
    )


def natural(path: str) -> list[tuple[int, int, str]]:
    """A sort key that counts digits as numbers and leaves case out."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.lower()) for part in re.split(r"(\d+)", path)]


def _lines(stdin: IO[str]) -> Iterator[str]:
    require_list(stdin)
    binary = getattr(stdin, "buffer", None)
    # Names of files need not be text; here they are what they are as arguments.
    return map(os.fsdecode, binary) if isinstance(binary, io.BufferedReader) else iter(stdin)


def _path(path: str, without: Path | None) -> Iterator[Source]:
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a parent may not be read
        yield from _folder(path, without)
    elif ADDRESS.match(path):
        # Opening it as an image tells what is wrong.
        yield Source(path, "image")
    else:
        yield Source(path, "video" if is_video(path) else "image")


def _is_pattern(text: str) -> bool:
    # An address may hold a question mark, and no file's name the character NUL.
    return glob.has_magic(text) and not ADDRESS.match(text) and "\0" not in text


def _through_link(path: str, pattern: str) -> bool:
    """Whether ``**`` went through a link to a folder, which could lead back to where it came from."""
    fixed = len(list(itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts)))
    return any(parent.is_symlink() for parent in Path(path).parents if len(parent.parts) > fixed)


def _folder(path: str, without: Path | None, above: frozenset[str] = frozenset()) -> Iterator[Source]:
    """The inputs of a folder that was reached through the folders ``above``, of which it is none."""
    above |= {os.path.realpath(path)}
    try:
        names = sorted((entry.name for entry in Path(path).iterdir()), key=natural)
    except OSError as error:
        yield Source(path, "unreadable", (error.strerror or str(error)).lower())
        return
    seen = False
    for name in names:
        if name.startswith(".") or name.lower() in LITTER:
            continue
        inside = Path(path) / name
        folder = os.path.realpath(inside) if os.path.isdir(inside) else None  # noqa: PTH112 - as above
        if folder and without is not None and folder == os.path.realpath(without):
            continue
        seen = True
        if not folder:
            yield _file(inside)
        elif folder in above:
            yield Source(str(inside), "skipped", "a link back to a folder that it lies in")
        else:
            yield from _folder(str(inside), without, above)
    if not seen:
        yield Source(path, "skipped", "an empty folder")


def _file(path: Path) -> Source:
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113 - as above
        return Source(str(path), "skipped", "neither a file nor a folder")
    if is_video(path):
        # Sound comes in the same containers as videos; what is called a video is to be read as one, or to say why not.
        if path.suffix.lower() in SUFFIXES or not is_sound(path):
            return Source(str(path), "video")
    elif path.suffix.lower() in IMAGES or _known_image(_head(path)):
        return Source(str(path), "image")
    return Source(str(path), "skipped", "neither an image nor a video")


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(12)
    except OSError:
        return b""


def _known_image(head: bytes) -> bool:
    return head.startswith(MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
