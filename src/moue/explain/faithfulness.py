"""Faithfulness of a heatmap: how fast the class's probability falls as the image is deleted, important parts first.

The deletion metric of Petsiuk et al., "RISE: randomized input sampling for explanation of black-box models", 2018, with
squares instead of pixels, as single covered pixels are noise under which any order looks good; and the same metric in
random order for comparison.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moue.explain.occlusion import ClassProbability, mean_color

#: Squares a side that the image is divided into.
GRID = 6
#: Random orders that are averaged.
ORDERS = 4


class Faithfulness(NamedTuple):
    """The mean probability of the class while the image is deleted, 0 to 1."""

    deletion: float
    """Important squares first: the lower, the better the heatmap."""
    random: float
    """In random order: a heatmap that is not clearly below it explains nothing."""


def deletion(
    probability: ClassProbability, image: NDArray[np.uint8], heatmap: NDArray[np.floating], seed: int = 0
) -> Faithfulness:
    """Measure the faithfulness of a heatmap.

    Args:
        probability: gives that of the class which the heatmap explains.
        image: uint8 ``(C, S, S)``, 0..255.
        heatmap: ``(S, S)``, larger where there is more evidence for the class.
        seed: of the random orders.
    """
    size = image.shape[-1]
    squares = (np.arange(size) * GRID // size)[:, None] * GRID + np.arange(size) * GRID // size
    number = int(squares.max()) + 1
    weight = np.bincount(squares.ravel(), heatmap.ravel(), number) / np.maximum(np.bincount(squares.ravel()), 1)
    rng = np.random.default_rng(seed)
    orders = [np.argsort(-weight, kind="stable"), *(rng.permutation(number) for _ in range(ORDERS))]
    first, *others = (_mean_probability(probability, image, squares, order) for order in orders)
    return Faithfulness(first, float(np.mean(others)))


def _mean_probability(
    probability: ClassProbability, image: NDArray[np.uint8], squares: NDArray[np.int64], order: NDArray[np.int64]
) -> float:
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    deleted = rank[squares][None] < np.arange(len(order) + 1)[:, None, None]
    return float(np.mean(probability(np.where(deleted[:, None], mean_color(image), image))))
