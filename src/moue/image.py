"""Reads an image of any kind into one upright RGB array.

A path, its bytes and its decoded array give the same pixels.
"""

from __future__ import annotations

import io
import os
import select
import stat
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moue.errors import Unreadable, UsageError
from moue.image_file import MAX_PIXELS, REMEDY, Photo, Truncated, check_pixels, decode, read_file
from moue.image_format import one_line
from moue.pixels import Order, array_to_rgb, check_order
from moue.preprocess import ImageArray

__all__ = [
    "MAX_PIXELS",
    "ImageLike",
    "Order",
    "Photo",
    "Truncated",
    "check_order",
    "check_pixels",
    "read_image",
    "read_photo",
]

#: What :func:`read_image` takes.
ImageLike: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[Any]"
)

#: Seconds to wait for the first byte of a pipe.
PIPE_TIMEOUT = 10.0


def read_image(
    x: ImageLike, *, color: Order = "rgb", max_pixels: int = MAX_PIXELS, truncated: Truncated = "refuse"
) -> ImageArray:
    """Read one image.

    Files and PIL images are turned upright by their EXIF orientation; of an animation (GIF, WebP, APNG) or a
    multi-image file the first frame counts; transparent pixels show white; CMYK and palettes become RGB. HEIF (HEIC)
    is read where pillow-heif is installed.

    Values wider than 8 bits are scaled to 8. They are taken for 8, 10, 12 or 16 bits, the fewest that hold the largest
    of them: a gray photo of 8 bits that was saved with 16 bits a pixel is what it was.

    Args:
        x: path of a file or pipe, bytes, binary file object (read from its start, wherever it is), PIL image, or array.
            Arrays are ``(H, W)`` or ``(H, W, 1)`` gray, ``(H, W, 3)`` or ``(H, W, 4)`` with alpha; bool, uint8 0..255,
            uint16 0..65535, another integer type 0..255, or floats 0..1, of which a thousandth more or less is
            rounding.
        color: order of an array's channels, "rgb" or "bgr" (OpenCV's); files and PIL images know their own.
        max_pixels: the largest width × height to accept from a file or PIL image. A pixel of WebP, JPEG 2000 and AVIF
            counts twice, as their decoders take twice the memory.
        truncated: what becomes of a JPEG file that breaks off: "refuse", or "read" where nine tenths of its rows are
            there; the other rows are gray.

    Returns:
        uint8 ``(H, W, 3)`` RGB, 0..255. An RGB uint8 array is returned as it is, not copied.

    Raises:
        Unreadable: when ``x`` holds no image; its message says why, and its status is "unreadable" or, above
            ``max_pixels``, "too_large".
        UsageError: when ``x`` is of no type that could hold an image, or ``color`` is unknown.
    """
    return read_photo(x, color=color, max_pixels=max_pixels, truncated=truncated, reduce=False).pixels


def read_photo(
    x: ImageLike,
    *,
    color: Order = "rgb",
    max_pixels: int = MAX_PIXELS,
    truncated: Truncated = "read",
    reduce: bool = True,
    remedy: str = REMEDY,
) -> Photo:
    """Read one image, with what there is to say about it.

    Args:
        x: as for :func:`read_image`.
        color: as for :func:`read_image`.
        max_pixels: as for :func:`read_image`.
        truncated: as for :func:`read_image`.
        reduce: whether to read a JPEG of up to four times ``max_pixels`` at half its size, where its decoder then does
            not hold all of it.
        remedy: what to do about an image above ``max_pixels``, for the message.

    Raises:
        Unreadable: as :func:`read_image`.
        UsageError: as :func:`read_image`.
    """
    check_order(color)
    if isinstance(x, Image.Image):
        return decode(x, max_pixels, remedy)
    if isinstance(x, (str, os.PathLike)):
        with _open(Path(x)) as file:
            return read_file(file, max_pixels, remedy, truncated, reduce)
    if isinstance(x, (bytes, bytearray, memoryview)):
        return read_file(io.BytesIO(x), max_pixels, remedy, truncated, reduce)
    if hasattr(x, "read"):
        return read_file(io.BytesIO(_content(x)), max_pixels, remedy, truncated, reduce)
    if hasattr(x, "__array__"):
        pixels = array_to_rgb(np.asarray(x), color)
        return Photo(pixels, pixels.shape[1], pixels.shape[0])
    raise UsageError(
        f"an image must be a path, bytes, a binary file, a PIL image or an array. Got {type(x).__name__} instead."
    )


def _content(file: Any) -> bytes:
    """All that a file object holds, from its start where it has one: it may be a pipe, and Pillow needs to seek."""
    try:
        if getattr(file, "seekable", bool)():
            file.seek(0)
        content = None if isinstance(file, io.TextIOBase) else file.read()
    except (OSError, ValueError) as error:
        raise Unreadable(f"the file object cannot be read: {one_line(error)}") from None
    if not isinstance(content, bytes):
        raise UsageError("a file object must be open in binary mode, as in open(path, 'rb').")
    return content


def _open(path: Path) -> IO[bytes]:
    try:
        mode = path.stat().st_mode
        if stat.S_ISFIFO(mode):
            return io.BytesIO(_read_pipe(path))
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise Unreadable("neither a file nor a pipe")
        return open(path, "rb")
    except Unreadable:
        raise
    except FileNotFoundError:
        is_address = "://" in str(path) or ":/" in str(path)[1:8]
        raise Unreadable(
            "no such file; an address is read by moue.read and moue predict, as text" if is_address else "no such file"
        ) from None
    except IsADirectoryError:
        raise Unreadable("a folder, not an image") from None
    except PermissionError:
        raise Unreadable("a folder, not an image" if path.is_dir() else "permission denied") from None
    except (OSError, ValueError) as error:
        raise Unreadable(getattr(error, "strerror", None) or str(error)) from None


def _read_pipe(path: Path) -> bytes:
    """All that comes through a pipe."""
    # Opened without blocking: without a writer it would block for ever.
    with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as pipe:
        select.select([pipe], [], [], PIPE_TIMEOUT)
        # None means that there is a writer, which has written nothing yet.
        first = pipe.read(1)
        if first == b"":
            raise Unreadable("the pipe is empty")
        os.set_blocking(pipe.fileno(), True)
        return (first or b"") + pipe.read()
