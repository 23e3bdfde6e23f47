"""Coded frames (PyAV's) as upright RGB images with square pixels."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: A pixel aspect ratio beyond this comes from a damaged file; its pixels are taken for squares.
_MAX_PIXEL_ASPECT = 4

#: Color matrices that FFmpeg's scaler knows, by their codes in ITU-T H.273; 2 is "unspecified".
_COLOR_MATRICES = (1, 2, 4, 5, 6, 7, 9)


def pixel_aspect(stream: Any) -> Fraction:
    """Width of a coded pixel of a stream (PyAV's) over its height; 1 where that is not credible."""
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    return aspect if Fraction(1, _MAX_PIXEL_ASPECT) <= aspect <= _MAX_PIXEL_ASPECT else Fraction(1)


def display_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Width and height of a coded image scaled to square pixels; it is never scaled down."""
    return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))


def orientation(coded: Any) -> tuple[int, bool]:
    """Counter-clockwise degrees, to the nearest quarter turn, and whether to mirror the rotated image."""
    matrix = coded.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 0, False
    # It maps the coded pixel (p, q) to x = a p + c q and y = b p + d q.
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].astype(float)
    mirrored = bool(a * d < b * c)
    return round(-math.degrees(math.atan2(b, -a if mirrored else a)) / 90) % 4 * 90, mirrored


def color_matrix(coded: Any) -> int:
    """The code of a frame's or codec's color matrix in ITU-T H.273; 2 where it is one that the scaler does not know."""
    # The scaler refuses others, also the reserved ones that some cameras write; players ignore those.
    return coded.colorspace if coded.colorspace in _COLOR_MATRICES else 2


def to_rgb(reformatter: Any, coded: Any, aspect: Fraction) -> NDArray[np.uint8]:
    """A coded frame (PyAV's) as uint8 ``(H, W, 3)`` RGB, upright, with square pixels; ``aspect`` is that of its own."""
    coded.colorspace = color_matrix(coded)
    width, height = display_size(coded.width, coded.height, aspect)
    image: NDArray[np.uint8] = reformatter.reformat(coded, width, height, format="rgb24").to_ndarray()
    rotation, mirrored = orientation(coded)
    image = np.rot90(image, rotation // 90)
    return np.ascontiguousarray(image[:, ::-1] if mirrored else image)
