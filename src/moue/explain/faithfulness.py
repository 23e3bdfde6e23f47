"""Whether a map says what the model does: the image is covered bit by bit, what the map calls important first.

Deletion, after Petsiuk et al., "RISE: randomized input sampling for explanation of black-box models", 2018. Squares are
covered instead of pixels, and beside it stands the same in random order: single pixels are noise to a network, under
which any order would look good.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moue.explain.occlusion import Answer, mean_color

#: The image is cut into so many squares a side.
GRID = 6
#: Random orders that are averaged.
ORDERS = 4


class Faithfulness(NamedTuple):
    """The mean probability of the class while the image goes, 0 to 1."""

    deletion: float
    """Important squares first: the lower, the better the map."""
    random: float
    """In random order: a map that is not clearly below it says nothing."""


def deletion(answer: Answer, image: NDArray[np.uint8], heat: NDArray[np.floating], seed: int = 0) -> Faithfulness:
    """Put a map to the test.

    Args:
        answer: of the class that the map explains.
        image: uint8 ``(C, S, S)``, 0..255.
        heat: ``(S, S)``, larger where more speaks for the class.
        seed: of the random orders.
    """
    size = image.shape[-1]
    squares = (np.arange(size) * GRID // size)[:, None] * GRID + np.arange(size) * GRID // size
    number = int(squares.max()) + 1
    weight = np.bincount(squares.ravel(), heat.ravel(), number) / np.maximum(np.bincount(squares.ravel()), 1)
    draw = np.random.default_rng(seed)
    orders = [np.argsort(-weight, kind="stable"), *(draw.permutation(number) for _ in range(ORDERS))]
    first, *others = (_area_under(answer, image, squares, order) for order in orders)
    return Faithfulness(first, float(np.mean(others)))


def _area_under(
    answer: Answer, image: NDArray[np.uint8], squares: NDArray[np.int64], order: NDArray[np.int64]
) -> float:
    when = np.empty(len(order), np.int64)
    when[order] = np.arange(len(order))
    gone = when[squares][None] < np.arange(len(order) + 1)[:, None, None]
    return float(np.mean(answer(np.where(gone[:, None], mean_color(image), image))))
