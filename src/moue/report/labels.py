"""Where the labels of a figure go, so that none covers another: geometry without matplotlib, in points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

#: Between a label and what it must not touch.
GAP = 2.0
#: Steps of the search over the whole figure, where there is no room beside a point.
STEP = (7.0, 4.0)


class Box(NamedTuple):
    """A rectangle."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)

    def grown(self, by: float) -> Box:
        """The same rectangle, larger on each side."""
        return Box(self.left - by, self.bottom - by, self.right + by, self.top + by)


def place(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    bounds: Box,
    obstacles: Sequence[Box] = (),
    radius: float = 6.0,
) -> list[Box]:
    """Place a label beside each anchor, where it covers no anchor, no obstacle and no other label.

    Beside it means on its right, left, above, below or at a corner; where all of these are taken, the nearest free
    place within the bounds, and where the bounds are full, the place that covers least.

    Args:
        anchors: what is labeled, ``(x, y)``.
        sizes: width and height of each label.
        bounds: where labels may go.
        obstacles: further rectangles to leave free.
        radius: how far the mark of an anchor extends.
    """
    taken = [Box(x - radius, y - radius, x + radius, y + radius) for x, y in anchors] + list(obstacles)
    placed = []
    for anchor, size in zip(anchors, sizes, strict=True):
        best, least = None, float("inf")
        for box in _candidates(anchor, size, bounds, radius):
            covered = sum(box.grown(GAP).overlap(other) for other in taken)
            if covered < least:
                best, least = box, covered
            if not covered:
                break
        # A label that is larger than the bounds has no place there: it stays beside its anchor.
        box = best or next(_beside(anchor, size, radius))
        placed.append(box)
        taken.append(box)
    return placed


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions on a line that are at least ``gap`` apart, between ``low`` and ``high``, nearest to the wanted ones.

    Nearest by least squares, in the order of the wanted positions: pool-adjacent-violators. Where the line is too short
    for all, they divide it equally.
    """
    if not wanted:
        return []
    n = len(wanted)
    gap = min(gap, (high - low) / max(n - 1, 1))
    order = sorted(range(n), key=lambda i: wanted[i])
    # Less the room that those before take, a position may equal the one before but not be below it.
    pools: list[list[float]] = []
    for rank, i in enumerate(order):
        pools.append([wanted[i] - rank * gap])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    flat = [float(np.mean(pool)) for pool in pools for _ in pool]
    positions = [0.0] * n
    for rank, (i, value) in enumerate(zip(order, flat, strict=True)):
        positions[i] = min(max(value, low), high - (n - 1) * gap) + rank * gap
    return positions


def _candidates(anchor: tuple[float, float], size: tuple[float, float], bounds: Box, radius: float) -> Iterator[Box]:
    """Places for a label within the bounds, the preferred ones first."""
    yield from (box for box in _beside(anchor, size, radius) if _within(box, bounds))
    width, height = size
    lefts = np.arange(bounds.left, bounds.right - width + 1e-9, STEP[0])
    bottoms = np.arange(bounds.bottom, bounds.top - height + 1e-9, STEP[1])
    grid = [(float(x), float(y)) for x in lefts for y in bottoms]
    x, y = anchor
    for left, bottom in sorted(grid, key=lambda at: (at[0] + width / 2 - x) ** 2 / 4 + (at[1] + height / 2 - y) ** 2):
        yield Box(left, bottom, left + width, bottom + height)


def _beside(anchor: tuple[float, float], size: tuple[float, float], radius: float) -> Iterator[Box]:
    (x, y), (width, height) = anchor, size
    near, corner = radius + GAP + 0.5, 0.7 * radius + GAP + 0.5
    right, left, middle = x + near, x - near - width, x - width / 2
    for at, bottom in (
        (right, y - height / 2),
        (left, y - height / 2),
        (middle, y + near),
        (middle, y - near - height),
        (x + corner, y + near),
        (x + corner, y - near - height),
        (x - corner - width, y + near),
        (x - corner - width, y - near - height),
    ):
        yield Box(at, bottom, at + width, bottom + height)


def _within(box: Box, bounds: Box) -> bool:
    return (
        bounds.left <= box.left and bounds.bottom <= box.bottom and box.right <= bounds.right and box.top <= bounds.top
    )
