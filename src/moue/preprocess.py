"""The only way from any image to a model's input.

Training caches, evaluation and the runtime all call these functions, so a network sees in service what it saw in
training.
Images are uint8 arrays, ``(H, W)`` gray or ``(H, W, 3)`` RGB, 0..255. Boxes are ``(x, y, width, height)`` in pixels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moue.spec import Color, channels_of

ImageArray = NDArray[np.uint8]


def convert(image: ImageArray, color: Color) -> ImageArray:
    """Change an image's color space.

    Args:
        image: uint8 ``(H, W)`` or ``(H, W, 3)`` RGB.
        color: "gray" gives ``(H, W)`` as ITU-R 601 luma (0.299 R + 0.587 G + 0.114 B); "rgb" gives ``(H, W, 3)``.
    """
    if color == "gray":
        return image if image.ndim == 2 else np.asarray(Image.fromarray(image).convert("L"))
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


def resize(image: ImageArray, size: int) -> ImageArray:
    """Scale an image to ``size`` × ``size`` pixels; an image of that size comes back as it is.

    Bilinear with the kernel widened to the scale when shrinking, so that fine texture does not alias
    (Pillow's ``BILINEAR``).
    """
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def to_input(image: ImageArray, size: int, color: Color) -> ImageArray:
    """One face image as one model input.

    Args:
        image: a cropped face, uint8 ``(H, W)`` or ``(H, W, 3)`` RGB, of any size.
        size: the model's input size in pixels.
        color: the model's color.

    Returns:
        uint8 ``(C, size, size)``, C = 1 for gray and 3 for RGB.
    """
    # Color first: on one channel the resize costs a third.
    small = resize(convert(image, color), size)
    return np.ascontiguousarray(small[None] if small.ndim == 2 else small.transpose(2, 0, 1))


def to_inputs(images: NDArray[np.uint8], size: int, color: Color) -> NDArray[np.uint8]:
    """Face images of one size as model inputs; those that are so already come back as they are.

    Args:
        images: uint8 ``(N, C, H, W)``, 0..255, C = 1 gray or 3 RGB.
        size: the model's input size in pixels.
        color: the model's color.

    Returns:
        uint8 ``(N, C', size, size)``.
    """
    channels = channels_of(color)
    if images.shape[1:] == (channels, size, size):
        return images
    images = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    inputs = np.empty((len(images), channels, size, size), np.uint8)
    for i, image in enumerate(images):
        inputs[i] = to_input(np.ascontiguousarray(image), size, color)
    return inputs


def crop_face(
    image: ImageArray,
    box: tuple[float, float, float, float],
    landmarks: NDArray[np.floating] | None = None,
    *,
    margin: float,
    align: bool,
    size: int,
    color: Color,
) -> ImageArray:
    """Cut one face out of an image as one model input.

    The crop is a square around the box's center, with the box's longer side grown by ``margin`` on each side; it is
    rotated so that the eyes are level when ``align`` is set and landmarks are there. What lies outside of the image
    repeats its nearest edge pixel, so a face at the border gives the same crop as the same face padded.

    Args:
        image: uint8 ``(H, W)`` or ``(H, W, 3)`` RGB.
        box: ``(x, y, width, height)`` of the detected face in pixels.
        landmarks: ``(5, 2)`` x, y in pixels: the two eyes, nose, mouth corners, of each pair first the one that is to
            the left when the face is upright; or None. They are believed, whatever the angle.
        margin: growth on each side, as a fraction of the box's longer side.
        align: whether to rotate the crop so that the eyes are level.
        size: output size in pixels.
        color: output color.

    Returns:
        uint8 ``(C, size, size)``.
    """
    center, side, angle = _square(box, landmarks, margin, align)
    # Work at up to 4× the output size: the affine step samples points, the resize after it averages areas.
    work = int(min(max(math.ceil(side), size), 4 * size))
    patch = square_window(image, center, side, angle, work, color)
    return to_input(patch, size, color)


def in_crop(
    points: NDArray[np.floating],
    box: tuple[float, float, float, float],
    landmarks: NDArray[np.floating] | None = None,
    *,
    margin: float,
    align: bool,
    size: int,
) -> NDArray[np.float64]:
    """Where points of an image lie in the crop that :func:`crop_face` makes of it with the same arguments.

    Args:
        points: ``(P, 2)`` x, y in pixels of the image.

    Returns:
        ``(P, 2)`` x, y in pixels of the crop, 0 at its left and upper border and ``size`` at the others.
    """
    center, side, angle = _square(box, landmarks, margin, align)
    cos, sin = math.cos(angle), math.sin(angle)
    turned: NDArray[np.float64] = (np.asarray(points, np.float64) - center) @ np.array([[cos, -sin], [sin, cos]])
    return turned * (size / side) + size / 2


def _square(
    box: tuple[float, float, float, float], landmarks: NDArray[np.floating] | None, margin: float, align: bool
) -> tuple[NDArray[np.floating], float, float]:
    """Center, side and angle (radians) of the square that a face is cut out by."""
    x, y, width, height = box
    angle = 0.0
    if align and landmarks is not None:
        across = landmarks[1] - landmarks[0]
        angle = math.atan2(float(across[1]), float(across[0]))
    return np.array([x + width / 2, y + height / 2]), max(1.0, max(width, height) * (1 + 2 * margin)), angle


def square_window(
    image: ImageArray,
    center: NDArray[np.floating],
    side: float,
    angle: float,
    work: int,
    color: Color | None = None,
) -> ImageArray:
    """A rotated square out of an image; outside of it, its nearest edge pixels are repeated.

    Args:
        image: uint8 ``(H, W)`` or ``(H, W, 3)`` RGB.
        center: ``(2,)`` x, y of the square's center in pixels.
        side: its side in pixels.
        angle: by which it is rotated, in radians, clockwise as seen in the image.
        work: at how many points a side it is sampled.
        color: of the square; None for the image's.

    Returns:
        uint8 ``(work, work)`` or ``(work, work, 3)``.
    """
    reach = math.ceil(side / 2 * (abs(math.cos(angle)) + abs(math.sin(angle)))) + 2
    left, top = math.floor(center[0]) - reach, math.floor(center[1]) - reach
    right, bottom = math.floor(center[0]) + reach + 1, math.floor(center[1]) + reach + 1
    rows, above, below = _inside(top, bottom, image.shape[0])
    columns, before, after = _inside(left, right, image.shape[1])
    # Only what is cut out is converted: a photo may be a hundred times as large. What repeats it is not.
    around = np.ascontiguousarray(image[rows, columns])
    around = around if color is None else convert(around, color)
    if above or below or before or after:
        depth = ((0, 0),) * (around.ndim - 2)
        around = np.pad(around, ((above, below), (before, after), *depth), mode="edge")
    region = Image.fromarray(around)
    # Shrink large regions by area before sampling points from them.
    shrink = max(1, int(side // work))
    if shrink > 1:
        region = region.reduce(shrink)
    scale = side / work / shrink
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    cx, cy = (center[0] - left) / shrink, (center[1] - top) / shrink
    half = work / 2
    affine = (cos, -sin, cx - half * cos + half * sin, sin, cos, cy - half * sin - half * cos)
    return np.asarray(region.transform((work, work), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR))


def _inside(start: int, stop: int, length: int) -> tuple[slice, int, int]:
    """The part of a range that is within ``0..length``, one element at least; how many are before it and after it."""
    first, last = min(max(start, 0), length - 1), min(max(stop - 1, 0), length - 1)
    before = min(max(first - start, 0), stop - start - 1)
    return slice(first, last + 1), before, stop - start - before - (last + 1 - first)
