"""What an input is: one image, a video, a camera, or many of them."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from moue.errors import UsageError
from moue.runtime.inputs.sources import Source, expand
from moue.runtime.video.container import known_video


def is_image(x: Any) -> bool:
    """Whether ``x`` is one image, and no video, folder, list or camera."""
    if is_camera(x):
        return False
    if isinstance(x, (str, os.PathLike)):
        if os.fspath(x) == "-":
            # To look at a list on stdin is to take from it.
            return False
        found = list(itertools.islice(expand([x]), 2))
        # A folder or glob stays a list when it holds one image.
        return len(found) == 1 and found[0].kind == "image" and found[0].path == os.fspath(x)
    return is_one(x) and not (isinstance(x, Source) or is_video(x))


def is_video(x: Any) -> bool:
    """Whether a source, bytes or an open file hold images that move."""
    if isinstance(x, Source):
        return x.kind in ("video", "camera")
    if isinstance(x, (bytes, bytearray, memoryview)):
        return known_video(bytes(x[:512]))
    # A pipe cannot be looked into without taking from it, and FFmpeg wants to seek.
    if not hasattr(x, "read") or isinstance(x, io.TextIOBase) or not getattr(x, "seekable", bool)():
        return False
    place = x.tell()
    head = x.read(512)
    x.seek(place)
    return known_video(head)


def is_camera(x: Any) -> bool:
    """Whether ``x`` is a camera's number, as a number or as the digits that name no file."""
    if isinstance(x, str):
        return x.isdecimal() and not os.path.lexists(x)
    return isinstance(x, (int, np.integer)) and not isinstance(x, bool)


def is_one(x: Any) -> bool:
    """Whether ``x`` is one input, and no sequence of them: a name is none of letters, an image none of rows."""
    if isinstance(x, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, Source)) or hasattr(x, "read"):
        return True
    return is_camera(x) or (hasattr(x, "__array__") and np.ndim(x) != 4 and np.asarray(x).dtype.kind not in "OSU")


def each(x: Any) -> Iterable[Any]:
    """The inputs of what may be one or many; raises UsageError for what can be neither."""
    if is_one(x):
        return [x]
    if isinstance(x, Iterable) and not isinstance(x, dict):
        return x
    raise UsageError(
        f"moue reads paths, bytes, binary files, PIL images, arrays, lists of them. Got {type(x).__name__} instead."
    )


def items(x: Any) -> Iterator[Any]:
    """What an input stands for: paths become sources, of a folder or glob all of them."""
    if is_camera(x):
        yield Source(str(x), "camera")
    elif isinstance(x, (str, os.PathLike)):
        yield from expand([x])
    else:
        yield x


def named(x: Any) -> str:
    """What an input is called in its answer: its path, its file's name, or its type in angle brackets."""
    if isinstance(x, (str, os.PathLike)):
        return os.fspath(x)
    name = getattr(x, "filename", None) or getattr(x, "name", None)
    return name if isinstance(name, str) and name else f"<{type(x).__name__}>"
