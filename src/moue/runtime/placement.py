"""Where the labels of faces go, so that they cover neither faces nor each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Covering what is not a label's own face counts this many times as much as covering its own.
FOREIGN = 10


def place_labels(
    boxes: ArrayLike, sizes: ArrayLike, width: float, height: float, taken: ArrayLike = ()
) -> NDArray[np.float64]:
    """Where to put the label of each face; the web page places them by the same rule.

    A label has 14 places, in this order: above its face, aligned with the face's left edge, its middle and its right
    edge; below it, the same; to the right of it, at its upper edge, its middle and its lower edge; to the left of it,
    the same; inside, at the upper and at the lower edge. A place that reaches over the picture's border is moved
    inside.

    The cost of a place is the area on which the label would cover its own face, plus ten times the area on which it
    would cover other faces, other labels and what else is taken. One label after the other is put where it costs
    least, the first such place. Then labels move, one at a time, to where they cost less, until none can: each move
    lowers the sum of all costs, so that comes to an end. So a label covers something only where it has no free place.

    Args:
        boxes: ``(F, 4)`` faces: x, y, width, height.
        sizes: ``(F, 2)`` width and height of the labels.
        width: of the picture.
        height: of the picture.
        taken: ``(T, 4)`` x, y, width, height of what else is to be kept free.

    Returns:
        ``(F, 2)`` x, y of the labels' upper left corners.
    """
    faces, extents = np.reshape(np.asarray(boxes, float), (-1, 4)), np.reshape(np.asarray(sizes, float), (-1, 2))
    fixed = np.concatenate([faces, np.reshape(np.asarray(taken, float), (-1, 4))])
    options = [places(face, size, width, height) for face, size in zip(faces, extents, strict=True)]
    base = []
    for i, rectangles in enumerate(options):
        covered = overlaps(rectangles, fixed)
        base.append(FOREIGN * covered.sum(axis=1) - (FOREIGN - 1) * covered[:, i])
    labels = np.zeros((len(faces), 4))
    moved, first = True, True
    while moved:
        moved = False
        for i, rectangles in enumerate(options):
            others = labels[:i] if first else np.delete(labels, i, axis=0)
            costs = base[i] + FOREIGN * overlaps(rectangles, others).sum(axis=1)
            best = int(costs.argmin())
            now = np.flatnonzero((rectangles == labels[i]).all(axis=1))
            # Rounding must not make a label move to and fro.
            if first or costs[best] < costs[now[0]] - 1e-6:
                labels[i], moved = rectangles[best], True
        first = False
    return labels[:, :2]


def places(box: NDArray[np.float64], size: NDArray[np.float64], width: float, height: float) -> NDArray[np.float64]:
    """The places of :func:`place_labels` for a label, inside the picture, best first.

    Args:
        box: ``(4,)`` x, y, width, height of the face.
        size: ``(2,)`` width and height of the label.
        width: of the picture.
        height: of the picture.

    Returns:
        ``(14, 4)`` x, y, width, height.
    """
    x, y, w, h = box
    across, down = size
    columns, rows = (x, x + (w - across) / 2, x + w - across), (y, y + (h - down) / 2, y + h - down)
    corners = np.array(
        [(column, row) for row in (y - down, y + h) for column in columns]
        + [(column, row) for column in (x + w, x - across) for row in rows]
        + [(columns[0], rows[0]), (columns[0], rows[2])]
    )
    corners = np.clip(corners, 0, np.maximum(0, [width - across, height - down]))
    return np.column_stack([corners, np.tile(size, (len(corners), 1))])


def overlaps(rectangles: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """The area that each of some rectangles ``(N, 4)`` shares with each of others ``(M, 4)``: ``(N, M)``."""
    low = np.maximum(rectangles[:, None, :2], others[None, :, :2])
    high = np.minimum(rectangles[:, None, :2] + rectangles[:, None, 2:], others[None, :, :2] + others[None, :, 2:])
    sides: NDArray[np.float64] = np.maximum(0, high - low)
    return sides[..., 0] * sides[..., 1]
