"""Pixels of any type and range as uint8 RGB, a strip of rows at a time, which takes no memory for a second image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moue.errors import Unreadable, UsageError
from moue.preprocess import ImageArray

Order = Literal["rgb", "bgr"]

#: Pixels that are converted at a time.
STRIP = 1 << 20

#: The largest values of 8, 10, 12 and 16 bits. Values wider than 8 bits are of the narrowest of these that holds them.
_WHITE = (255, 1023, 4095, 65535)

Converter = Callable[[NDArray[Any]], NDArray[np.uint8]]


def check_order(color: object) -> None:
    """Raise UsageError unless this is an :data:`Order` of channels."""
    if color not in get_args(Order):
        raise UsageError(f"color must be 'rgb' or 'bgr'. Got {color!r} instead.")


def strips(width: int, height: int) -> Iterator[tuple[int, int]]:
    """First row, and row after the last, of each strip of an image."""
    rows = max(1, STRIP // max(1, width))
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def array_to_rgb(array: NDArray[Any], color: Order = "rgb") -> ImageArray:
    """An array as uint8 ``(H, W, 3)`` RGB; one that is so already comes back as it is.

    Args:
        array: ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)``, as :func:`moue.read_image` takes it.
        color: order of its channels.

    Raises:
        Unreadable: for another shape or type, or values out of range.
    """
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))):
        raise Unreadable(f"an array must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). Got {array.shape} instead.")
    if not array.size:
        raise Unreadable(f"an array must have at least one pixel. Got {array.shape} instead.")
    if array.dtype.kind not in "buif":
        raise Unreadable(f"an array must hold numbers. Got {array.dtype} instead.")
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3:
        return np.ascontiguousarray(array.view(np.uint8)[:, :, ::-1] if color == "bgr" else array.view(np.uint8))
    # NaN makes both of them NaN, which is in no range.
    convert = converter(array.dtype, array.min(), array.max())
    rgb = np.empty((*array.shape[:2], 3), np.uint8)
    for top, bottom in strips(array.shape[1], array.shape[0]):
        strip = convert(array[top:bottom])
        if strip.ndim == 2:
            strip = strip[:, :, None]
        if color == "bgr" and strip.shape[2] > 1:
            strip = strip[:, :, [2, 1, 0, 3][: strip.shape[2]]]
        # Transparent pixels over white, rounded as for files.
        rgb[top:bottom] = over_white(Image.fromarray(np.ascontiguousarray(strip))) if strip.shape[2] == 4 else strip
    return rgb


def over_white(image: Image.Image) -> ImageArray:
    """An RGBA image over white, as uint8 ``(H, W, 3)`` RGB."""
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))


def converter(dtype: np.dtype[Any], low: Any, high: Any) -> Converter:
    """What converts numbers of a type to 8 bits.

    Args:
        dtype: bool; uint8; uint16, whose values are of 8, 10, 12 or 16 bits, the fewest that hold ``high``; another
            integer type, for values 0 to 255; or floats 0 to 1, of which a thousandth more or less is rounding.
        low: the least of the numbers.
        high: the largest of them.

    Raises:
        Unreadable: for numbers out of range.
    """
    if dtype == np.uint8:
        return lambda values: values.view(np.uint8)
    if dtype == np.bool_:
        return lambda values: values.astype(np.uint8) * np.uint8(255)
    if np.issubdtype(dtype, np.integer):
        wide = dtype.newbyteorder("=") == np.uint16
        if not (low >= 0 and high <= (65535 if wide else 255)):
            raise Unreadable(f"integers must be 0..255, or uint16. Got {dtype} {low}..{high} instead.")
        white = next(white for white in _WHITE if high <= white)
        table = ((np.arange(white + 1, dtype=np.uint32) * 255 + white // 2) // white).astype(np.uint8)
        return lambda values: table[values]
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise Unreadable(f"floats must be 0..1. Got {low:g}..{high:g} instead: divide by 255, or pass uint8.")
    return lambda values: np.rint(values.clip(0, 1) * 255).astype(np.uint8)
