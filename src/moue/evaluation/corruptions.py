"""What goes wrong with a face on its way to a model, in five severities each: the images of :mod:`.robustness`.

After Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations" (2019),
with what happens to cropped faces in their place: crops that are too tight, too loose, turned or shifted, covered eyes
and mouths.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from moue.errors import UnknownName, UsageError, quoted
from moue.preprocess import ImageArray, resize, square_window

#: Severities go from 1 to this.
SEVERITIES = 5

#: Changes one image, uint8 ``(S, S)`` or ``(S, S, 3)``, by a strength.
Corruption = Callable[[ImageArray, float, np.random.Generator], ImageArray]


def _darkness(image: ImageArray, factor: float, rng: np.random.Generator) -> ImageArray:
    return _clipped(image * factor)


def _glare(image: ImageArray, brightness: float, rng: np.random.Generator) -> ImageArray:
    """A light of half the face's width somewhere on it."""
    side = image.shape[0]
    y, x = np.ogrid[:side, :side]
    cy, cx = rng.uniform(0.1, 0.9, 2) * side
    light = brightness * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * (side / 4) ** 2))
    return _clipped(image + (light if image.ndim == 2 else light[..., None]))


def _gray_levels(image: ImageArray, gamma: float, rng: np.random.Generator) -> ImageArray:
    """Midtones darker or lighter, black and white as they are."""
    exponent = gamma if rng.random() < 0.5 else 1 / gamma
    return _clipped(255 * np.power(image / 255.0, exponent))


def _blur(image: ImageArray, sigma: float, rng: np.random.Generator) -> ImageArray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma * image.shape[0])))


def _noise(image: ImageArray, deviation: float, rng: np.random.Generator) -> ImageArray:
    return _clipped(image + rng.normal(0, deviation, image.shape))


def _jpeg(image: ImageArray, quality: float, rng: np.random.Generator) -> ImageArray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file))


def _low_resolution(image: ImageArray, side: float, rng: np.random.Generator) -> ImageArray:
    return resize(resize(image, min(int(side), image.shape[0])), image.shape[0])


def _rotation(image: ImageArray, degrees: float, rng: np.random.Generator) -> ImageArray:
    return _window(image, angle=math.radians(degrees if rng.random() < 0.5 else -degrees))


def _crop(image: ImageArray, side: float, rng: np.random.Generator) -> ImageArray:
    return _window(image, side=side)


def _shift(image: ImageArray, share: float, rng: np.random.Generator) -> ImageArray:
    direction = rng.uniform(0, 2 * math.pi)
    return _window(image, shift=(share * math.cos(direction), share * math.sin(direction)))


def _covered_eyes(image: ImageArray, share: float, rng: np.random.Generator) -> ImageArray:
    """Dark glasses: a bar over the face's width, centered at 0.4 of its height, where FER-2013's eyes are."""
    side = image.shape[0]
    covered: ImageArray = image.copy()
    covered[round((0.4 - share / 2) * side) : round((0.4 + share / 2) * side)] = 20
    return covered


def _covered_mouth(image: ImageArray, share: float, rng: np.random.Generator) -> ImageArray:
    """A light mask over the lower part of the face."""
    covered: ImageArray = image.copy()
    covered[round((1 - share) * image.shape[0]) :] = 200
    return covered


#: Name: the change, its strength in each severity, and what the strength is.
CORRUPTIONS: dict[str, tuple[Corruption, tuple[float, ...], str]] = {
    "darkness": (_darkness, (0.7, 0.5, 0.35, 0.22, 0.12), "share of the light that is left"),
    "glare": (_glare, (60, 110, 160, 210, 255), "brightness added at its center, of 255"),
    "gray_levels": (_gray_levels, (1.25, 1.6, 2.0, 2.6, 3.3), "gamma, or its inverse"),
    "blur": (_blur, (0.01, 0.02, 0.03, 0.045, 0.06), "standard deviation, as a share of the side"),
    "noise": (_noise, (8, 16, 26, 38, 52), "standard deviation, of 255"),
    "jpeg": (_jpeg, (40, 25, 15, 10, 5), "quality"),
    "low_resolution": (_low_resolution, (32, 28, 24, 20, 16), "side of the face in pixels"),
    "rotation": (_rotation, (6, 12, 18, 24, 30), "degrees to either side"),
    "tight_crop": (_crop, (0.94, 0.88, 0.82, 0.76, 0.7), "side of the crop, as a share of the right one"),
    "loose_crop": (_crop, (1.06, 1.12, 1.18, 1.24, 1.3), "side of the crop, as a share of the right one"),
    "shift": (_shift, (0.04, 0.08, 0.12, 0.16, 0.2), "in any direction, as a share of the side"),
    "covered_eyes": (_covered_eyes, (0.08, 0.14, 0.2, 0.26, 0.32), "height of the bar, as a share of the side"),
    "covered_mouth": (_covered_mouth, (0.15, 0.22, 0.3, 0.38, 0.46), "height of the mask, as a share of the side"),
}


def corrupt(images: NDArray[np.uint8], name: str, severity: int, seed: int = 0) -> NDArray[np.uint8]:
    """Images as one corruption leaves them.

    Args:
        images: uint8 ``(N, C, S, S)``, 0..255, C = 1 gray or 3 RGB.
        name: one of :data:`CORRUPTIONS`.
        severity: 1, which a person hardly notices, to :data:`SEVERITIES`.
        seed: of what is drawn at random. Each image has its own numbers, by its position.

    Returns:
        uint8 of the same shape. What a larger, turned or shifted crop would see beyond the image repeats its nearest
        edge pixel, as :func:`moue.preprocess.crop_face` does.

    Raises:
        UnknownName: for another name.
        UsageError: for another severity.
    """
    if name not in CORRUPTIONS:
        raise UnknownName("corruption", name, CORRUPTIONS)
    if severity not in range(1, SEVERITIES + 1):
        raise UsageError(f"severity must be between 1 and {SEVERITIES}. Got {quoted(severity)} instead.")
    change, strengths, _ = CORRUPTIONS[name]
    out = np.empty_like(images)
    for i, image in enumerate(images):
        rng = np.random.default_rng((seed, i))
        flat = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        changed = change(np.ascontiguousarray(flat), strengths[severity - 1], rng)
        out[i] = changed[None] if changed.ndim == 2 else changed.transpose(2, 0, 1)
    return out


def _window(
    image: ImageArray, side: float = 1.0, angle: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)
) -> ImageArray:
    """The square that another crop of the same face would be; side and shift as shares of the image's side."""
    size = image.shape[0]
    center = (np.array([0.5, 0.5]) + shift) * size
    return square_window(image, center, side * size, angle, size)


def _clipped(values: NDArray[np.floating]) -> ImageArray:
    clipped: ImageArray = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return clipped
