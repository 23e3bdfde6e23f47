"""The uniform border of an image, which is no part of the photo."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moue.preprocess import ImageArray

#: How much the pixels of a border's row or column may differ, per channel: JPEG compression does not keep them equal.
BORDER_TOLERANCE = 8


def trim_border(image: ImageArray) -> tuple[int, int, int, int]:
    """The part of an image inside its uniform border: x, y, width, height. All of it where nothing would be left.

    An edge row or column whose pixels differ by :data:`BORDER_TOLERANCE` at most is border, whatever its color. As each
    is judged by itself, a border that is put around an image is trimmed, and nothing else with it.
    """
    top, left = 0, 0
    bottom, right = image.shape[:2]
    trimmed = True
    while trimmed:
        trimmed = False
        while bottom - top > 1 and _is_uniform(image[top, left:right]):
            top, trimmed = top + 1, True
        while bottom - top > 1 and _is_uniform(image[bottom - 1, left:right]):
            bottom, trimmed = bottom - 1, True
        while right - left > 1 and _is_uniform(image[top:bottom, left]):
            left, trimmed = left + 1, True
        while right - left > 1 and _is_uniform(image[top:bottom, right - 1]):
            right, trimmed = right - 1, True
    if right - left <= 1 or bottom - top <= 1:
        return 0, 0, image.shape[1], image.shape[0]
    return left, top, right - left, bottom - top


def _is_uniform(line: NDArray[np.uint8]) -> bool:
    low, high = line.min(axis=0).astype(np.int16), line.max(axis=0).astype(np.int16)
    return bool((high - low).max() <= BORDER_TOLERANCE)
