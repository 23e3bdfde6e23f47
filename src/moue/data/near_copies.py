"""Images that are nearly one: the same photo cropped, compressed, lit or mirrored otherwise, or with another watermark.

Sets that were collected by searching the web hold many. A network that has seen one of two such images knows the label
of the other, so that rows with a near copy in Training flatter, as those with an exact one do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moue.data.duplicates import deduplicated, duplicate_groups
from moue.data.table import ImageTable
from moue.preprocess import to_inputs

#: Images are compared as this many means of blocks, across and down.
BLOCKS = 12

#: The least correlation of two images' blocks, at which they are near copies. Looked at on FER-2013, PublicTest beside
#: Training: all of 31 pairs from here on are one photo, of ten from 0.945 to 0.95 four are of two persons.
SIMILAR = 0.95

#: Images that are compared at a time.
CHUNK = 1024


def near_copies(part: ImageTable, reference: ImageTable) -> NDArray[np.bool_]:
    """Which images have a near copy, or an exact one, among others.

    Args:
        part: N images, of any size and color.
        reference: M others. Time and memory: N × M correlations of 144 numbers, 1024 × M at a time.

    Returns:
        bool ``(N,)``.
    """
    found = ~deduplicated(part, reference)
    if not len(reference):
        return found
    known = _blocks(reference.images)
    for start in range(0, len(part), CHUNK):
        images = part.images[start : start + CHUNK]
        for turned in (images, images[..., ::-1]):
            found[start : start + CHUNK] |= (_blocks(turned) @ known.T).max(axis=1) >= SIMILAR
    return found


def near_copy_groups(table: ImageTable) -> NDArray[np.int64]:
    """Groups of images that are connected by near copies, or exact ones: also A and C, where both are one of B.

    Args:
        table: N images, of any size and color. Time and memory as of :func:`near_copies`, with itself.

    Returns:
        int64 ``(N,)``: a number for each group.
    """
    groups = duplicate_groups(table)
    blocks = _blocks(table.images)
    for start in range(0, len(table), CHUNK):
        images = table.images[start : start + CHUNK]
        for turned in (images, images[..., ::-1]):
            # A copy that stands before an image has found it already: mirroring either of two is the same.
            for row, copies in enumerate(_blocks(turned) @ blocks[start:].T >= SIMILAR, start):
                found = groups[start:][copies]
                if (found != groups[row]).any():
                    groups[np.isin(groups, found)] = groups[row]
    return groups


def _blocks(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The blocks of images, float32 ``(N, 144)``, of mean 0 and length 1, so that products are correlations.

    Those of an image without contrast are 0.
    """
    side = 48
    gray = to_inputs(np.ascontiguousarray(images), side, "gray")
    step = side // BLOCKS
    means = gray.reshape(len(gray), BLOCKS, step, BLOCKS, step).mean(axis=(2, 4), dtype=np.float32)
    flat = means.reshape(len(means), BLOCKS * BLOCKS)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(np.divide(flat, length, out=np.zeros_like(flat), where=length > 1e-3), np.float32)
