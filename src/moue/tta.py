"""Test-time augmentation: several views of a face, whose logits are averaged.

Evaluation and the runtime both call :func:`tta_logits`, so that a score is of the pixels that are used in service. How
many views there can be, and their names, stand in :data:`moue.spec.VIEWS`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from moue.errors import UsageError, quoted
from moue.spec import VIEWS, expected_views

Images = NDArray[np.uint8]
Logits = NDArray[np.float32]

#: Side of a crop as a fraction of the image's: AlexNet's ten crops at the scale of 44 of 48 pixels, as FER-2013's
#: users crop (Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012).
CROP = (44, 48)


def make_views(images: Images, views: int, crop_size: int = 0) -> Images:
    """All views of each image.

    Args:
        images: uint8 ``(N, C, S, S)``, 0..255.
        views: one of :data:`moue.spec.VIEWS`. 1: the image; 2: and its mirror image; 6: the image, and it shifted
            by one pixel to the bottom right and to the top left, edges repeated, and their mirror images; 10: crops of
            44/48 of the side at the center and the four corners, scaled back to S bilinearly, and their mirror images.
        crop_size: side in pixels of the ten crops, which are then left at their own scale: for networks that were
            trained on random crops of that side (``data.random_crop``). 0 is the 44/48.

    Returns:
        uint8 ``(N * views, C, S, S)``, where S is ``crop_size`` for ten crops of that side: the views of one image
        next to each other, unmirrored ones first. The pixels are whole-number arithmetic: the same on every machine
        and in a batch of any size.

    Raises:
        UsageError: for another number of views.
    """
    check_views(views)
    if views == 1:
        return images
    unmirrored = _crops(images, crop_size) if views == 10 else {2: _identity, 6: _shifts}[views](images)
    both = np.concatenate([unmirrored, unmirrored[..., ::-1]], axis=1)
    return both.reshape(-1, *both.shape[2:])


def mean_over_views(logits: Logits, views: int) -> Logits:
    """The mean over the views of each image: float32 ``(N * views, K)`` in :func:`make_views`' order to ``(N, K)``."""
    if views == 1:
        return logits
    mean: Logits = logits.reshape(-1, views, logits.shape[1]).mean(axis=1, dtype=np.float32)
    return mean


def tta_logits(
    logits: Callable[[Images], Logits], images: Images, views: int, batch_size: int, crop_size: int = 0
) -> Logits:
    """Logits of images, each averaged over its views.

    All views of an image go through the model in one call, together with those of as many others as fit: memory is
    that of ``batch_size`` rows (or of one image's views, where those are more), whatever the number of views.

    Args:
        logits: the model: uint8 ``(M, C, S, S)`` to float32 ``(M, K)``.
        images: uint8 ``(N, C, S, S)``; N may be 0.
        views: one of :data:`moue.spec.VIEWS`.
        batch_size: rows of one call.
        crop_size: of ten views, see :func:`make_views`: the spec's.

    Returns:
        float32 ``(N, K)``.

    Raises:
        UsageError: for another number of views, or a batch size below 1.
    """
    check_views(views)
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1. Got {quoted(batch_size)} instead.")
    step = max(1, batch_size // views)
    # Without images the model is called too, for the number of its classes.
    starts = range(0, len(images), step) or [0]
    parts = (make_views(images[start : start + step], views, crop_size) for start in starts)
    return np.concatenate([mean_over_views(logits(part), views) for part in parts])


def check_views(views: int) -> None:
    """Make sure that there can be that many views.

    Raises:
        UsageError: where there cannot.
    """
    if not isinstance(views, int) or views not in VIEWS:
        raise UsageError(expected_views(views))


def _identity(images: Images) -> Images:
    return images[:, None]


def _shifts(images: Images) -> Images:
    side = images.shape[-1]
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    return np.stack([padded[..., i : i + side, i : i + side] for i in (1, 0, 2)], axis=1)


def _crops(images: Images, crop_size: int = 0) -> Images:
    side = images.shape[-1]
    small = crop_size or max(1, round(side * CROP[0] / CROP[1]))
    # The center crop is in the very middle, so that a mirrored face has the same crops.
    small -= (side - small) % 2 if small > 1 and not crop_size else 0
    middle, end = (side - small) // 2, side - small
    corners = [(middle, middle), (0, 0), (0, end), (end, 0), (end, end)]
    crops = np.stack([images[..., top : top + small, left : left + small] for top, left in corners], axis=1)
    return crops if crop_size else _scale(crops, side)


def _scale(images: Images, side: int) -> Images:
    """Images ``(…, s, s)`` bilinearly to ``(…, side, side)``, edges repeated; exact up to 1,400 pixels a side."""
    small = images.shape[-1]
    # Output pixel i lies at ((2 i + 1) s - side) / (2 side) input pixels: whole parts and remainders, exactly.
    whole, part = np.divmod((2 * np.arange(side) + 1) * small - side, 2 * side)
    low, high = np.clip(whole, 0, small - 1), np.clip(whole + 1, 0, small - 1)
    part = part.astype(np.int32)
    rest = np.int32(2 * side) - part
    rows = images[..., low, :] * rest[:, None] + images[..., high, :] * part[:, None]
    scaled_sums = rows[..., low] * rest + rows[..., high] * part
    area = 4 * side * side
    scaled: Images = ((scaled_sums + area // 2) // area).astype(np.uint8)
    return scaled
