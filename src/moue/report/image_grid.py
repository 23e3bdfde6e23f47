"""A grid of images with a few words below each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moue.report.canvas import INK, Drawing, canvas, short_names

#: Most pixels of an image's side, and columns of a figure that is as wide as the page.
SIDE, COLUMNS = 96, 8


class Tile(NamedTuple):
    """One image of the grid."""

    image: NDArray[np.uint8]
    """uint8 ``(C, S, S)`` or ``(S, S, 3)``."""
    lines: tuple[str, ...]
    """Up to three, below it."""


def image_grid(tiles: Sequence[Tile], title: str, columns: int = COLUMNS, width: float = 8.2) -> Drawing:
    """Images from left to right, top to bottom.

    Args:
        tiles: at least one; all with as many lines.
        title: above them.
        columns: images in a row.
        width: inches.
    """
    rows, lines = -(-len(tiles) // columns), len(tiles[0].lines)
    cell = width / columns
    text = 0.155 * lines + 0.08
    with canvas(rows * (cell + text) + 0.35, width) as plot:
        axis = plot.axis
        axis.set_title(title)
        axis.set_axis_off()
        # In units of a cell's width: images are squares of 0.92 with their lines below.
        step = 1 + text / cell
        axis.set_xlim(0, columns)
        axis.set_ylim(rows * step, 0)
        for i, tile in enumerate(tiles):
            row, column = divmod(i, columns)
            left, top = column + 0.04, row * step
            extent = (left, left + 0.92, top + 0.92, top)
            axis.imshow(_pixels(tile.image), extent=extent, interpolation="none", aspect="auto")
            for n, line in enumerate(short_names(tile.lines, 24)):
                y = top + 0.92 + (0.1 + 0.155 * (n + 0.5)) / cell
                weight = "bold" if n == 0 else "normal"
                axis.text(column + 0.5, y, line, ha="center", va="center", fontsize=7, color=INK, fontweight=weight)
        axis.set_xlim(0, columns)
        axis.set_ylim(rows * step, 0)
    return plot.drawing


def _pixels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB, of :data:`SIDE` pixels at most: smaller images stay as they are, viewers enlarge them."""
    if image.shape[-1] != 3:
        image = np.repeat(image, 3 // len(image), 0).transpose(1, 2, 0)
    if len(image) <= SIDE:
        return np.ascontiguousarray(image)
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
