"""Occlusion: how much a class's probability falls when a part of the image is covered.

Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014. It works with any model.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

#: uint8 ``(N, C, S, S)`` to the probabilities of one class, ``(N,)``.
ClassProbability = Callable[[NDArray[np.uint8]], NDArray[np.floating]]

#: Side of the covering square, as a share of the image's: about an eye with its brow.
PATCH = 0.25


def occlusion(probability: ClassProbability, image: NDArray[np.uint8], patch: float = PATCH) -> NDArray[np.float32]:
    """How much evidence for a class there is in each part of an image.

    A square of the image's mean color slides over the image with a stride of a third of its side; each pixel gets the
    mean loss of the squares that covered it. Squares overlap the border, so that pixels there are covered as often as
    others: all equally often where the stride divides the side, as in images of 48 pixels, else from 9 to 16 times.

    Args:
        probability: gives that of the class which is explained.
        image: uint8 ``(C, S, S)``, 0..255.
        patch: side of the square as a share of S.

    Returns:
        float32 ``(S, S)``, in probability: 0.3 where covering lowers it by 0.3, below 0 where it rises.
    """
    size = image.shape[-1]
    side = max(1, round(size * patch))
    step = max(1, side // 3)
    starts = np.arange(step - side, size, step)
    corners = [(top, left) for top in starts for left in starts]
    covered = np.repeat(image[None], len(corners), axis=0)
    fill = mean_color(image)
    for view, (top, left) in zip(covered, corners, strict=True):
        view[:, max(0, top) : top + side, max(0, left) : left + side] = fill
    losses = float(probability(image[None])[0]) - probability(covered)
    total, times = np.zeros((2, size, size), np.float64)
    for loss, (top, left) in zip(losses, corners, strict=True):
        part = np.s_[max(0, top) : top + side, max(0, left) : left + side]
        total[part] += loss
        times[part] += 1
    return (total / times).astype(np.float32)


def mean_color(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The color of covered parts: the image's mean, uint8 ``(C, 1, 1)``."""
    mean: NDArray[np.uint8] = image.mean(axis=(1, 2), keepdims=True).round().astype(np.uint8)
    return mean
