"""Whether a data set fits in memory: an error that names its size, instead of one that names nothing."""

from __future__ import annotations

from moue.damage import lacks_memory
from moue.errors import DataError
from moue.spec import Color, channels_of


def require_memory(n: int, size: int, color: Color, name: str, copies: int = 1) -> None:
    """Check, before any image is scaled, that memory holds those of a set.

    Args:
        n: number of images.
        size: height and width in pixels.
        color: of the images.
        name: of the set.
        copies: how many times they are in memory at most.

    Raises:
        DataError: when they cannot be had; says what they take, and what to change.
    """
    taken = copies * n * channels_of(color) * size * size
    if lacks_memory(taken):
        raise DataError(
            f"{name} at {size} × {size} pixels takes {taken / 1e9:,.1f} GB of memory for {n:,} images, more than there "
            "is. Read it smaller: --size, or in a recipe model.options.size, or a model of smaller images."
        )
