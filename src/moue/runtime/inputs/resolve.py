"""Turns whatever a user gives into sources."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from moue.errors import UsageError
from moue.image_format import is_animation
from moue.runtime.inputs.paths import expand, is_single_file
from moue.runtime.inputs.source import Source
from moue.runtime.video.container import name_of
from moue.signatures import HEAD, kind_of


def resolve(x: Any, *, stdin: IO[str] | None = None, exclude: Path | None = None) -> Iterator[Source]:
    """The inputs that ``x`` stands for, in order, found as they are asked for.

    Args:
        x: one input or an iterable of inputs. An input is a path, a folder, a glob, or ``-`` for a list on stdin, all
            as :func:`moue.runtime.inputs.paths.expand` takes them; bytes or a binary file of an image or video; a
            Pillow image; an array; a camera's number, as a number or as digits that name no file; an ``rtsp://``,
            ``rtsps://``, ``http://`` or ``https://`` address; or a :class:`Source`. An array ``(N, H, W, C)``
            is N images.
        stdin: where ``-`` reads from.
        exclude: a folder that is not searched, because results lie there.

    Yields:
        At least one source an input. Inside an iterable, what is of no known type is "unreadable", so that the other
        inputs are read all the same.

    Raises:
        UsageError: when ``x`` itself can be neither an input nor an iterable of them; when a list on stdin is none.
    """
    if is_input(x):
        yield from _sources(x, stdin, exclude)
        return
    # Data frames would give the names of their columns, and arrays without a dimension nothing.
    if isinstance(x, dict) or hasattr(x, "columns") or getattr(x, "ndim", 1) == 0 or not isinstance(x, Iterable):
        raise UsageError(_expected(x))
    for item in x:
        yield from _sources(item, stdin, exclude)


def resolve_single(x: Any) -> Source | None:
    """The one image, video, camera or address that ``x`` is; None where it stands for several inputs or for none.

    A folder, a glob and a list stand for several, even where they hold one.
    """
    if isinstance(x, (str, os.PathLike)) and not (_is_camera(x) or is_single_file(x)):
        return None
    return next(_sources(x, None, None)) if is_input(x) else None


def is_input(x: Any) -> bool:
    """Whether ``x`` is one input, not a sequence of them: a path is not a sequence of letters, nor an image of rows."""
    if isinstance(x, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, Source)) or hasattr(x, "read"):
        return True
    return _is_camera(x) or (hasattr(x, "__array__") and np.ndim(x) != 4 and np.asarray(x).dtype.kind not in "OSU")


def _is_camera(x: Any) -> bool:
    if isinstance(x, str):
        return x.isdecimal() and not os.path.lexists(x)
    return isinstance(x, (int, np.integer)) and not isinstance(x, bool)


def _sources(x: Any, stdin: IO[str] | None, exclude: Path | None) -> Iterator[Source]:
    """The sources of one input."""
    if isinstance(x, Source):
        yield x
    elif _is_camera(x):
        yield Source(str(x), "camera")
    elif isinstance(x, (str, os.PathLike)):
        yield from expand(x, stdin=stdin, exclude=exclude)
    elif not (is_input(x) or hasattr(x, "__array__")):
        yield Source(_name(x), "unreadable", _expected(x))
    elif holds_video(x):
        yield Source(name_of(x), "video", content=x if hasattr(x, "read") else bytes(x))
    else:
        yield Source(_name(x), "image", content=x)


def holds_video(x: Any) -> bool:
    """Whether bytes or an open file hold a video or an animation."""
    kind = kind_of(_head(x))
    if kind != "image":
        return kind == "video"
    if isinstance(x, (bytes, bytearray, memoryview)):
        return is_animation(io.BytesIO(x))
    position = x.tell()
    try:
        x.seek(0)
        return is_animation(x)
    finally:
        x.seek(position)


def _expected(x: Any) -> str:
    return f"moue reads paths, bytes, binary files, PIL images, arrays, lists of them. Got {type(x).__name__} instead."


def _head(x: Any) -> bytes:
    """The first bytes of bytes or of an open file."""
    if isinstance(x, (bytes, bytearray, memoryview)):
        return bytes(x[:HEAD])
    # What is read from a pipe is gone, and FFmpeg needs to seek.
    if not hasattr(x, "read") or isinstance(x, io.TextIOBase):
        return b""
    try:
        if not getattr(x, "seekable", bool)():
            return b""
        position = x.tell()
        x.seek(0)
        head: bytes = x.read(HEAD)
        x.seek(position)
    except (OSError, ValueError):
        # A closed file, or one of a disk that fails: reading it says so.
        return b""
    return head


def _name(x: Any) -> str:
    name = getattr(x, "filename", None) or getattr(x, "name", None)
    return name if isinstance(name, str) and name else f"<{type(x).__name__}>"
