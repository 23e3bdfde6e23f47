"""The only way from any picture to a model's input.

Training caches, evaluation and the runtime all call these functions, so a network sees in service what it saw in
training.
Pictures are uint8 arrays, ``(H, W)`` grey or ``(H, W, 3)`` RGB, 0..255. Boxes are ``(x, y, width, height)`` in pixels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moue.spec import Colour, channels_of

Picture = NDArray[np.uint8]


def convert(picture: Picture, colour: Colour) -> Picture:
    """Change a picture's colour space.

    Args:
        picture: uint8 ``(H, W)`` or ``(H, W, 3)`` RGB.
        colour: "grey" gives ``(H, W)`` as ITU-R 601 luma (0.299 R + 0.587 G + 0.114 B); "rgb" gives ``(H, W, 3)``.
    """
    if colour == "grey":
        return picture if picture.ndim == 2 else np.asarray(Image.fromarray(picture).convert("L"))
    return picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)


def resize(picture: Picture, size: int) -> Picture:
    """Scale a picture to ``size`` × ``size`` pixels; a picture of that size comes back as it is.

    Bilinear with the kernel widened to the scale when shrinking, so that fine texture does not alias
    (Pillow's ``BILINEAR``).
    """
    if picture.shape[:2] == (size, size):
        return picture
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR))


def to_input(picture: Picture, size: int, colour: Colour) -> Picture:
    """One face picture as one model input.

    Args:
        picture: a cropped face, uint8 ``(H, W)`` or ``(H, W, 3)`` RGB, of any size.
        size: the model's input size in pixels.
        colour: the model's colour.

    Returns:
        uint8 ``(C, size, size)``, C = 1 for grey and 3 for RGB.
    """
    # Colour first: on one channel the resize costs a third.
    small = resize(convert(picture, colour), size)
    return np.ascontiguousarray(small[None] if small.ndim == 2 else small.transpose(2, 0, 1))


def to_inputs(images: NDArray[np.uint8], size: int, colour: Colour) -> NDArray[np.uint8]:
    """Face pictures of one size as model inputs; those that are so already come back as they are.

    Args:
        images: uint8 ``(N, C, H, W)``, 0..255, C = 1 grey or 3 RGB.
        size: the model's input size in pixels.
        colour: the model's colour.

    Returns:
        uint8 ``(N, C', size, size)``.
    """
    channels = channels_of(colour)
    if images.shape[1:] == (channels, size, size):
        return images
    pictures = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    inputs = np.empty((len(images), channels, size, size), np.uint8)
    for i, picture in enumerate(pictures):
        inputs[i] = to_input(np.ascontiguousarray(picture), size, colour)
    return inputs


def crop_face(
    picture: Picture,
    box: tuple[float, float, float, float],
    landmarks: NDArray[np.floating] | None = None,
    *,
    margin: float,
    level: bool,
    size: int,
    colour: Colour,
) -> Picture:
    """Cut one face out of a picture as one model input.

    The crop is a square around the box's centre, with the box's longer side grown by ``margin`` on each side; it is
    rotated so that the eyes are level when ``level`` is set and landmarks are there. What lies outside of the picture
    repeats its nearest edge pixel, so a face at the border gives the same crop as the same face padded.

    Args:
        picture: uint8 ``(H, W)`` or ``(H, W, 3)`` RGB.
        box: ``(x, y, width, height)`` of the detected face in pixels.
        landmarks: ``(5, 2)`` x, y in pixels: the eye to the left of the picture, the eye to its right, nose, mouth
            corners; or None.
        margin: growth on each side, as a fraction of the box's longer side.
        level: whether to rotate the eyes level.
        size: output size in pixels.
        colour: output colour.

    Returns:
        uint8 ``(C, size, size)``.
    """
    centre, side, angle = _square(box, landmarks, margin, level)
    # Work at up to 4× the output size: the affine step samples points, the resize after it averages areas.
    work = int(min(max(math.ceil(side), size), 4 * size))
    patch = _window(convert(picture, colour), centre, side, angle, work)
    return to_input(patch, size, colour)


def in_crop(
    points: NDArray[np.floating],
    box: tuple[float, float, float, float],
    landmarks: NDArray[np.floating] | None = None,
    *,
    margin: float,
    level: bool,
    size: int,
) -> NDArray[np.float64]:
    """Where points of a picture lie in the crop that :func:`crop_face` makes of it with the same arguments.

    Args:
        points: ``(P, 2)`` x, y in pixels of the picture.

    Returns:
        ``(P, 2)`` x, y in pixels of the crop, 0 at its left and upper border and ``size`` at the others.
    """
    centre, side, angle = _square(box, landmarks, margin, level)
    cos, sin = math.cos(angle), math.sin(angle)
    turned: NDArray[np.float64] = (np.asarray(points, np.float64) - centre) @ np.array([[cos, -sin], [sin, cos]])
    return turned * (size / side) + size / 2


def _square(
    box: tuple[float, float, float, float], landmarks: NDArray[np.floating] | None, margin: float, level: bool
) -> tuple[NDArray[np.floating], float, float]:
    """Centre, side and angle (radians) of the square that a face is cut out by."""
    x, y, width, height = box
    angle = 0.0
    if level and landmarks is not None:
        across = landmarks[1] - landmarks[0]
        angle = math.atan2(float(across[1]), float(across[0]))
        # Beyond 60 degrees the landmarks are more likely wrong than the head tilted.
        angle = angle if abs(angle) <= math.pi / 3 else 0.0
    return np.array([x + width / 2, y + height / 2]), max(1.0, max(width, height) * (1 + 2 * margin)), angle


def _window(picture: Picture, centre: NDArray[np.floating], side: float, angle: float, work: int) -> Picture:
    """The rotated square of ``side`` pixels around ``centre``, sampled at ``work`` × ``work`` points."""
    reach = math.ceil(side / 2 * (abs(math.cos(angle)) + abs(math.sin(angle)))) + 2
    left, top = math.floor(centre[0]) - reach, math.floor(centre[1]) - reach
    right, bottom = math.floor(centre[0]) + reach + 1, math.floor(centre[1]) + reach + 1
    rows = np.clip(np.arange(top, bottom), 0, picture.shape[0] - 1)
    columns = np.clip(np.arange(left, right), 0, picture.shape[1] - 1)
    region = Image.fromarray(np.ascontiguousarray(picture[rows[:, None], columns[None, :]]))
    # Shrink large regions by area before sampling points from them.
    shrink = max(1, int(side // work))
    if shrink > 1:
        region = region.reduce(shrink)
    scale = side / work / shrink
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    cx, cy = (centre[0] - left) / shrink, (centre[1] - top) / shrink
    half = work / 2
    affine = (cos, -sin, cx - half * cos + half * sin, sin, cos, cy - half * sin - half * cos)
    return np.asarray(region.transform((work, work), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR))
